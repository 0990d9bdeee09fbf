"""The sentences of the language, in families. A family is a category of its own, so that it can be asked for alone.

The notation is that of `jaxformer.data.grammar.rules`.
"""

from jaxformer.data.english_chinese.phrases import KNOWN

WHO = "class=?s agr=?a ref=?r"
BOND = "subject=?s owner=?r"
DONE = "form=past aspect=done"
THING = "goods|readable|furniture|shown|tellable|asked|task|sung|vehicle|contest|sound|transport"
WHAT = "food|drinkable|goods|readable|drawn|tellable|sung"
SOMEWHERE = "buy|read|film|draw|cook|borrow|photo|meet|repair"

STUFF = "dish|snack|drink|goods|subject|task|music|shown"

STATEMENTS = f"""
3 statement[]: S V ./e => S V 。/e
    S = subject[{WHO}]; V = action[{DONE} {BOND} det=indef|def|count]
6 statement[]: S V T ./e => S T V 。/e
    S = subject[{WHO}]; V = action[{DONE} {BOND} det=indef|def|count]; T = time[tense=past]
3 statement[]: T S V ./e => T S V 。/e
    S = subject[{WHO}]; V = action[{DONE} {BOND} det=indef|def|count]; T = time[tense=past]
4 statement[]: S B/1 V ./e => S 正在/1 V 。/e
    S = subject[{WHO}]; B = be[agr=?a];
    V = action[form=ing aspect=none {BOND} spot=none pace=durative|visiting det=indef|def|bare]
3 statement[]: S B/1 V ./e => S 正/1 V 。/e
    S = subject[{WHO}]; B = be[agr=?a];
    V = action[form=ing aspect=none {BOND} spot=place pace=durative det=indef|def|bare]
2 statement[]: S B V O ./e => S V 着 O 。/e
    S = subject[class=person {WHO}]; B = be[agr=?a]; V = wear[form=ing object=?o];
    O = object[class=?o det=indef|def owner=?r]
3 statement[]: S F V ./e => S F V 。/e
    S = subject[class=person {WHO}]; F = frequency[];
    V = action[form=?a aspect=none {BOND} det=bare pace=durative|going]
3 statement[]: S V T ./e => S T V 。/e
    S = subject[class=person {WHO}]; V = action[form=?a aspect=none {BOND} det=bare pace=durative|going];
    T = time[tense=habit]
4 statement[]: S will/1 V T ./e => S T 会/1 V 。/e
    S = subject[{WHO}]; V = action[form=base aspect=none {BOND} will=yes]; T = time[tense=future]
2 statement[]: S B going/1 to V T ./e => S T 要/1 V 。/e
    S = subject[{WHO}]; B = be[agr=?a]; V = action[form=base aspect=none {BOND} will=yes];
    T = time[tense=future]
3 statement[]: S M V ./e => S M V 。/e
    S = subject[class=person {WHO}]; M = modal[];
    V = action[form=base aspect=none {BOND} det=def|bare will=yes]
4 statement[]: S C to V ./e => S C V 。/e
    S = subject[class=person {WHO}]; C = control[form=?a];
    V = action[form=base aspect=none {BOND} det=indef|bare pace=durative|going|visiting]
6 statement[]: S V O ./e => S V O 。/e
    S = subject[{WHO}]; V = stative[form=?a subject=?s object=?o det=?d]; O = object[class=?o det=?d owner=?r]
2 statement[]: S V P K ./e => S V P K 。/e
    S = subject[class=person {WHO}]; V = cherish[form=?a]; P = pronoun[case=possessive ref=?r]; K = kin[num=sg]
1 statement[]: S V O ./e => S V O 。/e
    S = single[class=person agr=?a half=one]; V = cherish[form=?a]; O = name[half=two]
2 statement[]: S H V before/1 ./e => S 以前/1 V 。/e
    S = subject[class=person {WHO}]; H = have[agr=?a];
    V = action[form=pp aspect=ever {BOND} det=def|bare pace=durative|achievement|going|visiting]
5 statement[]: S B J ./e => S 很 J 。/e
    S = subject[{WHO} adj=no]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
3 statement[]: S B D J ./e => S D J 。/e
    S = subject[{WHO} adj=no]; B = be[agr=?a]; D = degree[]; J = adjective[of=?s degree=plain]
1 statement[]: S B too/1 J ./e => S 太/1 J 了 。/e
    S = subject[{WHO} adj=no]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
1.5 statement[]: S B/1 K ./e => S 是/1 K 的 。/e
    S = definite[class=colored {WHO} num=sg|pl|pair]; B = be[agr=?a]; K = color[of=colored]
2 statement[]: S B/1 V T ./e => S T 正在/1 V 。/e
    S = subject[class=person {WHO}]; B = be[agr=?a]; T = time[tense=now];
    V = action[form=ing aspect=none {BOND} spot=none pace=durative|visiting det=indef|def|bare]
1.5 statement[]: S V ./e => S V 。/e
    S = definite[class=animal num=sg|pl {WHO}]; V = vp[{DONE} {BOND}]
6 statement[]: S V T ./e => S T V 。/e
    S = definite[class=hunter|grazer num=sg|pl {WHO}]; T = time[tense=past];
    V = vp[{DONE} subject=hunter|grazer {BOND}]
8 statement[]: N B J ./e => N 很 J 。/e
    N = noun[num=mass class={STUFF} class=?s agr=?a]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
8 statement[]: S B J ./e => S 很 J 。/e
    S = definite[class={THING} {WHO} adj=no]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
3 statement[]: S B D J ./e => S D J 。/e
    S = definite[class={THING} {WHO} adj=no]; B = be[agr=?a]; D = degree[]; J = adjective[of=?s degree=plain]
3 statement[]: N B D J ./e => N D J 。/e
    N = noun[num=mass class={STUFF} class=?s agr=?a]; B = be[agr=?a]; D = degree[]; J = adjective[of=?s degree=plain]
6 statement[]: the P B J ./e => P 很 J 。/e
    P = place[class=?c agr=?a]; B = be[agr=?a]; J = adjective[of=?c degree=plain]
2 statement[]: S B/1 a J ./e => S 是/1 J 。/e
    S = single[class=person agr=?a]; B = be[agr=?a]; J = noun[class=job num=sg]
1 single[class=?c agr=?a ref=?r num=?n half=?h]: X => X
    X = name[half=?h class=?c agr=?a ref=?r num=?n]
1 single[class=?c agr=?a ref=?r num=?n half=?h]: X => X
    X = kinsman[num=sg class=?c agr=?a ref=?r num=?n]
1 single[class=?c agr=?a ref=?r num=?n half=?h]: X => X
    X = pronoun[case=subject ref=he|she class=?c agr=?a ref=?r num=?n]
"""

