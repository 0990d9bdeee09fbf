"""The sentences of the language, in families. A family is a category of its own, so that it can be asked for alone."""

from jaxformer.data.english_chinese.phrases import KNOWN
from jaxformer.data.grammar import Rule, rule

END = {".": ("./e", "。/e"), "?": ("?/e", "？/e")}


def _says(family: str, english: str, chinese: str, weight: float = 1.0, **slots: str) -> Rule:
    return rule(f"{family}[]", f"{english} ./e", f"{chinese} 。/e", weight, **slots)


def _asks(english: str, chinese: str, weight: float = 1.0, **slots: str) -> Rule:
    return rule("question[]", f"{english} ?/e", f"{chinese} ？/e", weight, **slots)


WHO = "class=?s agr=?a ref=?r"
BOND = "subject=?s owner=?r"
DONE = "form=past aspect=done"

# Parts that are whole clauses; `ref` and `class` are those of the subject.
CLAUSES = (
    rule(f"past[{WHO}]", "S V", "S V", 2, S=f"subject[{WHO}]", V=f"action[{DONE} {BOND}]"),
    rule(f"past[{WHO}]", "S V T", "S T V", 3, S=f"subject[{WHO}]", V=f"action[{DONE} {BOND}]", T="time[tense=past]"),
)

STATEMENTS = (
    _says("statement", "S V", "S V", 3, S=f"subject[{WHO}]", V=f"action[{DONE} {BOND} det=indef|def|count]"),
    _says("statement", "S V T", "S T V", 6, S=f"subject[{WHO}]", V=f"action[{DONE} {BOND} det=indef|def|count]", T="time[tense=past]"),
    _says("statement", "T S V", "T S V", 3, S=f"subject[{WHO}]", V=f"action[{DONE} {BOND} det=indef|def|count]", T="time[tense=past]"),
    _says("statement", "S B V", "S 正在/1 V", 4, S=f"subject[{WHO}]", B="be[agr=?a]",
          V=f"action[form=ing aspect=none {BOND} spot=none pace=durative|visiting det=indef|def|bare]"),
    _says("statement", "S B V", "S 正 V", 3, S=f"subject[{WHO}]", B="be[agr=?a]",
          V=f"action[form=ing aspect=none {BOND} spot=place pace=durative det=indef|def|bare]"),
    _says("statement", "S F V", "S F V", 3, S=f"subject[class=person {WHO}]", F="frequency[]",
          V=f"action[form=?a aspect=none {BOND} det=bare pace=durative|going]"),
    _says("statement", "S V T", "S T V", 3, S=f"subject[class=person {WHO}]",
          V=f"action[form=?a aspect=none {BOND} det=bare pace=durative|going]", T="time[tense=habit]"),
    _says("statement", "S will/1 V T", "S T 会/1 V", 4, S=f"subject[{WHO}]", V=f"action[form=base aspect=none {BOND} will=yes]",
          T="time[tense=future]"),
    _says("statement", "S B going/1 to V T", "S T 要/1 V", 2, S=f"subject[{WHO}]", B="be[agr=?a]",
          V=f"action[form=base aspect=none {BOND} will=yes]", T="time[tense=future]"),
    _says("statement", "S M V", "S M V", 3, S=f"subject[class=person {WHO}]", M="modal[]",
          V=f"action[form=base aspect=none {BOND} det=def|bare will=yes]"),
    _says("statement", "S C to V", "S C V", 4, S=f"subject[class=person {WHO}]", C="control[form=?a]",
          V=f"action[form=base aspect=none {BOND} det=indef|bare pace=durative|going|visiting]"),
    _says("statement", "S V O", "S V O", 6, S=f"subject[{WHO}]", V="stative[form=?a subject=?s object=?o det=?d]",
          O="object[class=?o det=?d owner=?r]"),
    _says("statement", "S V P K", "S V P K", 2, S=f"subject[class=person {WHO}]", V="cherish[form=?a]",
          P="pronoun[case=possessive ref=?r]", K="kin[num=sg]"),
    _says("statement", "S V O", "S V O", 1, S="single[class=person agr=?a half=one]", V="cherish[form=?a]", O="name[half=two]"),
    _says("statement", "S H V before/1", "S 以前/1 V", 2, S=f"subject[class=person {WHO}]", H="have[agr=?a]",
          V=f"action[form=pp aspect=ever {BOND} det=def|bare pace=durative|achievement|going|visiting]"),
    _says("statement", "S B J", "S 很 J", 5, S=f"subject[{WHO}]", B="be[agr=?a]", J="adjective[of=?s degree=plain]"),
    _says("statement", "S B D J", "S D J", 3, S=f"subject[{WHO}]", B="be[agr=?a]", D="degree[]",
          J="adjective[of=?s degree=plain]"),
    _says("statement", "S B too/1 J", "S 太/1 J 了", 1, S=f"subject[{WHO}]", B="be[agr=?a]",
          J="adjective[of=?s degree=plain]"),
    _says("statement", "S B K", "S 是 K 的", 1.5, S=f"definite[class=colored {WHO} num=sg|pl|pair]", B="be[agr=?a]", K="color[]"),
    _says("statement", "the P B J", "P 很 J", 1.5, P="place[class=?c agr=?a]", B="be[agr=?a]",
          J="adjective[of=?c degree=plain]"),
    _says("statement", "S B a J", "S 是 J", 2, S="single[class=person agr=?a]", B="be[agr=?a]", J="noun[class=job num=sg]"),
    rule("single[class=?c agr=?a ref=?r num=?n half=?h]", "X", "X", X="name[half=?h class=?c agr=?a ref=?r num=?n]"),
    rule("single[class=?c agr=?a ref=?r num=?n half=?h]", "X", "X", X="kinsman[num=sg class=?c agr=?a ref=?r num=?n]"),
    rule("single[class=?c agr=?a ref=?r num=?n half=?h]", "X", "X", X="pronoun[case=subject ref=he|she class=?c agr=?a ref=?r num=?n]"),
)

