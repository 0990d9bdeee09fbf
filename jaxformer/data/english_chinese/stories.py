"""Sentences of more than one clause, in families: linked clauses, pronouns with antecedents, contexts that decide.

The notation is that of `jaxformer.data.grammar.rules`.
"""

from jaxformer.data.english_chinese.sentences import STUFF, THING

WHO = "class=?s agr=?a ref=?r num=?n"
BOND = "subject=?s owner=?r"
DONE = "form=past aspect=done"
P = "pronoun[case=subject ref=?r agr=?b]"
ONE = f"hero[class=person {WHO}]"
BEING = f"hero[class=person|animal {WHO}]"
WHOLE = "det=def|indef|count"
INDOORS = "read|write|cook|drink|eat|listen|film|study|rest|sleep"
OUTDOORS = "outdoors|camp|fish|walk|swim|grow"
LINKED = f"""
7 linked[]: S V that N B J ./e => S V N 很 J 。/e
    S = {ONE}; V = speech[form=?a]; N = noun[num=mass class={STUFF} class=?c agr=?b]; B = be[agr=?b];
    J = adjective[of=?c degree=plain]
3 linked[]: S V that the P B J ./e => S V P 很 J 。/e
    S = {ONE}; V = speech[form=?a]; P = place[class=?c agr=?b]; B = be[agr=?b]; J = adjective[of=?c degree=plain]
7 linked[]: S V that O B J ./e => S V O 很 J 。/e
    S = {ONE}; V = speech[form=?a]; O = definite[class={THING} class=?c agr=?b adj=no]; B = be[agr=?b];
    J = adjective[of=?c degree=plain]
2 linked[]: if/1 it W T ,/2 S will/3 V ./e => 如果/1 T W ，/2 S 就 会/3 V 。/e
    W = weather[form=third]; T = time[tense=future]; S = {ONE};
    V = action[form=base aspect=none {BOND} spot=none pace=durative at={INDOORS}]
2 linked[]: if/1 it W T ,/2 S will/3 not/3 V ./e => 如果/1 T W ，/2 S 就 不/3 会/3 V 。/e
    W = weather[form=third]; T = time[tense=future]; S = {ONE};
    V = action[form=base aspect=none {BOND} pace=durative det=bare at={OUTDOORS}]
2 linked[]: if/1 the weather/2 is J T ,/3 S will/4 V ./e => 如果/1 T 天气/2 很 J ，/3 S 就 会/4 V 。/e
    J = sky[mood=good]; T = time[tense=future]; S = {ONE};
    V = action[form=base aspect=none {BOND} pace=durative at={OUTDOORS}]
2 linked[]: S did not/1 V because/2 it was W ./e => S 没/1 V ，因为/2 W 了 。/e
    S = {ONE}; W = weather[form=ing]; V = vp[form=base aspect=none {BOND} pace=going mode=verb]
2 linked[]: because/1 the weather/2 was J ,/3 S did not/4 V ./e => 因为/1 天气/2 很 J ，/3 所以 S 没/4 V 。/e
    J = sky[mood=bad]; S = {ONE}; V = action[form=base aspect=none {BOND} det=bare pace=durative at={OUTDOORS}]
2 linked[]: S V and/1 X W ./e => S V ，/1 X W 。/e
    S = brief[half=one {WHO}]; X = brief[half=two class=?x ref=?y];
    V = vp[{DONE} {BOND} {WHOLE} pace=durative|visiting|going mode=verb];
    W = vp[{DONE} subject=?x owner=?y {WHOLE} pace=durative|visiting|going mode=verb]
3 linked[]: S V ,/1 and/2 then/2 W ./e => S V ，/1 然后/2 W 。/e
    S = subject[class=person {WHO}]; V = vp[{DONE} {BOND} {WHOLE} pace=durative|achievement|going mode=verb];
    W = vp[{DONE} {BOND} {WHOLE} pace=durative|going mode=verb|activity]
1 brief[class=?s agr=?a ref=?r num=?n half=?h]: X => X
    X = name[class=?s agr=?a ref=?r num=?n half=?h]
1 brief[class=?s agr=?a ref=?r num=?n half=?h]: Q K => Q K
    heads = K; Q = pronoun[case=possessive who=speaker]; K = kin[num=sg class=?s agr=?a ref=?r half=?h]
"""

