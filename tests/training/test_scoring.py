"""Scores equal an independent computation, with any number of references for each sentence."""

import json
import math
from collections import Counter

import pytest
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from jaxformer.training.scoring import bleu_tokenizer, score

GERMAN = (
    ["Ein Hund läuft über die grüne Wiese.", "zwei Kinder spielen im Sand.", "Der Mann schläft auf dem alten Sofa."],
    [
        ["Ein Hund rennt über die grüne Wiese."],
        ["Zwei Kinder spielen Ball.", "Zwei Kinder spielen im Sand am Meer.", "Kinder spielen im Sand."],
        ["Der alte Mann schläft auf dem Sofa.", "Ein Mann schläft auf dem Sofa."],
    ],
)
CHINESE = (
    ["我爱你,也爱北京。", "他在桌子上放了三本书。"],
    [["我爱你。", "我爱你，也爱上海。"], ["他把三本书放在桌子上。"]],
)


def grams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu(hypotheses, references, split):
    """Papineni et al. 2002, with the reference length closest to each translation's (the shorter of two as close)."""
    matched, total, length, closest = [0] * 4, [0] * 4, 0, 0
    for hypothesis, each in zip(hypotheses, references, strict=True):
        words, others = split(hypothesis).split(), [split(reference).split() for reference in each]
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for n in range(4):
            counts = grams(words, n + 1)
            total[n] += counts.total()
            matched[n] += sum(min(c, max(grams(other, n + 1)[g] for other in others)) for g, c in counts.items())
    assert all(matched), "the examples must need no smoothing"
    precision = math.exp(sum(math.log(m / t) for m, t in zip(matched, total, strict=True)) / 4)
    return 100 * precision * min(1.0, math.exp(1 - closest / length))


@pytest.mark.parametrize(
    ("texts", "language", "split"), [(GERMAN, "de", Tokenizer13a()), (CHINESE, "zh", TokenizerZh())], ids=["de", "zh"]
)
def test_bleu_with_a_varying_number_of_references(texts, language, split):
    hypotheses, references = texts
    scores = score(hypotheses, references, language)
    lowered = [each.lower() for each in hypotheses], [[text.lower() for text in each] for each in references]
    assert scores.bleu.score == pytest.approx(bleu(hypotheses, references, split), rel=1e-12)
    assert scores.bleu_lowercase.score == pytest.approx(bleu(*lowered, split), rel=1e-12)
    assert scores.sentences == len(hypotheses)


def test_case_counts_only_in_the_cased_score():
    scores = score(*GERMAN, "de")
    assert scores.bleu_lowercase.score > scores.bleu.score


def test_chrf_takes_the_best_reference_of_each_sentence():
    hypotheses, references = GERMAN
    best = [
        max(each, key=lambda reference: CHRF().sentence_score(hypothesis, [reference]).score)
        for hypothesis, each in zip(hypotheses, references, strict=True)
    ]
    assert score(hypotheses, references, "de").chrf.score == pytest.approx(
        CHRF().corpus_score(hypotheses, [best]).score
    )


def test_the_order_of_sentences_and_references_does_not_matter():
    hypotheses, references = GERMAN
    turned = score(hypotheses[::-1], [each[::-1] for each in references[::-1]], "de")
    assert turned == score(hypotheses, references, "de")


def test_an_empty_translation_lowers_the_score_and_breaks_nothing():
    hypotheses, references = GERMAN
    assert 0 < score([hypotheses[0], "", hypotheses[2]], references, "de").bleu.score < score(*GERMAN, "de").bleu.score
    assert score([""] * 3, references, "de").bleu.score == 0


@pytest.mark.smoke
def test_a_perfect_translation_has_100():
    scores = score([each[-1] for each in GERMAN[1]], GERMAN[1], "de")
    assert scores.bleu.score == scores.chrf.score == 100


def test_the_signature_says_how_it_was_computed():
    scores = score(*CHINESE, "zh")
    assert "nrefs:var|case:mixed" in scores.bleu.signature and "tok:zh" in scores.bleu.signature
    assert "case:lc" in scores.bleu_lowercase.signature
    assert "nc:6|nw:0" in scores.chrf.signature
    assert "nrefs:1|" in score(["a"], [["b"]], "de").bleu.signature


def test_json_holds_everything():
    scores = score(*GERMAN, "de")
    read = json.loads(json.dumps(scores.to_json()))
    assert read["bleu"] == {"score": scores.bleu.score, "signature": scores.bleu.signature}
    assert set(read) == {"bleu", "bleu_lowercase", "chrf", "sentences"}


@pytest.mark.parametrize(
    ("language", "name"),
    [("de", "13a"), ("en-GB", "13a"), ("zh", "zh"), ("zh-CN", "zh"), ("zh_Hant", "zh"), ("cmn", "zh"), ("th", "char")],
)
def test_words_are_split_by_language(language, name):
    assert bleu_tokenizer(language) == name


@pytest.mark.parametrize(("language", "dictionary"), [("ja", "ja-mecab"), ("ko", "ko-mecab")])
def test_a_missing_dictionary_makes_every_character_a_word(language, dictionary):
    assert bleu_tokenizer(language) in {dictionary, "char"}
    assert 0 < score(["猫がいます"], [["猫もいます"]], language).chrf.score < 100


@pytest.mark.parametrize(
    ("hypotheses", "references", "line"),
    [
        ([], [], "at least one translation"),
        (["a"], [["a"], ["b"]], "got 2 for 1"),
        (["a", "b"], [["a"], []], r"got \[\] for sentence 1"),
        (["a"], ["a"], "got 'a' for sentence 0"),
    ],
)
def test_what_cannot_be_scored(hypotheses, references, line):
    with pytest.raises(ValueError, match=line):
        score(hypotheses, references, "de")