NEGATIONS = (
    _says("negation", "S did not/1 V", "S 没/1 V", 2, S=f"subject[{WHO}]", V=f"action[form=base aspect=none {BOND} det=def|bare]"),
    _says("negation", "S did not/1 V T", "S T 没/1 V", 2, S=f"subject[{WHO}]",
          V=f"action[form=base aspect=none {BOND} det=def|bare]", T="time[tense=past]"),
    _says("negation", "S D not/1 V", "S 不/1 V", 3, S=f"subject[{WHO}]", D="do[agr=?a]",
          V="stative_phrase[form=base subject=?s owner=?r det=def|bare]"),
    rule("stative_phrase[form=?f subject=?s owner=?r det=?d]", "V O", "V O", V="stative[form=?f subject=?s object=?o det=?d]",
         O="object[class=?o det=?d owner=?r]"),
    _says("negation", "S D not/1 want/2 to V", "S 不/1 想/2 V", 2, S=f"subject[class=person {WHO}]", D="do[agr=?a]",
          V=f"action[form=base aspect=none {BOND} det=bare|def pace=durative|going]"),
    _says("negation", "S cannot/1 V", "S 不/1 能/1 V", 2, S=f"subject[class=person {WHO}]",
          V=f"action[form=base aspect=none {BOND} det=bare|def will=yes]"),
    _says("negation", "S B not/1 J", "S 不/1 J", 3, S=f"subject[{WHO}]", B="be[agr=?a]",
          J="adjective[of=?s degree=plain]"),
    _says("negation", "S H never/1 V", "S 从来/1 没/1 V", 3, S=f"subject[class=person {WHO}]", H="have[agr=?a]",
          V=f"action[form=pp aspect=ever {BOND} det=bare|def pace=durative|achievement|going|visiting]"),
)

