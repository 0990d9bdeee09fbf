"""The phrases of the language: nouns with what stands around them, verbs with their objects, adjuncts.

The notation is that of `jaxformer.data.grammar.rules`.
"""

NOUN = "noun[num=?n class=?c agr=?a ref=?r def=?d amb=?m]"
PASS = "num=?n class=?c agr=?a ref=?r def=?d amb=?m"
OWNABLE = "portable|losable|giftable|bodypart|clothes|device|vehicle|pet"
KNOWN = "def=that|bare|men|those"
OUT = "class=?c agr=?a ref=?r num=?n amb=?m adj=?j"
NOUN_PHRASES = f"""
# A noun alone, with an adjective, with a colour or "newest".
5 nominal[{PASS} adj=no]: N => N
    N = {NOUN}
1 nominal[{PASS} adj=yes]: J N => J J.de N
    N = {NOUN}; J = adjective[of=?c degree=plain before=yes passing=no]
0.5 nominal[{PASS} adj=yes]: K N => K 的 N
    N = noun[class=colored|phone|device num=?n class=?c agr=?a ref=?r def=?d amb=?m]; K = color[of=?c]
# The four renderings of "the": 那 and a measure word, nothing, 们, 那些.
1 definite[{OUT} det=def]: the/1 N => 那/1 N.measure/1 N
    N = nominal[def=that {PASS} adj=?j]
1 definite[{OUT} det=def]: the N => N
    N = nominal[def=bare {PASS} adj=?j]
1 definite[{OUT} det=def]: the/1 N => N 们/1
    N = nominal[def=men {PASS} adj=?j]
1 definite[{OUT} det=def]: the/1 N => 那些/1 N
    N = nominal[def=those {PASS} adj=?j]
# Determiners and numbers; the measure word is aligned with them.
1 thisone[{OUT} det=def]: D/1 N => D N.measure/1 N
    N = nominal[num=sg {KNOWN} {PASS} adj=?j]; D = this[num=?n]
1 thisone[{OUT} det=def]: D N => D N
    N = nominal[num=pl {KNOWN} {PASS} adj=?j]; D = this[num=?n]
4 quantity[{OUT} det=indef]: a/1 N => 一/1 N.measure/1 N
    N = nominal[num=sg {KNOWN} {PASS} adj=?j]
4 quantity[{OUT} det=indef]: a/1 pair/2 of N => 一/1 N.measure/2 N
    N = nominal[num=pair {PASS} adj=?j]
1.5 quantity[{OUT} det=count]: Q/1 N => Q N.measure/1 N
    N = nominal[num=pl {KNOWN} {PASS} adj=?j]; Q = number[]
0.7 quantity[{OUT} det=count]: Q N => Q N
    N = nominal[num=pl {KNOWN} {PASS} adj=?j]; Q = several[]
3 quantity[{OUT} det=count]: some/1 N => 一些/1 N
    N = nominal[num=mass {PASS} adj=?j]
7 quantity[{OUT} det=count]: a/1 C of N => 一/1 C N
    N = noun[num=mass {PASS}]; C = container[of=?c num=sg]
4 quantity[{OUT} det=count]: Q C of N => Q C N
    N = noun[num=mass {PASS}]; Q = number[size=small]; C = container[of=?c num=pl]
1 bare[{OUT} det=bare]: N => N
    N = nominal[num=pl|mass|name {PASS} adj=?j]
# What belongs to whom.
3 owned[{OUT} det=def owner=!o]: P N => P 的 N
    heads = N; P = pronoun[case=possessive ref=?o]; N = nominal[num=sg|pl|pair|mass {PASS} adj=?j]
1 owned[{OUT} det=def]: P N => P 的 N
    heads = N; P = pronoun[case=possessive who=speaker]; N = nominal[num=sg|pl {PASS} adj=?j]
1 owned[{OUT} det=def]: X 's/1 N => X 的/1 N
    heads = N; X = name[]; N = nominal[num=sg|pl {PASS} adj=?j]
# Kin: 我妈妈, 我的姐姐们, 汤姆的妈妈.
3 kinsman[{OUT}]: P K => P K
    heads = K; P = pronoun[case=possessive who=speaker]; K = kin[num=sg {PASS}]
1.5 kinsman[{OUT}]: P K/1 => P 的 K 们/1
    heads = K; P = pronoun[case=possessive who=speaker]; K = kin[num=pl {PASS}]
2 kinsman[{OUT}]: X 's/1 K => X 的/1 K
    heads = K; X = name[]; K = kin[num=sg {PASS}]
# Relative clauses stand before the noun.
2 related[{OUT} det=def]: the N that S V => S V 的 N
    N = nominal[num=sg|pl {PASS} adj=?j]; S = subject[class=person num=sg|pl|one];
    V = transitive[form=past subject=person object=?c]
1 related[{OUT} det=def]: the N that S V T => S T V 的 N
    N = nominal[num=sg|pl {PASS} adj=?j]; S = subject[class=person num=sg|pl|one];
    V = transitive[form=past subject=person object=?c]; T = time[tense=past]
1 related[{OUT} det=def]: the N that S V => S V 的 N
    N = nominal[num=sg|pl {PASS} adj=?j]; S = subject[class=person agr=?b];
    V = stative[form=?b subject=person object=?c]
1 doer[{OUT} det=def]: the N who B/1 V => 正在/1 V 的 N
    N = nominal[class=person num=sg|pl {PASS} adj=?j]; B = be[agr=?a];
    V = action[form=ing aspect=none subject=?c spot=none pace=durative det=bare|indef]
0.7 doer[{OUT} det=def]: the N who B V O => V 着 O 的 N
    N = nominal[class=person num=sg|pl {PASS} adj=?j]; B = be[agr=?a]; V = wear[form=ing object=?o];
    O = object[class=?o det=indef]
1 doer[{OUT} det=def]: the N who V => V 的 N
    N = nominal[class=person num=sg|pl {PASS} adj=?j];
    V = action[form=past aspect=done subject=?c mode=verb det=indef|def|count spot=none]
"""