COREFERENCE = f"""
# Whom a pronoun goes back to: several women more often than elsewhere, for 她们 needs to be learned.
5 hero[{WHO}]: N => N
    N = named[{WHO}]
2 hero[{WHO}]: N => N
    N = named[ref=they-f {WHO}]
# The subject of the first clause comes back as a pronoun.
4 coreference[]: S B J because/1 P V ./e => S 很 J ，因为/1 P V 。/e
    S = {BEING}; B = be[agr=?a]; P = {P}; J = adjective[of=?s degree=plain cause=good|bad|effort|fun cause=?c];
    V = action[{DONE} {BOND} aura=?c {WHOLE}]
4 coreference[]: S B J ,/1 so/2 P C to V ./e => S 很 J ，/1 所以/2 P C V 。/e
    S = {BEING}; B = be[agr=?a]; P = {P}; J = adjective[of=?s degree=plain effect=eat|drink|rest|fun effect=?c];
    C = wish[form=?b]; V = vp[form=base aspect=none {BOND} aura=?c det=bare|count|indef pace=durative]
2 coreference[]: after/1 S V ,/2 P W ./e => S V 之后/1 ，/2 P W 。/e
    S = {ONE}; P = {P}; V = action[{DONE} {BOND} {WHOLE} mode=verb];
    W = action[{DONE} {BOND} {WHOLE} pace=going|durative]
2 coreference[]: when/1 S W L ,/2 P V ./e => S L 的时候/1 ，/2 P V 。/e
    S = {ONE}; W = was[agr=?a]; P = {P}; L = location[for=?k];
    V = action[{DONE} {BOND} {WHOLE} at=?k spot=none pace=durative|achievement]
2 coreference[]: if/1 S V ,/2 P can/3 W ./e => 如果/1 S V ，/2 P 就 能/3 W 。/e
    S = {ONE}; P = {P}; V = action[form=?a aspect=none {BOND} det=def aura=duty spot=none];
    W = action[form=base aspect=none subject=?s aura=fun det=bare]
2 coreference[]: although/1 S W J ,/2 P V ./e => 虽然/1 S 很 J ，/2 但是 P V 。/e
    S = {ONE}; W = was[agr=?a]; P = {P}; J = adjective[of=?s degree=plain cause=effort];
    V = action[{DONE} {BOND} aura=duty {WHOLE}]
2 coreference[]: S said/1 that P W to X ./e => S 说/1 P W X 。/e
    S = {ONE}; P = {P}; W = control[form=past mode=said];
    X = action[form=base aspect=none {BOND} det=indef|bare pace=durative|going]
2 coreference[]: S V that P B J ./e => S V P 很 J 。/e
    S = {ONE}; V = speech[form=?a]; P = {P}; B = be[agr=?b]; J = adjective[of=?s degree=plain passing=yes]
2 coreference[]: S B L ,/1 and/1 P C/2 V ./e => S L ，/1 P 正在/2 V 。/e
    S = {ONE}; B = be[agr=?a]; P = {P}; C = be[agr=?b]; L = location[for=?k];
    V = action[form=ing aspect=none {BOND} at=?k spot=none pace=durative det=bare|indef]
# Another sentence stands between.
2 coreference[]: S B L ./1 the weather/2 is J ./3 P C to V ./e => S L 。/1 天气/2 很 J 。/3 P C V 。/e
    S = {ONE}; B = be[agr=?a]; L = location[for=?k class=public|open|trip]; J = sky[]; P = {P};
    C = wish[form=?b]; V = action[form=base aspect=none {BOND} at=?k spot=none pace=durative det=bare]
# The object comes back: 它 and 它们 for things, 他们 and 她们 for people.
5 coreference[]: S V O because/1 Q W J ./e => S V A O ，因为/1 Q 很 J 。/e
    S = subject[class=person {WHO}]; V = acquire[form=past]; A = aspect[aspect=done after=verb];
    O = object[class=goods class=?o ref=?q num=sg|pl det=indef|def|count adj=no];
    Q = pronoun[case=subject ref=?q agr=?b]; W = was[agr=?b];
    J = adjective[of=?o degree=plain passing=no appeal=yes]
4 coreference[]: S did not/1 V O because/2 Q W J ./e => S 没/1 V O ，因为/2 Q 很 J 。/e
    S = subject[class=person {WHO}]; V = acquire[form=base];
    O = thisone[class=goods class=?o ref=?q num=sg|pl adj=no]; Q = pronoun[case=subject ref=?q agr=?b];
    W = was[agr=?b]; J = adjective[of=?o degree=plain passing=no appeal=no]
3 coreference[]: S told/1 O that Q should/2 V ./e => S 告诉/1 O Q 应该/2 V 。/e
    S = single[class=person]; O = named[class=person num=pl class=?o ref=?q]; Q = pronoun[case=subject ref=?q];
    V = action[form=base aspect=none subject=?o owner=?q aura=duty|rest|eat det=bare|def]
4 coreference[]: S H O ,/1 and/1 P V Q T ./e => S H O ，/1 P T V Q 。/e
    S = single[class=person {WHO}]; H = own[form=?a]; O = quantity[class=pet class=?o ref=?q det=indef|count];
    P = {P}; V = transitive[form=?b subject=person object=animal object=?o pace=durative at=feed];
    Q = pronoun[case=object ref=?q]; T = time[tense=habit]
3 coreference[]: O W L ,/1 and/1 S V Q ./e => O L ，/1 S V A Q 。/e
    O = named[class=person num=pl class=?o agr=?a ref=?q]; W = was[agr=?a];
    L = location[for=photo|meet|outdoors]; S = name[class=?s];
    V = transitive[form=past subject=?s object=?o pace=achievement|durative object=person|wild];
    A = aspect[aspect=done after=verb]; Q = pronoun[case=object ref=?q]
3 coreference[]: O B/2 R the M ,/1 and/1 S V Q ./e => O 在/2 M R ，/1 S V Q 。/e
    O = definite[class=pet|tool|gift|book|phone class=?o agr=?a ref=?q num=sg|pl]; B = be[agr=?a];
    M = noun[class=surface class=?c num=sg]; R = relation[spot=?c]; S = single[class=person agr=?b];
    V = stative[form=?b subject=person object=?o]; Q = pronoun[case=object ref=?q]
"""

