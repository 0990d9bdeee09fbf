"""Sentences of more than one clause, in families: linked clauses, pronouns with antecedents, contexts that decide."""

from jaxformer.data.grammar import Rule, rule

WHO = "class=?s agr=?a ref=?r num=?n"
BOND = "subject=?s owner=?r"
DONE = "form=past aspect=done"
P = "pronoun[case=subject ref=?r agr=?b]"
ONE = f"named[class=person {WHO}]"
BEING = f"named[class=person|animal {WHO}]"
WHOLE = "det=def|indef|count"
INDOORS = "read|write|cook|drink|eat|listen|film|study|rest|sleep"
OUTDOORS = "outdoors|camp|fish|walk|swim|grow"


def _story(family: str, english: str, chinese: str, weight: float = 1.0, **slots: str) -> Rule:
    return rule(f"{family}[]", f"{english} ./e", f"{chinese} 。/e", weight, **slots)


LINKED = (
    _story("linked", "if/1 it W T ,/2 S will/3 V", "如果/1 T W ，/2 S 就 会/3 V", 2, W="weather[form=third]",
           T="time[tense=future]", S=ONE, V=f"action[form=base aspect=none {BOND} spot=none pace=durative at={INDOORS}]"),
    _story("linked", "if/1 it W T ,/2 S will/3 not/3 V", "如果/1 T W ，/2 S 就 不/3 会/3 V", 2, W="weather[form=third]",
           T="time[tense=future]", S=ONE, V=f"action[form=base aspect=none {BOND} pace=durative det=bare at={OUTDOORS}]"),
    _story("linked", "if/1 the weather/2 is J T ,/3 S will/4 V", "如果/1 T 天气/2 很 J ，/3 S 就 会/4 V", 2,
           J="sky[mood=good]", T="time[tense=future]", S=ONE,
           V=f"action[form=base aspect=none {BOND} pace=durative at={OUTDOORS}]"),
    _story("linked", "S did not/1 V because/2 it was W", "S 没/1 V ，因为/2 W 了", 2, S=ONE, W="weather[form=ing]",
           V=f"vp[form=base aspect=none {BOND} pace=going mode=verb]"),
    _story("linked", "because/1 the weather/2 was J ,/3 S did not/4 V", "因为/1 天气/2 很 J ，/3 所以 S 没/4 V", 2,
           J="sky[mood=bad]", S=ONE, V=f"action[form=base aspect=none {BOND} det=bare pace=durative at={OUTDOORS}]"),
    _story("linked", "S V and/1 X W", "S V ，/1 X W", 2, S=f"brief[half=one {WHO}]", X="brief[half=two class=?x ref=?y]",
           V=f"vp[{DONE} {BOND} {WHOLE} pace=durative|visiting|going mode=verb]",
           W=f"vp[{DONE} subject=?x owner=?y {WHOLE} pace=durative|visiting|going mode=verb]"),
    _story("linked", "S V ,/1 and/2 then/2 W", "S V ，/1 然后/2 W", 3, S=f"subject[class=person {WHO}]",
           V=f"vp[{DONE} {BOND} {WHOLE} pace=durative|achievement|going mode=verb]",
           W=f"vp[{DONE} {BOND} {WHOLE} pace=durative|going mode=verb|activity]"),
    rule("brief[class=?s agr=?a ref=?r num=?n half=?h]", "X", "X", X="name[class=?s agr=?a ref=?r num=?n half=?h]"),
    rule("brief[class=?s agr=?a ref=?r num=?n half=?h]", "Q K", "Q K", heads="K", Q="pronoun[case=possessive who=speaker]",
         K="kin[num=sg class=?s agr=?a ref=?r half=?h]"),
)