SUBJECTS = f"""
2 subject[{OUT}]: P => P
    P = pronoun[case=subject class=?c agr=?a ref=?r num=?n ref=me|you|us|he|she]
6 subject[{OUT}]: N => N
    N = named[{OUT}]
# Whom a pronoun can go back to.
1.5 named[{OUT}]: X => X
    X = name[class=?c agr=?a ref=?r num=?n]
4 named[{OUT}]: N => N
    N = definite[num=sg|pl {OUT}]
0.7 named[{OUT}]: N => N
    N = thisone[{OUT}]
1.5 named[{OUT}]: N => N
    N = kinsman[{OUT}]
0.5 named[{OUT}]: Q N => Q 的 N
    heads = N; Q = pronoun[case=possessive who=speaker]; N = noun[class=fellow num=sg {PASS}]
0.5 named[{OUT}]: Q N/1 => Q 的 N 们/1
    heads = N; Q = pronoun[case=possessive who=speaker]; N = noun[class=fellow num=pl {PASS}]
0.7 named[{OUT}]: C => C
    C = couple[{OUT}]
1 couple[class=adult|child|person agr=plain ref=they-m num=pl amb=no adj=no]: X and/1 Y => X 和/1 Y
    heads = X Y; X = name[ref=he half=one]; Y = name[half=two]
1 couple[class=adult|child|person agr=plain ref=they-f num=pl amb=no adj=no]: X and/1 Y => X 和/1 Y
    heads = X Y; X = name[ref=she half=one]; Y = name[ref=she half=two]
1 couple[class=adult|child|person agr=plain ref=they-f num=pl amb=no adj=no]: P K and/1 X => P K 和/1 X
    heads = K X; P = pronoun[case=possessive who=speaker]; K = kin[num=sg ref=she]; X = name[ref=she]
1 couple[class=adult|child|person agr=plain ref=they-m num=pl amb=no adj=no]: P K and/1 X => P K 和/1 X
    heads = K X; P = pronoun[case=possessive who=speaker]; K = kin[num=sg ref=he]; X = name[ref=she]
"""

