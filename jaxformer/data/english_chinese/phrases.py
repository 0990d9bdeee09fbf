"""The phrases of the language: nouns with what stands around them, verbs with their objects, adjuncts."""

from jaxformer.data.grammar import Rule, rule

NOUN = "noun[num=?n class=?c agr=?a ref=?r def=?d amb=?m]"
PASS = "num=?n class=?c agr=?a ref=?r def=?d amb=?m"
KNOWN = "def=that|bare|men|those"  # not only in relation to somebody, as a friend is
OUT = "class=?c agr=?a ref=?r num=?n amb=?m"


def _definite(category: str, noun: str) -> tuple[Rule, ...]:
    """The four renderings of "the": 那 and a measure word, nothing, 们, 那些."""
    head = f"{category}[{OUT} det=def]"
    return (
        rule(head, "the/1 N", "那/1 N.measure/1 N", 1, N=f"{noun}[def=that {PASS}]"),
        rule(head, "the N", "N", 1, N=f"{noun}[def=bare {PASS}]"),
        rule(head, "the/1 N", "N 们/1", 1, N=f"{noun}[def=men {PASS}]"),
        rule(head, "the/1 N", "那些/1 N", 1, N=f"{noun}[def=those {PASS}]"),
    )


NOUN_PHRASES = (
    # A noun alone, with an adjective, with a colour.
    rule(f"nominal[{PASS}]", "N", "N", 5, N=NOUN),
    rule(f"nominal[{PASS}]", "J N", "J J.de N", 1, N=NOUN, J="adjective[of=?c degree=plain before=yes passing=no]"),
    rule(f"nominal[{PASS}]", "K N", "K 的 N", 0.5, N="noun[class=colored num=?n class=?c agr=?a ref=?r def=?d amb=?m]",
         K="color[of=?c]"),
    *_definite("definite", "nominal"),
    # Determiners and numbers; the measure word is aligned with them.
    rule(f"thisone[{OUT} det=def]", "D/1 N", "D N.measure/1 N", N=f"nominal[num=sg {KNOWN} {PASS}]", D="this[num=?n]"),
    rule(f"thisone[{OUT} det=def]", "D N", "D N", N=f"nominal[num=pl {KNOWN} {PASS}]", D="this[num=?n]"),
    rule(f"quantity[{OUT} det=indef]", "a/1 N", "一/1 N.measure/1 N", 4, N=f"nominal[num=sg {KNOWN} {PASS}]"),
    rule(f"quantity[{OUT} det=indef]", "a pair/1 of N", "一 N.measure/1 N", 4, N=f"nominal[num=pair {PASS}]"),
    rule(f"quantity[{OUT} det=count]", "Q/1 N", "Q N.measure/1 N", 1.5, N=f"nominal[num=pl {KNOWN} {PASS}]", Q="number[]"),
    rule(f"quantity[{OUT} det=count]", "Q N", "Q N", 0.7, N=f"nominal[num=pl {KNOWN} {PASS}]", Q="several[]"),
    rule(f"quantity[{OUT} det=count]", "some/1 N", "一些/1 N", 1, N=f"nominal[num=mass {PASS}]"),
    rule(f"quantity[{OUT} det=count]", "a/1 C of N", "一/1 C N", 1.5, N=f"noun[num=mass {PASS}]",
         C="container[of=?c num=sg]"),
    rule(f"quantity[{OUT} det=count]", "Q C of N", "Q C N", 1, N=f"noun[num=mass {PASS}]", Q="number[size=small]",
         C="container[of=?c num=pl]"),
    rule(f"bare[{OUT} det=bare]", "N", "N", N=f"nominal[num=pl|mass|name {PASS}]"),
    # What belongs to whom.
    rule(f"owned[{OUT} det=def owner=!o]", "P N", "P 的 N", P="pronoun[case=possessive ref=?o]",
         N=f"nominal[num=sg|pl {PASS}]"),
    rule(f"owned[{OUT} det=def]", "P N", "P 的 N", P="pronoun[case=possessive who=speaker]",
         N=f"nominal[num=sg|pl {PASS}]"),
    rule(f"owned[{OUT} det=def]", "X 's/1 N", "X 的/1 N", heads="N", X="name[]", N=f"nominal[num=sg|pl {PASS}]"),
    # Kin: 我妈妈, 我的姐姐们, 汤姆的妈妈.
    rule(f"kinsman[{OUT}]", "P K", "P K", 3, heads="K", P="pronoun[case=possessive who=speaker]",
         K=f"kin[num=sg {PASS}]"),
    rule(f"kinsman[{OUT}]", "P K", "P 的 K 们", 1.5, heads="K", P="pronoun[case=possessive who=speaker]",
         K=f"kin[num=pl {PASS}]"),
    rule(f"kinsman[{OUT}]", "X 's/1 K", "X 的/1 K", 2, heads="K", X="name[]", K=f"kin[num=sg {PASS}]"),
    # Relative clauses stand before the noun.
    rule(f"related[{OUT} det=def]", "the N that S V", "S V 的 N", 2, N=f"nominal[num=sg|pl {PASS}]",
         S="subject[class=person num=sg|pl|one]", V="transitive[form=past subject=person object=?c]"),
    rule(f"related[{OUT} det=def]", "the N that S V T", "S T V 的 N", 1, N=f"nominal[num=sg|pl {PASS}]",
         S="subject[class=person num=sg|pl|one]", V="transitive[form=past subject=person object=?c]",
         T="time[tense=past]"),
    rule(f"related[{OUT} det=def]", "the N that S V", "S V 的 N", 1, N=f"nominal[num=sg|pl {PASS}]",
         S="subject[class=person agr=?b]", V="stative[form=?b subject=person object=?c]"),
    rule(f"doer[{OUT} det=def]", "the N who B V", "正在 V 的 N", 1, N=f"nominal[class=person num=sg|pl {PASS}]",
         B="be[agr=?a]", V="action[form=ing aspect=none subject=?c spot=none pace=durative det=bare|indef]"),
    rule(f"doer[{OUT} det=def]", "the N who V", "V 的 N", 1, N=f"nominal[class=person num=sg|pl {PASS}]",
         V="action[form=past aspect=done subject=?c mode=verb det=indef|def|count spot=none]"),
)