SENSE = f"""
# The apple: a fruit and a phone in the same frames.
2 sense[]: N B J ./e => N 很 J 。/e
    N = definite[amb=yes class=fruit|phone num=sg|pl class=?c agr=?a adj=no]; B = be[agr=?a];
    J = adjective[of=?c degree=plain]
2 sense[]: S V that N B J ./e => S V N 很 J 。/e
    S = {ONE}; V = speech[form=?a]; N = definite[amb=yes class=fruit|phone num=sg|pl class=?c agr=?b adj=no];
    B = be[agr=?b]; J = adjective[of=?c degree=plain]
1.5 sense[]: S V N ./e => S V A N 。/e
    S = subject[class=person {WHO}]; N = definite[amb=yes class=fruit|phone num=sg|pl class=?c];
    V = transitive[form=past subject=person object=?c pace=durative|achievement]; A = aspect[aspect=done after=verb]
1.5 sense[]: S B/1 V N ./e => S 正在/1 V N 。/e
    S = subject[class=person {WHO}]; B = be[agr=?a]; N = quantity[amb=yes class=fruit|phone num=sg|pl class=?c];
    V = transitive[form=ing subject=person object=?c pace=durative]
# All ambiguous nouns.
4 sense[]: N B J ./e => N 很 J 。/e
    N = definite[amb=yes num=sg|pl|pair|mass class=?c agr=?a adj=no]; B = be[agr=?a];
    J = adjective[of=?c degree=plain]
3 sense[]: S V N ./e => S V A N 。/e
    S = subject[class=person {WHO}]; N = definite[amb=yes class=?c num=sg|pl|pair|mass];
    V = transitive[form=past subject=person object=?c pace=durative|achievement];
    A = aspect[aspect=done after=verb]
2 sense[]: S V N T ./e => S T V A N 。/e
    S = single[class=person]; T = time[tense=past]; N = quantity[amb=yes class=?c num=pair det=indef];
    A = aspect[aspect=done after=verb]; V = wear[form=past object=?c]
2 sense[]: S V N T ./e => S T V A N 。/e
    S = subject[class=person {WHO}]; T = time[tense=past];
    N = quantity[amb=yes class=?c num=sg|pl|pair|mass det=indef|count]; A = aspect[aspect=done after=verb];
    V = transitive[form=past subject=person object=?c pace=durative|achievement]
2 sense[]: S V N ./e => S 把 N V 了 。/e
    S = subject[class=person {WHO}]; N = disposed[amb=yes class=?c owner=?r];
    V = resultative[form=past subject=person object=?c]
# The word that decides stands far away, after the word or before it.
4 sense[]: the N that S V B J ./e => S V 的 N 很 J 。/e
    N = nominal[amb=yes class=?c agr=?a num=sg|pl adj=no]; S = subject[class=person {WHO}];
    V = neutral[form=past object=?c]; B = was[agr=?a]; J = adjective[of=?c degree=plain passing=no]
4 sense[]: the N that S V T B J ./e => S T V 的 N 很 J 。/e
    N = nominal[amb=yes class=?c agr=?a num=sg|pl adj=no]; S = subject[class=person {WHO}];
    V = neutral[form=past object=?c]; T = time[tense=past]; B = was[agr=?a];
    J = adjective[of=?c degree=plain passing=no]
4 sense[]: S V N because/1 P B J ./e => S V A N ，因为/1 P 很 J 。/e
    S = subject[class=person {WHO}];
    N = object[amb=yes class=goods class=?c ref=?q num=sg|pl det=indef|def|count adj=no];
    V = acquire[form=past]; P = pronoun[case=subject ref=?q agr=?b]; B = was[agr=?b];
    A = aspect[aspect=done after=verb]; J = adjective[of=?c degree=plain passing=no appeal=yes]
4 sense[]: S V N T ,/1 and/1 then/1 W P ./e => S T V A N ，/1 然后/1 把 P W 了 。/e
    S = single[class=person]; N = quantity[amb=yes class=?c ref=?q num=sg|pl det=indef|count];
    V = neutral[form=past object=?c]; T = time[tense=past]; A = aspect[aspect=done after=verb];
    W = dispose[form=past object=?c]; P = pronoun[case=object ref=?q]
3 sense[]: S V N ,/1 and/1 then/1 W P ./e => S V A N ，/1 然后/1 把 P W 了 。/e
    S = subject[class=person {WHO}]; N = quantity[amb=yes class=?c ref=?q num=sg|pl det=indef|count];
    V = neutral[form=past object=?c]; A = aspect[aspect=done after=verb]; W = dispose[form=past object=?c];
    P = pronoun[case=object ref=?q]
2 sense[]: there B/1 a/2 N R the M ./3 P C J ./e => M R 有/1 一/2 N.measure/2 N 。/3 P 很 J 。/e
    N = noun[amb=yes num=sg class=losable|portable|fruit|part|burning|computerpart|goods class=?c ref=?q];
    B = be[agr=third]; M = noun[class=surface|box class=?d num=sg]; R = relation[spot=?d];
    P = pronoun[case=subject ref=?q]; C = be[agr=third]; J = adjective[of=?c degree=plain passing=no]
4 sense[]: N V B ./e => N V A B 。/e
    N = bare[num=name class=company class=?c]; V = transitive[form=past subject=?c object=?o];
    B = quantity[class=phone|device class=?o num=sg det=indef]; A = aspect[aspect=done after=verb]
4 sense[]: S V to the P to W ./e => S V P W A 。/e
    S = subject[class=person {WHO}]; V = go[form=past]; P = place[class=office|river for=?p];
    W = vp[form=base aspect=none at=?p subject=person pace=durative|achievement det=bare|count];
    A = aspect[aspect=done after=end]
"""

STORIES = LINKED + COREFERENCE + SENSE