COREFERENCE = (
    # The subject of the first clause comes back as a pronoun.
    _story("coreference", "S B J because/1 P V", "S 很 J ，因为/1 P V", 4, S=BEING, B="be[agr=?a]", P=P,
           J="adjective[of=?s degree=plain cause=good|bad|effort|fun cause=?c]",
           V=f"action[{DONE} {BOND} aura=?c {WHOLE}]"),
    _story("coreference", "S B J ,/1 so/2 P C to V", "S 很 J ，/1 所以/2 P C V", 4, S=BEING, B="be[agr=?a]", P=P,
           J="adjective[of=?s degree=plain effect=eat|drink|rest|fun effect=?c]", C="wish[form=?b]",
           V=f"vp[form=base aspect=none {BOND} aura=?c det=bare|count pace=durative]"),
    _story("coreference", "after/1 S V ,/2 P W", "S V 之后/1 ，/2 P W", 2, S=ONE, P=P,
           V=f"action[{DONE} {BOND} {WHOLE} mode=verb]", W=f"action[{DONE} {BOND} {WHOLE} pace=going|durative]"),
    _story("coreference", "when/1 S W L ,/2 P V", "S L 的时候/1 ，/2 P V", 2, S=ONE, W="was[agr=?a]", P=P,
           L="location[for=?k]", V=f"action[{DONE} {BOND} {WHOLE} at=?k spot=none pace=durative|achievement]"),
    _story("coreference", "if/1 S V ,/2 P can/3 W", "如果/1 S V ，/2 P 就 能/3 W", 2, S=ONE, P=P,
           V=f"action[form=?a aspect=none {BOND} det=def aura=duty spot=none]",
           W="action[form=base aspect=none subject=?s aura=fun det=bare]"),
    _story("coreference", "although/1 S W J ,/2 P V", "虽然/1 S 很 J ，/2 但是 P V", 2, S=ONE, W="was[agr=?a]", P=P,
           J="adjective[of=?s degree=plain cause=effort]", V=f"action[{DONE} {BOND} aura=duty {WHOLE}]"),
    _story("coreference", "S said/1 that P W to X", "S 说/1 P W X", 2, S=ONE, P=P, W="control[form=past mode=said]",
           X=f"action[form=base aspect=none {BOND} det=indef|bare pace=durative|going]"),
    _story("coreference", "S V that P B J", "S V P 很 J", 2, S=ONE, V="speech[form=?a]", P=P, B="be[agr=?b]",
           J="adjective[of=?s degree=plain passing=yes]"),
    _story("coreference", "S B L ,/1 and/1 P C V", "S L ，/1 P 正在 V", 2, S=ONE, B="be[agr=?a]", P=P, C="be[agr=?b]",
           L="location[for=?k]",
           V=f"action[form=ing aspect=none {BOND} at=?k spot=none pace=durative det=bare|indef]"),
    # Another sentence stands between.
    _story("coreference", "S B L ./1 the weather/2 is J ./3 P C to V", "S L 。/1 天气/2 很 J 。/3 P C V", 2, S=ONE,
           B="be[agr=?a]", L="location[for=?k class=public|open|trip]", J="sky[]", P=P, C="wish[form=?b]",
           V=f"action[form=base aspect=none {BOND} at=?k spot=none pace=durative det=bare]"),
    # The object comes back: 它 and 它们 for things, 他们 and 她们 for people.
    _story("coreference", "S V O because/1 Q W J", "S V A O ，因为/1 Q 很 J", 5, S=f"subject[class=person {WHO}]",
           V="acquire[form=past]", A="aspect[aspect=done after=verb]", Q="pronoun[case=subject ref=?q agr=?b]",
           O="object[class=goods class=?o ref=?q num=sg|pl det=indef|def|count]", W="was[agr=?b]",
           J="adjective[of=?o degree=plain passing=no appeal=yes]"),
    _story("coreference", "S did not/1 V O because/2 Q W J", "S 没/1 V O ，因为/2 Q 很 J", 4,
           S=f"subject[class=person {WHO}]", V="acquire[form=base]", Q="pronoun[case=subject ref=?q agr=?b]",
           O="thisone[class=goods class=?o ref=?q num=sg|pl]", W="was[agr=?b]",
           J="adjective[of=?o degree=plain passing=no appeal=no]"),
    _story("coreference", "S told/1 O that Q should/2 V", "S 告诉/1 O Q 应该/2 V", 3, S="single[class=person]",
           O="named[class=person num=pl class=?o ref=?q]", Q="pronoun[case=subject ref=?q]",
           V="action[form=base aspect=none subject=?o owner=?q aura=duty|rest|eat det=bare|def]"),
    _story("coreference", "S H O ,/1 and/1 P V Q T", "S H O ，/1 P T V Q", 4, S=f"single[class=person {WHO}]",
           H="own[form=?a]", O="quantity[class=pet class=?o ref=?q det=indef|count]", P=P,
           V="transitive[form=?b subject=person object=animal object=?o pace=durative at=feed]",
           Q="pronoun[case=object ref=?q]", T="time[tense=habit]"),
    _story("coreference", "O W L ,/1 and/1 S V Q", "O L ，/1 S V A Q", 3, O="named[class=person num=pl class=?o agr=?a ref=?q]",
           W="was[agr=?a]", L="location[for=photo|meet|outdoors]", S="name[class=?s]",
           V="transitive[form=past subject=?s object=?o pace=achievement|durative object=person|wild]",
           A="aspect[aspect=done after=verb]", Q="pronoun[case=object ref=?q]"),
    _story("coreference", "O B R the M ,/1 and/1 S V Q", "O 在 M R ，/1 S V Q", 3,
           O="definite[class=pet|tool|gift|book|phone class=?o agr=?a ref=?q num=sg|pl]", B="be[agr=?a]",
           M="noun[class=surface class=?c num=sg]", R="relation[spot=?c]", S="single[class=person agr=?b]",
           V="stative[form=?b subject=person object=?o]", Q="pronoun[case=object ref=?q]"),
)