NEGATIONS = f"""
2 negation[]: S did not/1 V ./e => S 没/1 V 。/e
    S = subject[{WHO}]; V = action[form=base aspect=none {BOND} det=def|bare]
2 negation[]: S did not/1 V T ./e => S T 没/1 V 。/e
    S = subject[{WHO}]; V = action[form=base aspect=none {BOND} det=def|bare]; T = time[tense=past]
3 negation[]: S D not/1 V ./e => S 不/1 V 。/e
    S = subject[{WHO}]; D = do[agr=?a]; V = stative_phrase[form=base subject=?s owner=?r det=def|bare]
1 stative_phrase[form=?f subject=?s owner=?r det=?d]: V O => V O
    V = stative[form=?f subject=?s object=?o det=?d]; O = object[class=?o det=?d owner=?r]
2 negation[]: S D not/1 want/2 to V ./e => S 不/1 想/2 V 。/e
    S = subject[class=person {WHO}]; D = do[agr=?a];
    V = action[form=base aspect=none {BOND} det=bare|def pace=durative|going]
2 negation[]: S cannot/1 V ./e => S 不/1 能/1 V 。/e
    S = subject[class=person {WHO}]; V = action[form=base aspect=none {BOND} det=bare|def will=yes]
3 negation[]: S B not/1 J ./e => S 不/1 J 。/e
    S = subject[{WHO} adj=no]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
3 negation[]: S H never/1 V ./e => S 从来/1 没/1 V 。/e
    S = subject[class=person {WHO}]; H = have[agr=?a];
    V = action[form=pp aspect=ever {BOND} det=bare|def pace=durative|achievement|going|visiting]
"""