QUESTIONS = (
    _asks("did S V", "S V 吗", 2, S=f"asked[{WHO}]", V=f"action[form=base aspect=done {BOND} det=indef|def|count]"),
    _asks("did S V T", "S T V 吗", 2, S=f"asked[{WHO}]",
          V=f"action[form=base aspect=done {BOND} det=indef|def|count]", T="time[tense=past]"),
    _asks("D S V", "S V 吗", 3, S=f"asked[{WHO}]", D="do[agr=?a]", V="stative_phrase[form=base subject=?s owner=?r]"),
    _asks("D S want/1 to V", "S 想/1 V 吗", 1.5, S=f"asked[{WHO}]", D="do[agr=?a]",
          V=f"action[form=base aspect=none {BOND} det=indef|bare pace=durative|going]"),
    _asks("B S J", "S J 吗", 2, S=f"asked[{WHO}]", B="be[agr=?a]", J="adjective[of=?s degree=plain]"),
    _asks("B S V", "S 正在/1 V 吗", 1.5, S=f"asked[{WHO}]", B="be[agr=?a]",
          V=f"action[form=ing aspect=none {BOND} spot=none pace=durative det=indef|def|bare]"),
    _asks("can/1 S V", "S 能/1 V 吗", 2, S=f"asked[{WHO}]", V=f"action[form=base aspect=none {BOND} det=def|bare will=yes]"),
    _asks("will/1 S V T", "S T 会/1 V 吗", 2, S=f"asked[{WHO}]", V=f"action[form=base aspect=none {BOND} will=yes]",
          T="time[tense=future]"),
    _asks("H S ever V", "S V 吗", 2.5, S=f"asked[{WHO}]", H="have[agr=?a]",
          V=f"action[form=pp aspect=ever {BOND} det=bare|def pace=durative|achievement|going|visiting]"),
    rule(f"asked[{WHO}]", "P", "P", P="pronoun[case=subject class=?s agr=?a ref=?r ref=you|he|she]"),
    rule(f"asked[{WHO}]", "N", "N", N=f"named[class=person {WHO}]"),
    # Wh-words stay where the answer would stand.
    _asks("who/1 V", "谁/1 V", 2, V="action[form=past aspect=done subject=person det=indef|def|count]"),
    _asks("who/1 is V", "谁/1 正在 V", 1.5, V="action[form=ing aspect=none subject=person spot=none pace=durative det=def|bare]"),
    _asks("who/1 did S V", "S V 了 谁/1", 1.5, S=f"asked[{WHO}]",
          V="transitive[form=base subject=?s object=person]"),
    _asks("what/1 did S V", "S V 了 什么/1", 1.5, S=f"asked[{WHO}]", V="transitive[form=base subject=?s pace=durative|achievement object=food|drinkable|goods|readable|drawn|tellable|sung]"),
    _asks("what/1 did S V T", "S T V 了 什么/1", 1.5, S=f"asked[{WHO}]", T="time[tense=past]",
          V="transitive[form=base subject=?s pace=durative|achievement object=food|drinkable|goods|readable|drawn|tellable|sung]"),
    _asks("what/1 B S V", "S 正在 V 什么/1", 1, S=f"asked[{WHO}]", B="be[agr=?a]",
          V="transitive[form=ing subject=?s pace=durative object=food|drinkable|goods|readable|drawn|sung]"),
    _asks("where/1 did S V O", "S 在 哪里/1 V 的 O", 2, S=f"asked[{WHO}]",
          V="transitive[form=base subject=?s object=?o pace=durative|achievement at=buy|read|film|draw|cook|borrow|photo|meet|repair]", O="object[class=?o det=def]"),
    _asks("where/1 B S", "S 在/1 哪里/1", 2, S=f"asked[{WHO}]", B="be[agr=?a]"),
    _asks("where/1 B S", "S 在/1 哪里/1", 1.5, S="owned[class=losable|portable agr=?a num=sg|pl]", B="be[agr=?a]"),
    _asks("when/1 will/2 S V", "S 什么时候/1 会/2 V", 1.5, S=f"asked[{WHO}]",
          V=f"action[form=base aspect=none {BOND} det=def|bare will=yes]"),
    _asks("why/1 B S so/2 J", "S 为什么/1 这么/2 J", 1.5, S=f"asked[{WHO}]", B="be[agr=?a]",
          J="adjective[of=?s degree=plain]"),
    _asks("why/1 did S not/2 V", "S 为什么/1 没/2 V", 1.5, S=f"asked[{WHO}]",
          V=f"action[form=base aspect=none {BOND} det=def|bare]"),
    _asks("how/1 many/1 N did S V", "S V 了 多少/1 N", 1.5, N="noun[num=pl class=goods|animal class=?o]",
          S=f"asked[{WHO}]", V="transitive[form=base subject=?s object=?o pace=durative|achievement]"),
    _asks("which/1 N did S V", "S V 了 哪/1 N.measure/1 N", 1.5, N="noun[num=sg class=goods|readable|shown class=?o]",
          S=f"asked[{WHO}]", V="transitive[form=base subject=?s object=?o pace=durative|achievement]"),
    _asks("how/1 will/2 S go/3 to P.the P", "S 会/2 怎么/1 去/3 P", 1, S=f"asked[{WHO}]", P="place[class=public|trip|city]"),
    _asks("is there/1 some N R the M", "M R 有/1 N 吗", 0.5, N="noun[num=mass class=food|drinkable]", R="relation[spot=surface|box spot=?c]",
          M="noun[class=surface|box class=?c num=sg]"),
)

RELATIVES = (
    _says("relative", "R B J", "R 很 J", 4, R=f"related[class=?s agr=?a]", B="be[agr=?a]", J="adjective[of=?s degree=plain]"),
    _says("relative", "S V R", "S V R", 3, S=f"subject[class=person {WHO}]", V="stative[form=?a object=?o]", R="related[class=?o]"),
    _says("relative", "R B J", "R 很 J", 3, R=f"doer[class=?s agr=?a]", B="be[agr=?a]", J="adjective[of=?s degree=plain]"),
    _says("relative", "R B P K", "R 是 P K", 1.5, R="doer[class=?s agr=third num=sg]", B="be[agr=third]",
          P="pronoun[case=possessive who=speaker]", K="kin[num=sg class=?s]"),
    _says("relative", "S V R", "S V R", 1.5, S=f"subject[class=person {WHO}]", V="stative[form=?a object=person]", R="doer[class=?o]"),
    _says("relative", "S lost/1 R", "S 弄丢/1 了 R", 1, S=f"subject[class=person {WHO}]", R="related[class=losable]"),
)