SENSE = (
    _story("sense", "N B J", "N 很 J", 4, N="definite[amb=yes num=sg|pl|pair|mass class=?c agr=?a]", B="be[agr=?a]",
           J="adjective[of=?c degree=plain]"),
    _story("sense", "S V N", "S V A N", 3, S=f"subject[class=person {WHO}]", N="definite[amb=yes class=?c num=sg|pl|pair|mass]",
           V="transitive[form=past subject=person object=?c pace=durative|achievement]", A="aspect[aspect=done after=verb]"),
    _story("sense", "S V N T", "S T V A N", 2, S=f"subject[class=person {WHO}]", T="time[tense=past]",
           N="quantity[amb=yes class=?c num=sg|pl|pair|mass det=indef|count]", A="aspect[aspect=done after=verb]",
           V="transitive[form=past subject=person object=?c pace=durative|achievement]"),
    _story("sense", "S V N", "S 把 N V 了", 2, S=f"subject[class=person {WHO}]", N="disposed[amb=yes class=?c owner=?r]",
           V="resultative[form=past subject=person object=?c]"),
    # The word that decides stands far away, after the word or before it.
    _story("sense", "the N that S V B J", "S V 的 N 很 J", 4, N="nominal[amb=yes class=?c agr=?a num=sg|pl]",
           S=f"subject[class=person {WHO}]", V="neutral[form=past object=?c]", B="was[agr=?a]",
           J="adjective[of=?c degree=plain passing=no]"),
    _story("sense", "the N that S V T B J", "S T V 的 N 很 J", 4, N="nominal[amb=yes class=?c agr=?a num=sg|pl]",
           S=f"subject[class=person {WHO}]", V="neutral[form=past object=?c]", T="time[tense=past]", B="was[agr=?a]",
           J="adjective[of=?c degree=plain passing=no]"),
    _story("sense", "S V N because/1 P B J", "S V A N ，因为/1 P 很 J", 4, S=f"subject[class=person {WHO}]",
           N="object[amb=yes class=?c ref=?q num=sg|pl det=indef|def|count]", V="neutral[form=past object=?c]",
           P="pronoun[case=subject ref=?q agr=?b]", B="was[agr=?b]", A="aspect[aspect=done after=verb]",
           J="adjective[of=?c degree=plain passing=no]"),
    _story("sense", "there B a/2 N R the M ./3 P C J", "M R 有 一/2 N.measure/2 N 。/3 P 很 J", 2,
           N="noun[amb=yes num=sg class=losable|portable|fruit|part|burning|computerpart|goods class=?c ref=?q]",
           B="be[agr=third]", M="noun[class=surface|box class=?d num=sg]", R="relation[spot=?d]",
           P="pronoun[case=subject ref=?q]", C="be[agr=third]", J="adjective[of=?c degree=plain passing=no]"),
    _story("sense", "N V B", "N V A B", 3, N="bare[num=name class=company class=?c]",
           V="transitive[form=past subject=?c object=?o]", B="quantity[class=phone|device class=?o num=sg det=indef]",
           A="aspect[aspect=done after=verb]"),
    _story("sense", "S V to the P to W", "S V P W A", 2, S=f"subject[class=person {WHO}]", V="go[form=past]",
           P="place[class=office|river for=?p]", W="vp[form=base aspect=none at=?p subject=person pace=durative|achievement det=bare|count]",
           A="aspect[aspect=done after=end]"),
)

STORIES = (*LINKED, *COREFERENCE, *SENSE)