SUBJECTS = (
    rule(f"subject[{OUT}]", "P", "P", 2, P="pronoun[case=subject class=?c agr=?a ref=?r num=?n ref=me|you|us|he|she]"),
    rule(f"subject[{OUT}]", "N", "N", 6, N=f"named[{OUT}]"),
    # Whom a pronoun can go back to.
    rule(f"named[{OUT}]", "X", "X", 1.5, X="name[class=?c agr=?a ref=?r num=?n]"),
    rule(f"named[{OUT}]", "N", "N", 4, N=f"definite[num=sg|pl {OUT}]"),
    rule(f"named[{OUT}]", "N", "N", 0.7, N=f"thisone[{OUT}]"),
    rule(f"named[{OUT}]", "N", "N", 1.5, N=f"kinsman[{OUT}]"),
    rule(f"named[{OUT}]", "Q N", "Q 的 N", 0.5, heads="N", Q="pronoun[case=possessive who=speaker]",
         N=f"noun[class=fellow num=sg {PASS}]"),
    rule(f"named[{OUT}]", "Q N", "Q 的 N 们", 0.5, heads="N", Q="pronoun[case=possessive who=speaker]",
         N=f"noun[class=fellow num=pl {PASS}]"),
    rule(f"named[{OUT}]", "C", "C", 0.7, C=f"couple[{OUT}]"),
    rule("couple[class=adult|child|person agr=plain ref=they-m num=pl amb=no]", "X and/1 Y", "X 和/1 Y", heads="X Y",
         X="name[ref=he half=one]", Y="name[half=two]"),
    rule("couple[class=adult|child|person agr=plain ref=they-f num=pl amb=no]", "X and/1 Y", "X 和/1 Y", heads="X Y",
         X="name[ref=she half=one]", Y="name[ref=she half=two]"),
    rule("couple[class=adult|child|person agr=plain ref=they-f num=pl amb=no]", "P K and/1 X", "P K 和/1 X", heads="K X",
         P="pronoun[case=possessive who=speaker]", K="kin[num=sg ref=she]", X="name[ref=she]"),
    rule("couple[class=adult|child|person agr=plain ref=they-m num=pl amb=no]", "P K and/1 X", "P K 和/1 X", heads="K X",
         P="pronoun[case=possessive who=speaker]", K="kin[num=sg ref=he]", X="name[ref=she]"),
)