OBJECTS = f"""
1.5 object[{OUT} det=def owner=?o]: N => N
    N = definite[{OUT} num=sg|pl|pair|mass]
0.7 object[{OUT} det=def owner=?o]: N => N
    N = thisone[{OUT}]
1 object[{OUT} det=def owner=?o]: N => N
    N = owned[{OUT} class={OWNABLE} owner=?o]
0.3 object[{OUT} det=def owner=?o]: N => N
    N = related[{OUT} class=goods|portable|readable|pet]
3 object[{OUT} det=indef owner=?o]: N => N
    N = quantity[{OUT} det=indef]
2 object[{OUT} det=count owner=?o]: N => N
    N = quantity[{OUT} det=count]
1.5 object[{OUT} det=bare owner=?o]: N => N
    N = bare[{OUT}]
2 object[{OUT} det=def owner=?o]: X => X
    X = somebody[{OUT} owner=?o]
1 somebody[{OUT}]: X => X
    X = name[class=?c agr=?a ref=?r num=?n]
1 somebody[{OUT}]: N => N
    N = kinsman[{OUT}]
1 somebody[{OUT} owner=!o]: P K => P K
    heads = K; P = pronoun[case=possessive ref=?o]; K = kin[num=sg {PASS}]
0.7 somebody[{OUT}]: P => P
    P = pronoun[case=object class=?c agr=?a ref=?r num=?n ref=me|you|us]
# What 把 and a place relation take: in Chinese a bare definite noun.
2 disposed[{OUT} owner=?o]: the N => N
    N = nominal[num=sg|mass|pair {PASS} adj=?j]
1 disposed[{OUT} owner=?o]: N => N
    N = thisone[{OUT}]
1.5 disposed[{OUT} owner=?o]: N => N
    N = owned[{OUT} class={OWNABLE} owner=?o]
# Football, the piano, the bus.
1 practised[class=?c]: N => N
    N = noun[num=mass class=?c]
1 practised[class=?c]: the N => N
    N = noun[num=sg class=?c class=keyed|bowed|blown|transport]
"""

