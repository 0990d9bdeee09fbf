"""Laws of the built-in English-Chinese corpus, checked against small tables that do not come from its generator."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import islice

import pytest

from jaxformer.data.derivation import Sampler
from jaxformer.data.english_chinese import FAMILIES, Splits, english_chinese, language, sentences
from jaxformer.data.english_chinese import corpus as corpus_module
from jaxformer.data.grammar import Example, Grammar, Link, Word, rules


@pytest.fixture(scope="module")
def corpus() -> Splits:
    return english_chinese()


@pytest.fixture(scope="module")
def pairs(corpus: Splits) -> tuple[Example, ...]:
    return corpus.train + corpus.valid + corpus.test


def listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


def translations(example: Example, at: int) -> list[str]:
    return [example.chinese[j] for i, j in example.alignment if i == at]


# ----------------------------------------------------------------------------------------------------- the corpus


def test_the_language_is_large_enough():
    assert language().word_count >= 400
    assert language().rule_count >= 40


def test_sizes_are_as_asked(corpus: Splits):
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (20_000, 500, 500)


def test_no_sentence_stands_twice_in_either_language(pairs: tuple[Example, ...]):
    assert len({x.source for x in pairs}) == len(pairs)
    assert len({x.target for x in pairs}) == len(pairs)


def test_training_knows_every_word_of_the_other_splits(corpus: Splits):
    for side in ("english", "chinese"):
        known = {token for x in corpus.train for token in getattr(x, side)}
        assert {token for x in corpus.valid + corpus.test for token in getattr(x, side)} <= known


def test_every_word_is_met_often_enough(corpus: Splits):
    met = Counter(token for x in corpus.train for token in set(x.chinese))
    rare = {
        token: met[token]
        for entries in language().lexicon.values()
        for entry in entries
        for token in entry.chinese
        if met[token] < 20
    }
    assert not rare


def test_english_decides_chinese():
    seen: dict[str, str] = {}
    for seed in range(3):
        for example in islice(sentences(seed), 2000):
            assert seen.setdefault(example.source, example.target) == example.target


def test_held_out_combinations_never_reach_training():
    splits = english_chinese(2000, 40, 40, seed=3)
    drawn = {d.example: corpus_module._held_out(d) for d in islice(corpus_module._distinct(3, "sentence"), 4000)}
    assert not any(drawn.get(example, False) for example in splits.train)
    assert sum(drawn.get(example, False) for example in splits.valid + splits.test) >= 20


def test_same_corpus_in_every_process():
    code = (
        "import hashlib; from jaxformer.data.english_chinese import english_chinese;"
        "s = english_chinese(300, 3, 3, seed=5);"
        "print(hashlib.sha256(repr(s).encode()).hexdigest())"
    )
    expected = hashlib.sha256(repr(english_chinese(300, 3, 3, seed=5)).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected
    assert english_chinese(50, 0, 0, seed=5) != english_chinese(50, 0, 0, seed=6)


def test_bad_sizes_and_families_are_refused():
    with pytest.raises(ValueError, match="valid must be at least 0, got -1"):
        english_chinese(10, -1, 0)
    with pytest.raises(ValueError, match=r"train must be large enough .*, got 0"):
        english_chinese(0, 1, 1)
    with pytest.raises(ValueError, match=r"family must be one of .*, got 'poem'"):
        next(sentences(0, "poem"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_asked_for(family: str):
    assert len({x.source for x in islice(sentences(0, family), 50)}) == 50


# -------------------------------------------------------------------------------------------------- spelling


def test_text_and_tokens_round_trip(pairs: tuple[Example, ...]):
    for x in pairs:
        assert tuple(re.findall(r"'s|\w+|[.,?]", x.source)) == x.english
        assert x.target == "".join(x.chinese)
        assert not re.search(r"[A-Za-z ]", x.target)


def test_spelling_of_a_sentence(pairs: tuple[Example, ...]):
    for x in pairs:
        assert x.english[0][0].isupper()
        assert (x.english[-1], x.chinese[-1]) in ((".", "。"), ("?", "？"))
        for article, following in zip(x.english, x.english[1:], strict=False):
            if article.lower() in ("a", "an"):
                vowel = following[0] in "aeiou" and following not in ("useful", "university", "uniform")
                assert (article.lower() == "an") == (vowel or following == "honest"), x.source


def test_lengths(pairs: tuple[Example, ...]):
    lengths = sorted(len(x.english) for x in pairs)
    tenth = len(lengths) // 10
    assert lengths[0] >= 3 and lengths[-1] <= 18
    assert lengths[tenth] >= 5 and lengths[-tenth] <= 14


# ------------------------------------------------------------------------------------------------- alignment

ENGLISH_UNALIGNED = listed("am is are was were do does did have has the a an some that who to of there ever as it at")
CHINESE_UNALIGNED = listed("了 过 着 吗 很 把 给 的 就 一起 那么 但是 所以")


def test_alignment_is_in_range_and_sorted(pairs: tuple[Example, ...]):
    for x in pairs:
        assert list(x.alignment) == sorted(set(x.alignment))
        assert all(0 <= i < len(x.english) and 0 <= j < len(x.chinese) for i, j in x.alignment)


def test_every_content_word_is_aligned(pairs: tuple[Example, ...]):
    for x in pairs:
        left, right = {i for i, _ in x.alignment}, {j for _, j in x.alignment}
        loose = {token.lower() for i, token in enumerate(x.english) if i not in left}
        assert loose <= ENGLISH_UNALIGNED, (x.source, loose)
        loose = {token for j, token in enumerate(x.chinese) if j not in right}
        assert loose <= CHINESE_UNALIGNED, (x.source, x.chinese, loose)


# ------------------------------------------------------------------------------------------------ coreference

FEMALE = listed(
    "woman women girl girls actress actresses queen queens princess princesses mother sister sisters grandmother aunt"
    " aunts daughter daughters niece nieces Mary Anna Lucy Lily Emma Alice"
)
MALE = listed(
    "man men boy boys waiter waiters king kings prince princes father brother brothers grandfather uncle uncles son"
    " sons nephew nephews Tom Jack Peter David Mike Paul"
)
NEUTRAL = listed(
    "child children student students classmate classmates friend friends neighbor neighbors teacher teachers doctor"
    " doctors nurse nurses driver drivers farmer farmers writer writers singer singers lawyer lawyers worker workers"
    " manager managers scientist scientists engineer engineers reporter reporters soldier soldiers tourist tourists"
    " professor professors"
)


def expected_pronoun(pronoun: str, antecedents: list[str]) -> set[str]:
    people = FEMALE | MALE | NEUTRAL
    if not set(antecedents) & people:
        return {"它"} if pronoun in ("it", "its") else {"它们"}
    if pronoun in ("they", "them", "their"):
        return {"她们"} if set(antecedents) <= FEMALE else {"他们"}
    assert len(antecedents) == 1
    if antecedents[0] in NEUTRAL:
        return {"她"} if pronoun in ("she", "her") else {"他"}
    return {"她"} if antecedents[0] in FEMALE else {"他"}


def test_the_antecedent_decides_the_pronoun(pairs: tuple[Example, ...]):
    met: Counter[str] = Counter()
    distances = set()
    for x in pairs:
        antecedents = defaultdict(list)
        for link in x.links:
            if link.kind == "coreference":
                antecedents[link.word].append(x.english[link.decider])
                distances.add(link.word - link.decider)
        for at, nouns in antecedents.items():
            if x.english[at] in ("my", "your", "our", "My", "Your", "Our"):
                continue
            assert set(translations(x, at)) == expected_pronoun(x.english[at].lower(), nouns), x
            met.update(translations(x, at))
    assert set(met) == {"他", "她", "它", "他们", "她们", "它们"}
    assert min(met.values()) > 100
    assert len(distances) > 8


def test_no_pronoun_hangs_in_the_air(pairs: tuple[Example, ...]):
    """What English leaves open (it, they) always has its antecedent in the same example."""
    for x in pairs:
        linked = {link.word for link in x.links if link.kind == "coreference"}
        for at, token in enumerate(x.english):
            weather = x.english[at + 1 : at + 3]
            if token.lower() == "it" and {*weather} & {"rains", "snows", "raining", "snowing"}:
                continue
            if token.lower() in ("it", "its", "they", "them", "their"):
                assert at in linked, x.source


# ------------------------------------------------------------------------------------------------------ sense

# Ambiguous word, word that decides, translation.
SENSES = """
apple delicious 苹果 | apple sweet 苹果 | apple sour 苹果 | apple fresh 苹果 | apple ate 苹果
apple modern 苹果手机 | apple new 苹果手机 | apple popular 苹果手机 | apple lost 苹果手机
Apple sold 苹果公司 | Apple released 苹果公司 | Apple designed 苹果公司
bank fish 河岸 | bank camp 河岸 | bank withdraw 银行 | bank save 银行
bat swung 球棒 | bats swing 球棒 | bat strong 球棒 | bats tired 蝙蝠 | bat fed 蝙蝠
mouse new 鼠标 | mouse clicked 鼠标 | mouse fed 老鼠 | mice hungry 老鼠
crane beautiful 鹤 | crane fed 鹤 | crane drove 起重机 | crane modern 起重机
letter wrote 信 | letters learned 字母 | letter interesting 信
key pressed 按键 | keys lost 钥匙 | key heavy 钥匙
ring heard 铃声 | ring wore 戒指 | ring expensive 戒指 | ring loud 铃声
match won 比赛 | match lit 火柴 | match watched 比赛 | match exciting 比赛
spring clear 泉水 | spring repaired 弹簧 | spring strong 弹簧
seal fierce 海豹 | seal fed 海豹
fan off 风扇 | fan on 风扇 | fans friendly 球迷
star famous 明星 | star bright 星星
nails cut 指甲 | nail sharp 钉子
chicken cooked 鸡肉 | chicken fed 鸡 | chicken ate 鸡肉
date canceled 约会 | date romantic 约会 | dates sour 红枣
glasses wore 眼镜 | glasses washed 玻璃杯
play football 踢 | play tennis 打 | play chess 下 | play piano 弹 | play violin 拉 | play flute 吹
wore dress 穿 | wore hat 戴 | took bus 坐 | took photo 拍 | took medicine 吃
visited museum 参观 | visited doctor 看望 | know secret 知道 | know teacher 认识
delicious tea 好喝 | delicious cake 好吃 | old bike 旧 | old king 老 | short woman 矮 | short story 短
hard math 难 | hard bed 硬 | strong elephant 强壮 | strong spring 结实
"""


def test_the_deciding_word_decides_the_sense(pairs: tuple[Example, ...]):
    table = {
        tuple(row.split()[:2]): row.split()[2] for line in SENSES.split("\n") for row in line.split("|") if row.strip()
    }
    met: Counter[tuple[str, ...]] = Counter()
    for x in pairs:
        for link in x.links:
            row = (x.english[link.word], x.english[link.decider])
            if link.kind == "sense" and row in table:
                met[row] += 1
                assert table[row] in translations(x, link.word), x
    missing = {row for row in table if not met[row]}
    assert len(missing) <= len(table) // 10, missing


def test_many_words_are_ambiguous_and_each_is_decided(pairs: tuple[Example, ...]):
    senses = defaultdict(set)
    for x in pairs:
        for link in x.links:
            if link.kind == "sense":
                senses[x.english[link.word].lower()].add("".join(translations(x, link.word)))
    assert sum(len(found) > 1 for found in senses.values()) >= 20


def test_deciding_words_stand_near_and_far_before_and_after(pairs: tuple[Example, ...]):
    far = Counter(link.decider - link.word for x in pairs for link in x.links if link.kind == "sense")
    assert min(far) <= -4 and max(far) >= 7
    assert sum(far[d] for d in far if d < 0) > 500 and sum(far[d] for d in far if d >= 4) > 300


# ------------------------------------------------------------------------------------------------- word order

# Nouns by their measure word.
CALLS_FOR = """
只 猫 狗 鸟 兔子 蝙蝠 | 匹 马 | 头 牛 大象 | 本 书 词典 小说 | 张 报纸 票 桌子 地图 | 封 信 | 把 刀 雨伞 椅子 钥匙
支 钢笔 铅笔 | 件 衬衫 毛衣 | 条 裙子 围巾 | 顶 帽子 | 副 眼镜 | 双 鞋子 | 辆 汽车 自行车 公交车 | 台 电脑 打印机
部 手机 电影 | 首 歌 诗 | 棵 树 | 朵 花 玫瑰 | 个 苹果 学生 女孩 问题 | 根 香蕉 蜡烛 | 位 老师 医生 | 枚 戒指 | 场 比赛
"""
MEASURES = {
    noun: measure
    for line in CALLS_FOR.strip().splitlines()
    for measure, *called in (part.split() for part in line.split("|"))
    for noun in called
}
COUNTS = {"一", "两", "三", "四", "五", "六", "七", "八", "十", "这", "那", "哪"}


def test_measure_words_belong_to_their_nouns(pairs: tuple[Example, ...]):
    met = Counter()
    for x in pairs:
        for at in range(len(x.chinese) - 2):
            noun = x.chinese[at + 2]
            if x.chinese[at] in COUNTS and noun in MEASURES and x.chinese[at + 1] != "的":
                assert x.chinese[at + 1] == MEASURES[noun], x.target
                met[noun] += 1
    assert len(met) > 30


def test_yes_no_questions_and_only_they_end_with_ma(pairs: tuple[Example, ...]):
    for x in pairs:
        yes_no = x.english[-1] == "?" and x.english[0] in listed("Do Does Did Am Is Are Can Will Have Has")
        assert (x.chinese[-2:] == ("吗", "？")) == yes_no
        assert x.chinese.count("吗") == yes_no


def test_question_words_stay_in_situ(pairs: tuple[Example, ...]):
    words = {
        "Who": "谁",
        "What": "什么",
        "Where": "哪里",
        "When": "什么时候",
        "Why": "为什么",
        "How": "怎么多少",
        "Which": "哪",
    }
    met = Counter()
    for x in pairs:
        if x.english[-1] == "?" and x.english[0] in words:
            assert any(token in words[x.english[0]] for token in translations(x, 0))
            met[x.english[0]] += 1
            if x.english[0] == "What" and "did" in x.english:
                assert x.chinese[-2] == "什么"
    assert set(met) == set(words)


VERBS = listed(
    "eat ate eating read reading play played playing sang singing swim swam swimming sleep slept work worked working"
    " buy bought wrote writing write cook cooked cooking study studied studying walk walked fish camp dance"
    " danced met"
)


def test_place_stands_before_the_verb(pairs: tuple[Example, ...]):
    met = 0
    for x in pairs:
        to_chinese = dict(x.alignment)
        for at, token in enumerate(x.english):
            if token in ("in", "at", "on") and "在" in translations(x, at):
                verbs = [i for i in range(at) if x.english[i] in VERBS and not {",", "."} & set(x.english[i:at])]
                place = min(j for i, j in x.alignment if i == at)
                if verbs and x.english[-1] == ".":
                    met += 1
                    assert place < to_chinese[verbs[-1]], x.source
    assert met > 500


def test_relative_clause_stands_before_its_noun():
    met = 0
    for x in islice(sentences(0, "relative"), 400):
        where = dict(x.alignment)
        for at in range(1, len(x.english)):
            # The relative "that" is unaligned, the demonstrative is not.
            if x.english[at] in ("that", "who") and at not in where and at - 1 in where:
                noun = where[at - 1]
                inside = [where[i] for i in range(at + 1, len(x.english)) if i in where and x.english[i] in VERBS]
                if x.english[at] == "that" and inside:
                    assert min(inside) < noun, x
                assert "的" in x.chinese[:noun], x
                met += 1
    assert met > 100


def test_frames(pairs: tuple[Example, ...]):
    met = Counter()
    for x in pairs:
        text = x.target
        lower = x.source.lower()
        if " than " in lower:
            met["比"] += 1
            assert "比" in text
        if lower.startswith("if "):
            met["如果"] += 1
            assert text.startswith("如果") and "就" in text
        if lower.startswith("because "):
            met["因为"] += 1
            assert text.startswith("因为") and "所以" in text
        if " did not " in lower:
            met["没"] += 1
            assert "没" in text and "不" not in text
        if re.search(r"\b(has|have) (been|never|ever)\b", lower):
            met["过"] += 1
            assert "过" in text
        if x.english[0] in ("Yesterday", "Last", "Tomorrow"):
            met["time"] += 1
            assert x.chinese[0] in ("昨天", "昨晚", "上周", "上个月", "去年", "上个星期天", "明天")
    assert set(met) == {"比", "如果", "因为", "没", "过", "time"}


# -------------------------------------------------------------------------------------------------- the engine


def small_grammar(text: str, words: list[Word] | None = None) -> Grammar:
    return Grammar(
        words if words is not None else WORDS,
        rules(text),
        anaphors=frozenset({"pronoun"}),
        selectors=frozenset({"object"}),
        closed=frozenset({"pronoun"}),
        deciding=frozenset({"class"}),
    )


def word(category: str, english: str, chinese: str, attributes: dict[str, str] | None = None, **features: str) -> Word:
    sets = {name: frozenset(text.split()) for name, text in features.items()}
    return Word(category, (english,), (chinese,), f"{english}={chinese}", sets, attributes or {})


WORDS = [
    word("noun", "bat", "蝙蝠", {"measure": "只"}, **{"class": "animal"}, ref="it"),
    word("noun", "bat", "球棒", {"measure": "根"}, **{"class": "tool"}, ref="it"),
    word("verb", "fed", "喂", object="animal"),
    word("verb", "swung", "挥动", object="tool"),
    word("verb", "saw", "看见", object="animal tool"),
    word("pronoun", "it", "它", ref="it"),
    word("pronoun", "she", "她", ref="she"),
]


def draw(grammar: Grammar, start: str, count: int = 60) -> list[Example]:
    stream = Sampler(grammar, 0, lambda tokens: tokens).stream(start)
    return [derived.example for derived in islice(stream, count)]


def test_engine_links_decided_words_and_drops_undecided_ones():
    grammar = small_grammar("1 s[]: we V the/1 N => V 那/1 N.measure/1 N\n  V = verb[object=?c]; N = noun[class=?c]")
    drawn = {x.english: x for x in draw(grammar, "s")}
    assert {english[1] for english in drawn} == {"fed", "swung"}
    fed = drawn["we", "fed", "the", "bat"]
    assert fed.chinese == ("喂", "那", "只", "蝙蝠")
    assert fed.alignment == ((1, 0), (2, 1), (2, 2), (3, 3))
    assert fed.links == (Link("sense", 3, 1),)


def test_engine_ties_a_pronoun_to_its_antecedent():
    text = "1 s[]: we V the N and P => V N P\n  V = verb[object=?c]; N = noun[class=?c ref=?r]; P = pronoun[ref=?r]"
    for x in draw(small_grammar(text), "s"):
        assert x.english[-1] == "it"
        assert Link("coreference", 5, 3) in x.links


def test_engine_applies_a_rule_with_a_required_variable_only_where_it_is_bound():
    text = """
1 bound[]: V X => V X
  V = verb[]; X = end[to=a]
1 free[]: V X => V X
  V = verb[]; X = end[]
1 end[to=!t]: one => 一
1 end[to=?t]: two => 二
"""
    assert {x.english[-1] for x in draw(small_grammar(text), "bound")} == {"one", "two"}
    assert {x.english[-1] for x in draw(small_grammar(text), "free")} == {"two"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 s[]: X => X\n  X = nothing[]", r"got \['nothing in s'\]"),
        ("1 s[]: N => N\n  N = noun[colour=red]", r"got \['noun\[colour\] in s'\]"),
        ("1 noun[]: a => 一", r"either words or rules, got both in \['noun'\]"),
        ("1 s[]: N M => N\n  N = noun[]", r"one of the slots \['N'\], got 'M'"),
        ("1 s[]: N => N\n  N = noun", "category\\[feature=value ...\\], got 'noun'"),
        ("s: a = b", "got 's: a = b'"),
    ],
)
def test_engine_refuses_slips_of_the_pen(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        small_grammar(text)