OBJECTS = (
    rule(f"object[{OUT} det=def owner=?o]", "N", "N", 1.5, N=f"definite[{OUT} num=sg|pl|pair|mass]"),
    rule(f"object[{OUT} det=def owner=?o]", "N", "N", 0.7, N=f"thisone[{OUT}]"),
    rule(f"object[{OUT} det=def owner=?o]", "N", "N", 1, N=f"owned[{OUT} class=goods|portable|losable|giftable owner=?o]"),
    rule(f"object[{OUT} det=def owner=?o]", "N", "N", 0.3, N=f"related[{OUT} class=goods|portable|readable|pet]"),
    rule(f"object[{OUT} det=indef owner=?o]", "N", "N", 3, N=f"quantity[{OUT} det=indef]"),
    rule(f"object[{OUT} det=count owner=?o]", "N", "N", 2, N=f"quantity[{OUT} det=count]"),
    rule(f"object[{OUT} det=bare owner=?o]", "N", "N", 1.5, N=f"bare[{OUT}]"),
    rule(f"object[{OUT} det=def owner=?o]", "X", "X", 2, X=f"somebody[{OUT} owner=?o]"),
    rule(f"somebody[{OUT}]", "X", "X", 1, X="name[class=?c agr=?a ref=?r num=?n]"),
    rule(f"somebody[{OUT}]", "N", "N", 1, N=f"kinsman[{OUT}]"),
    rule(f"somebody[{OUT} owner=!o]", "P K", "P K", 1, heads="K", P="pronoun[case=possessive ref=?o]",
         K=f"kin[num=sg {PASS}]"),
    rule(f"somebody[{OUT}]", "P", "P", 0.7, P="pronoun[case=object class=?c agr=?a ref=?r num=?n ref=me|you|us]"),
    # What 把 and a place relation take: in Chinese a bare definite noun.
    rule(f"disposed[{OUT} owner=?o]", "the N", "N", 2, N=f"nominal[num=sg|mass|pair {PASS}]"),
    rule(f"disposed[{OUT} owner=?o]", "N", "N", 1, N=f"thisone[{OUT}]"),
    rule(f"disposed[{OUT} owner=?o]", "N", "N", 1.5, N=f"owned[{OUT} class=goods|portable|losable|giftable owner=?o]"),
    # Football, the piano, the bus.
    rule("practised[class=?c]", "N", "N", N="noun[num=mass class=?c]"),
    rule("practised[class=?c]", "the N", "N", N="noun[num=sg class=?c class=keyed|bowed|blown|transport]"),
)

_VP = "form=?f aspect=?t subject=?s at=?at owner=?o aura=?u det=?d will=?w"
_ACT = "form=?f subject=?s at=?at aura=?u"