QUESTIONS = f"""
2 question[]: did S V ?/e => S V 吗 ？/e
    S = asked[{WHO}]; V = action[form=base aspect=done {BOND} det=indef|def|count]
2 question[]: did S V T ?/e => S T V 吗 ？/e
    S = asked[{WHO}]; V = action[form=base aspect=done {BOND} det=indef|def|count]; T = time[tense=past]
3 question[]: D S V ?/e => S V 吗 ？/e
    S = asked[{WHO}]; D = do[agr=?a]; V = stative_phrase[form=base subject=?s owner=?r]
1.5 question[]: D S want/1 to V ?/e => S 想/1 V 吗 ？/e
    S = asked[{WHO}]; D = do[agr=?a];
    V = action[form=base aspect=none {BOND} det=indef|bare pace=durative|going]
2 question[]: B S J ?/e => S J 吗 ？/e
    S = asked[{WHO}]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
1.5 question[]: B/1 S V ?/e => S 正在/1 V 吗 ？/e
    S = asked[{WHO}]; B = be[agr=?a];
    V = action[form=ing aspect=none {BOND} spot=none pace=durative det=indef|def|bare]
2 question[]: can/1 S V ?/e => S 能/1 V 吗 ？/e
    S = asked[{WHO}]; V = action[form=base aspect=none {BOND} det=def|bare will=yes]
2 question[]: will/1 S V T ?/e => S T 会/1 V 吗 ？/e
    S = asked[{WHO}]; V = action[form=base aspect=none {BOND} will=yes]; T = time[tense=future]
2.5 question[]: H S ever V ?/e => S V 吗 ？/e
    S = asked[{WHO}]; H = have[agr=?a];
    V = action[form=pp aspect=ever {BOND} det=bare|def pace=durative|achievement|going|visiting]
1 asked[{WHO}]: P => P
    P = pronoun[case=subject class=?s agr=?a ref=?r ref=you|he|she]
1 asked[{WHO}]: N => N
    N = named[class=person {WHO}]
# Wh-words stay where the answer would stand.
2 question[]: who/1 V ?/e => 谁/1 V ？/e
    V = action[form=past aspect=done subject=person det=indef|def|count]
1.5 question[]: who/1 is/2 V ?/e => 谁/1 正在/2 V ？/e
    V = action[form=ing aspect=none subject=person spot=none pace=durative det=def|bare]
1.5 question[]: who/1 did S V ?/e => S V 了 谁/1 ？/e
    S = asked[{WHO}]; V = transitive[form=base subject=?s object=person]
1.5 question[]: what/1 did S V ?/e => S V 了 什么/1 ？/e
    S = asked[{WHO}];
    V = transitive[form=base subject=?s pace=durative|achievement object={WHAT}]
1.5 question[]: what/1 did S V T ?/e => S T V 了 什么/1 ？/e
    S = asked[{WHO}]; T = time[tense=past];
    V = transitive[form=base subject=?s pace=durative|achievement object={WHAT}]
1 question[]: what/1 B/2 S V ?/e => S 正在/2 V 什么/1 ？/e
    S = asked[{WHO}]; B = be[agr=?a];
    V = transitive[form=ing subject=?s pace=durative object=food|drinkable|goods|readable|drawn|sung]
2 question[]: where/1 did S V O ?/e => S 在/1 哪里/1 V 的 O ？/e
    S = asked[{WHO}];
    V = transitive[form=base subject=?s object=?o pace=durative|achievement at={SOMEWHERE}];
    O = object[class=?o det=def]
2 question[]: where/1 B S ?/e => S 在/1 哪里/1 ？/e
    S = asked[{WHO}]; B = be[agr=?a]
1.5 question[]: where/1 B S ?/e => S 在/1 哪里/1 ？/e
    S = owned[class=losable|portable agr=?a num=sg|pl]; B = be[agr=?a]
1.5 question[]: when/1 will/2 S V ?/e => S 什么时候/1 会/2 V ？/e
    S = asked[{WHO}]; V = action[form=base aspect=none {BOND} det=def|bare will=yes]
1.5 question[]: why/1 B S so/2 J ?/e => S 为什么/1 这么/2 J ？/e
    S = asked[{WHO}]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
1.5 question[]: why/1 did S not/2 V ?/e => S 为什么/1 没/2 V ？/e
    S = asked[{WHO}]; V = action[form=base aspect=none {BOND} det=def|bare]
1.5 question[]: how/1 many/1 N did S V ?/e => S V 了 多少/1 N ？/e
    N = noun[num=pl class=goods|animal class=?o]; S = asked[{WHO}];
    V = transitive[form=base subject=?s object=?o pace=durative|achievement]
1.5 question[]: which/1 N did S V ?/e => S V 了 哪/1 N.measure/1 N ？/e
    N = noun[num=sg class=goods|readable|shown class=?o]; S = asked[{WHO}];
    V = transitive[form=base subject=?s object=?o pace=durative|achievement]
1 question[]: how/1 will/2 S go/3 to P.the P ?/e => S 会/2 怎么/1 去/3 P ？/e
    S = asked[{WHO}]; P = place[class=public|trip|city]
0.5 question[]: is there/1 some N R the M ?/e => M R 有/1 N 吗 ？/e
    N = noun[num=mass class=food|drinkable]; R = relation[spot=surface|box spot=?c];
    M = noun[class=surface|box class=?c num=sg]
"""