_VP = "form=?f aspect=?t subject=?s at=?at owner=?o aura=?u det=?d will=?w"
_ACT = "form=?f subject=?s at=?at aura=?u"
VERB_PHRASES = f"""
10 vp[{_VP} pace=durative mode=verb]: V O => V A O
    V = transitive[{_ACT} pace=durative object=?c]; O = object[class=?c det=?d owner=?o];
    A = aspect[aspect=?t after=verb]
5 vp[{_VP} pace=achievement mode=verb]: V O => V A O
    V = transitive[{_ACT} pace=achievement object=?c]; O = object[class=?c det=?d owner=?o];
    A = aspect[aspect=?t after=verb]
3 vp[{_VP} pace=durative mode=activity]: V O => V B O A
    V = transitive[{_ACT} pace=activity object=?c]; O = practised[class=?c]; B = aspect[aspect=?t after=inner];
    A = aspect[aspect=?t after=end]
2 vp[{_VP} subject=person pace=wearing mode=verb]: V O => V A O
    V = wear[form=?f object=?c]; O = object[class=?c det=?d owner=?o]; A = aspect[aspect=?t after=verb]
4 vp[{_VP} aspect=none|done pace=durative mode=activity]: V => V A
    V = intransitive[{_ACT}]; A = aspect[aspect=?t after=end]
7 vp[{_VP} subject=person aspect=none|done pace=achievement mode=end]: V O => 把 O V A
    V = resultative[form=?f aura=?u will=?w object=?c]; O = disposed[class=?c owner=?o];
    A = aspect[aspect=?t after=end]
1 vp[{_VP} subject=person aspect=none|done pace=achievement mode=end]: V O R/1 the N => 把 O V 在/1 A N R
    V = put[form=?f]; O = disposed[class=portable|dishware|book owner=?o]; A = aspect[aspect=?t after=end];
    N = noun[num=sg class=surface|box class=?p]; R = relation[spot=?p spot=surface|box]
2 vp[{_VP} subject=person pace=achievement mode=verb]: V I O => V A I O
    V = dative[form=?f object=?c]; I = somebody[class=person owner=?o]; O = object[class=?c det=indef];
    A = aspect[aspect=?t after=verb]
2 vp[{_VP} subject=person pace=achievement mode=verb]: V I O => 给 I V A O
    V = benefit[form=?f object=?c]; I = somebody[class=person owner=?o]; O = object[class=?c det=indef];
    A = aspect[aspect=?t after=verb]
2 vp[{_VP} subject=person aspect=none|done pace=achievement mode=end]: V O => 给 O V A
    V = coverb[form=?f object=?c]; O = recipient[class=?c owner=?o]; A = aspect[aspect=?t after=end]
1 recipient[class=?c owner=?o]: X => X
    X = somebody[class=?c owner=?o]
1 recipient[class=?c owner=?o]: X => X
    X = definite[class=?c num=sg|pl]
1.2 vp[{_VP} subject=person pace=visiting mode=verb]: V the P => V A P
    V = transitive[form=?f object=seenplace object=?c]; P = place[class=?c]; A = aspect[aspect=?t after=verb]
# Going somewhere, by some means, for some purpose.
1.5 vp[{_VP} subject=person pace=going mode=verb]: V to P.the P => V A P
    V = go[form=?f]; P = place[class=public|trip|city]; A = aspect[aspect=?t after=verb]
1 vp[{_VP} subject=person pace=going mode=verb]: V to P.the P by/1 R => 坐/1 R V A P
    V = go[form=?f]; P = place[class=public|trip|city class=?k]; R = ride[to=?k];
    A = aspect[aspect=?t after=verb]
1.5 vp[{_VP} subject=person aspect=none|done pace=going mode=end]: V to the P to W => V P W A
    V = go[form=?f]; P = place[for=?at class=public|trip|office|river];
    W = vp[form=base aspect=none at=?at det=indef|bare|count pace=durative subject=person];
    A = aspect[aspect=?t after=end]
"""

ADJUNCTS = f"""
3 location[for=?at class=?k]: P.in/1 P.the P => 在/1 P P.inside/1
    P = place[for=?at class=?k]
1 company[]: X => X
    X = name[]
1 company[]: N => N
    N = kinsman[num=sg]
1 company[]: P N/1 => P 的 N 们/1
    P = pronoun[case=possessive who=speaker]; N = noun[class=fellow num=pl]
6 action[{_VP} pace=?p mode=?m spot=none]: V => V
    V = vp[{_VP} pace=?p mode=?m]
5 action[{_VP} pace=?p mode=?m spot=place]: V L => L V
    V = vp[{_VP} pace=durative pace=?p mode=?m]; L = location[for=?at]
1 action[{_VP} subject=person pace=?p mode=?m aura=fun|effort|duty|plain spot=none]: V with/1 W => 和/1 W 一起 V
    V = vp[{_VP} aura=fun|effort|duty|plain pace=durative pace=?p mode=activity mode=?m]; W = company[]
1 action[{_VP} subject=person pace=?p mode=?m aura=fun|effort|duty|plain spot=place]: V L with/1 W => 和/1 W 一起 L V
    V = vp[{_VP} aura=fun|effort|duty|plain pace=durative pace=?p mode=activity mode=?m]; L = location[for=?at];
    W = company[]
"""

PHRASES = NOUN_PHRASES + SUBJECTS + OBJECTS + VERB_PHRASES + ADJUNCTS