VERB_PHRASES = (
    rule(f"vp[{_VP} pace=durative mode=verb]", "V O", "V A O", 10, V=f"transitive[{_ACT} pace=durative object=?c]",
         O="object[class=?c det=?d owner=?o]", A="aspect[aspect=?t after=verb]"),
    rule(f"vp[{_VP} pace=achievement mode=verb]", "V O", "V A O", 5, V=f"transitive[{_ACT} pace=achievement object=?c]",
         O="object[class=?c det=?d owner=?o]", A="aspect[aspect=?t after=verb]"),
    rule(f"vp[{_VP} pace=durative mode=activity]", "V O", "V B O A", 3, V=f"transitive[{_ACT} pace=activity object=?c]",
         O="practised[class=?c]", B="aspect[aspect=?t after=inner]", A="aspect[aspect=?t after=end]"),
    rule(f"vp[{_VP} aspect=none|done pace=durative mode=activity]", "V", "V A", 4, V=f"intransitive[{_ACT}]",
         A="aspect[aspect=?t after=end]"),
    rule(f"vp[{_VP} subject=person aspect=none|done pace=achievement mode=end]", "V O", "把 O V A", 3,
         V=f"resultative[form=?f aura=?u will=?w object=?c]", O="disposed[class=?c owner=?o]",
         A="aspect[aspect=?t after=end]"),
    rule(f"vp[{_VP} subject=person aspect=none|done pace=achievement mode=end]", "V O R/1 the N", "把 O V 在/1 A N R", 1,
         V="put[form=?f]", O="disposed[class=portable|dishware|book owner=?o]", A="aspect[aspect=?t after=end]",
         N="noun[num=sg class=surface|box class=?p]", R="relation[spot=?p spot=surface|box]"),
    rule(f"vp[{_VP} subject=person pace=achievement mode=verb]", "V I O", "V A I O", 2, V="dative[form=?f object=?c]",
         I="somebody[class=person owner=?o]", O="object[class=?c det=indef]", A="aspect[aspect=?t after=verb]"),
    rule(f"vp[{_VP} subject=person pace=achievement mode=verb]", "V I O", "给 I V A O", 2,
         V="benefit[form=?f object=?c]", I="somebody[class=person owner=?o]", O="object[class=?c det=indef]",
         A="aspect[aspect=?t after=verb]"),
    rule(f"vp[{_VP} subject=person aspect=none|done pace=achievement mode=end]", "V O", "给 O V A", 1.5,
         V="coverb[form=?f object=?c]", O="recipient[class=?c owner=?o]", A="aspect[aspect=?t after=end]"),
    rule("recipient[class=?c owner=?o]", "X", "X", X="somebody[class=?c owner=?o]"),
    rule("recipient[class=?c owner=?o]", "X", "X", X="definite[class=?c num=sg|pl]"),
    rule(f"vp[{_VP} subject=person pace=visiting mode=verb]", "V the P", "V A P", 1.2,
         V="transitive[form=?f object=seenplace object=?c]", P="place[class=?c]", A="aspect[aspect=?t after=verb]"),
    # Going somewhere, by some means, for some purpose.
    rule(f"vp[{_VP} subject=person pace=going mode=verb]", "V to P.the P", "V A P", 1.5, V="go[form=?f]",
         P="place[class=public|trip|city]", A="aspect[aspect=?t after=verb]"),
    rule(f"vp[{_VP} subject=person pace=going mode=verb]", "V to P.the P by/1 R", "坐/1 R V A P", 1, V="go[form=?f]",
         P="place[class=public|trip|city class=?k]", R="ride[to=?k]", A="aspect[aspect=?t after=verb]"),
    rule(f"vp[{_VP} subject=person aspect=none|done pace=going mode=end]", "V to the P to W", "V P W A", 1.5, V="go[form=?f]",
         P="place[for=?at class=public|trip|office|river]", W="vp[form=base aspect=none at=?at det=indef|bare|count pace=durative subject=person]",
         A="aspect[aspect=?t after=end]"),
)

ADJUNCTS = (
    rule("location[for=?at class=?k]", "P.in/1 P.the P", "在/1 P P.inside/1", 3, P="place[for=?at class=?k]"),
    rule("company[]", "X", "X", 1, X="name[]"),
    rule("company[]", "N", "N", 1, N="kinsman[num=sg]"),
    rule("company[]", "P N", "P 的 N 们", 1, P="pronoun[case=possessive who=speaker]", N="noun[class=fellow num=pl]"),
    rule(f"action[{_VP} pace=?p mode=?m spot=none]", "V", "V", 6, V=f"vp[{_VP} pace=?p mode=?m]"),
    rule(f"action[{_VP} pace=?p mode=?m spot=place]", "V L", "L V", 5, V=f"vp[{_VP} pace=durative pace=?p mode=?m]",
         L="location[for=?at]"),
    rule(f"action[{_VP} subject=person pace=?p mode=?m aura=fun|effort|duty|plain spot=none]", "V with/1 W", "和/1 W 一起 V", 1,
         V=f"vp[{_VP} aura=fun|effort|duty|plain pace=durative pace=?p mode=activity mode=?m]", W="company[]"),
    rule(f"action[{_VP} subject=person pace=?p mode=?m aura=fun|effort|duty|plain spot=place]", "V L with/1 W", "和/1 W 一起 L V", 1,
         V=f"vp[{_VP} aura=fun|effort|duty|plain pace=durative pace=?p mode=activity mode=?m]", L="location[for=?at]", W="company[]"),
)

PHRASES = (*NOUN_PHRASES, *SUBJECTS, *OBJECTS, *VERB_PHRASES, *ADJUNCTS)