COMPARISONS = (
    _says("comparison", "S B J than/1 O", "S 比/1 O J", 4, S="single[class=?s agr=?a half=one]", B="be[agr=?a]",
          J="adjective[of=?s passing=no degree=more]", O="name[half=two]"),
    _says("comparison", "X 's/1 N B J than/2 Y 's/3", "X 的/1 N 比/2 Y 的/3 J", 4, heads="N", X="name[half=one]",
          N="noun[num=sg class=goods|pet|vehicle class=?s agr=?a]", B="be[agr=?a]",
          J="adjective[of=?s passing=no degree=more]", Y="name[half=two]"),
    _says("comparison", "S B as/1 J as/2 O", "S 和/2 O 一样/1 J", 3, S="single[class=?s agr=?a half=one]", B="be[agr=?a]",
          J="adjective[of=?s passing=no degree=plain]", O="name[half=two]"),
    _says("comparison", "S B not/1 as J as O", "S 没有/1 O 那么 J", 3, S="single[class=?s agr=?a half=one]", B="be[agr=?a]",
          J="adjective[of=?s passing=no degree=plain]", O="name[half=two]"),
    _says("comparison", "S are J than/1 O", "S 比/1 O J", 2, S="noun[num=pl class=large]",
          J="adjective[of=large degree=more]", O="noun[num=pl class=little]"),
    _says("comparison", "S are J than/1 O", "S 比/1 O J", 2, S="noun[num=pl class=little]",
          J="adjective[of=little degree=more]", O="noun[num=pl class=large]"),
)

PLACES = (
    _says("existence", "there is/1 a/2 N R/3 the M", "M R/3 有/1 一/2 N.measure/2 N", 3, N="nominal[num=sg class=tool|gift|book|phone|snack|drawn2]",
          M="noun[class=surface|box class=?c num=sg]", R="relation[spot=?c]"),
    _says("existence", "there are/1 Q/2 N R the M", "M R 有/1 Q N.measure/2 N", 3, N="nominal[num=pl class=tool|gift|book|fruit|dishware]",
          Q="number[]", M="noun[class=surface|box class=?c num=sg]", R="relation[spot=?c]"),
    _says("existence", "there B/1 Q/2 N R the M", "M R 有/1 Q N.measure/2 N", 2, N="nominal[num=pl class=pet agr=?a]",
          B="be[agr=?a]", Q="number[size=small]", M="noun[class=surface class=?c num=sg]", R="relation[spot=?c]"),
    _says("existence", "there is/1 a/2 N R/3 the M", "M R/3 有/1 一/2 N.measure/2 N", 2, N="nominal[num=sg class=pet]",
          M="noun[class=surface class=?c num=sg]", R="relation[spot=?c]"),
    _says("existence", "there are/1 Q N P.in/2 P.the P", "P P.inside/2 有/1 Q N", 2, N=f"nominal[num=pl class=person {KNOWN}]",
          Q="several[]", P="place[class=public|trip]"),
    _says("existence", "there are/1 Q N P.in/2 P.the P", "P P.inside/2 有/1 Q N", 1, N="nominal[num=pl class=wild]",
          Q="several[]", P="place[for=nature]"),
    _says("existence", "S B R the M", "S 在 M R", 3, S="definite[num=sg|pl class=tool|gift|book|phone|pet agr=?a]", B="be[agr=?a]",
          M="noun[class=surface|opening|outdoorspot class=?c num=sg]", R="relation[spot=?c]"),
    _says("existence", "S B P.in/1 P.the P", "S 在/1 P P.inside/1", 3, S=f"subject[class=person agr=?a]", B="be[agr=?a]",
          P="place[class=public|open|trip|room|city]"),
    _says("existence", "S V R/1 the M", "S 在/1 M R V A", 2, S="definite[num=sg|pl class=pet class=?s]",
          V="intransitive[form=past subject=?s]", M="noun[class=surface|outdoorspot class=?c num=sg]",
          R="relation[spot=?c]", A="aspect[aspect=none after=end]"),
)

FAMILIES = (*CLAUSES, *STATEMENTS, *NEGATIONS, *QUESTIONS, *RELATIVES, *COMPARISONS, *PLACES)