RELATIVES = f"""
4 relative[]: R B J ./e => R 很 J 。/e
    R = related[class=?s agr=?a adj=no]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
3 relative[]: S V R ./e => S V R 。/e
    S = subject[class=person {WHO}]; V = stative[form=?a object=?o]; R = related[class=?o]
3 relative[]: R B J ./e => R 很 J 。/e
    R = doer[class=?s agr=?a adj=no]; B = be[agr=?a]; J = adjective[of=?s degree=plain]
1.5 relative[]: R B/1 P K ./e => R 是/1 P K 。/e
    R = doer[class=?s agr=third num=sg]; B = be[agr=third]; P = pronoun[case=possessive who=speaker];
    K = kin[num=sg class=?s]
1.5 relative[]: S V R ./e => S V R 。/e
    S = subject[class=person {WHO}]; V = stative[form=?a object=person]; R = doer[class=?o]
1 relative[]: S lost/1 R ./e => S 弄丢/1 了 R 。/e
    S = subject[class=person {WHO}]; R = related[class=losable]
"""

COMPARISONS = """
4 comparison[]: S B J than/1 O ./e => S 比/1 O J 。/e
    S = single[class=?s agr=?a half=one]; B = be[agr=?a]; J = adjective[of=?s passing=no degree=more];
    O = name[half=two]
4 comparison[]: X 's/1 N B J than/2 Y 's/3 ./e => X 的/1 N 比/2 Y 的/3 J 。/e
    heads = N; X = name[half=one]; N = noun[num=sg class=goods|pet|vehicle class=?s agr=?a]; B = be[agr=?a];
    J = adjective[of=?s passing=no degree=more]; Y = name[half=two]
3 comparison[]: S B as/1 J as/2 O ./e => S 和/2 O 一样/1 J 。/e
    S = single[class=?s agr=?a half=one]; B = be[agr=?a]; J = adjective[of=?s passing=no degree=plain];
    O = name[half=two]
3 comparison[]: S B not/1 as J as O ./e => S 没有/1 O 那么 J 。/e
    S = single[class=?s agr=?a half=one]; B = be[agr=?a]; J = adjective[of=?s passing=no degree=plain];
    O = name[half=two]
2 comparison[]: S are J than/1 O ./e => S 比/1 O J 。/e
    S = noun[num=pl class=large]; J = adjective[of=large degree=more]; O = noun[num=pl class=little]
2 comparison[]: S are J than/1 O ./e => S 比/1 O J 。/e
    S = noun[num=pl class=little]; J = adjective[of=little degree=more]; O = noun[num=pl class=large]
"""

PLACES = f"""
3 existence[]: there is/1 a/2 N R/3 the M ./e => M R/3 有/1 一/2 N.measure/2 N 。/e
    N = nominal[num=sg class=tool|gift|book|phone|snack|drawn2]; M = noun[class=surface|box class=?c num=sg];
    R = relation[spot=?c]
3 existence[]: there are/1 Q/2 N R the M ./e => M R 有/1 Q N.measure/2 N 。/e
    N = nominal[num=pl class=tool|gift|book|fruit|dishware]; Q = number[];
    M = noun[class=surface|box class=?c num=sg]; R = relation[spot=?c]
2 existence[]: there B/1 Q/2 N R the M ./e => M R 有/1 Q N.measure/2 N 。/e
    N = nominal[num=pl class=pet agr=?a]; B = be[agr=?a]; Q = number[size=small];
    M = noun[class=surface class=?c num=sg]; R = relation[spot=?c]
2 existence[]: there is/1 a/2 N R/3 the M ./e => M R/3 有/1 一/2 N.measure/2 N 。/e
    N = nominal[num=sg class=pet]; M = noun[class=surface class=?c num=sg]; R = relation[spot=?c]
2 existence[]: there are/1 Q N P.in/2 P.the P ./e => P P.inside/2 有/1 Q N 。/e
    N = nominal[num=pl class=person {KNOWN}]; Q = several[]; P = place[class=public|trip]
1 existence[]: there are/1 Q N P.in/2 P.the P ./e => P P.inside/2 有/1 Q N 。/e
    N = nominal[num=pl class=wild]; Q = several[]; P = place[for=nature]
3 existence[]: S B/1 R the M ./e => S 在/1 M R 。/e
    S = definite[num=sg|pl class=tool|gift|book|phone|pet agr=?a]; B = be[agr=?a];
    M = noun[class=surface|opening|outdoorspot class=?c num=sg]; R = relation[spot=?c]
3 existence[]: S B P.in/1 P.the P ./e => S 在/1 P P.inside/1 。/e
    S = subject[class=person agr=?a]; B = be[agr=?a]; P = place[class=public|open|trip|room|city]
2 existence[]: S V R/1 the M ./e => S 在/1 M R V A 。/e
    S = definite[num=sg|pl class=pet class=?s]; V = intransitive[form=past subject=?s];
    M = noun[class=surface|outdoorspot class=?c num=sg]; R = relation[spot=?c];
    A = aspect[aspect=none after=end]
"""

SIMPLE = STATEMENTS + NEGATIONS + QUESTIONS + RELATIVES + COMPARISONS + PLACES
