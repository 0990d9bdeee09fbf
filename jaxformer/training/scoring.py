"""How good a translation is: BLEU (Papineni et al. 2002) and chrF (Popović 2015), by sacreBLEU (Post 2018)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

_WORDS = {"zh": "zh", "zho": "zh", "cmn": "zh", "yue": "zh"} | dict.fromkeys(("ja", "jpn"), "ja-mecab")
_WORDS |= dict.fromkeys(("ko", "kor"), "ko-mecab")
_UNSPACED = {"th", "tha", "lo", "lao", "km", "khm", "my", "mya"}


@dataclass(frozen=True)
class Metric:
    """A figure between 0 and 100, and sacreBLEU's signature, which says exactly how it was computed."""

    score: float
    signature: str


@dataclass(frozen=True)
class Scores:
    """Corpus-level scores of a set of translations."""

    bleu: Metric
    bleu_lowercase: Metric
    chrf: Metric
    sentences: int

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers and strings, in full precision."""
        return asdict(self)

    def table(self) -> str:
        """A line for each score, with its signature."""
        rows = (("BLEU", self.bleu), ("BLEU, lower-cased", self.bleu_lowercase), ("chrF", self.chrf))
        return "\n".join(f"{name:<18} {metric.score:6.2f}   {metric.signature}" for name, metric in rows)


def score(hypotheses: Sequence[str], references: Sequence[Sequence[str]], target_language: str) -> Scores:
    """Score translations against all references of each sentence.

    Args:
        hypotheses: one translation per source sentence.
        references: for each sentence its references, one or more; the number may differ from sentence to sentence.
        target_language: a code such as "de" or "zh-CN", which decides how BLEU splits words.

    Raises ValueError if there is nothing to score, the numbers differ, or a sentence has no reference.
    """
    if not hypotheses:
        raise ValueError("at least one translation is needed to score")
    if len(hypotheses) != len(references):
        raise ValueError(f"each translation needs a list of references, got {len(references)} for {len(hypotheses)}")
    for i, each in enumerate(references):
        if not each or isinstance(each, str):
            raise ValueError(f"each sentence needs a list of one or more references, got {each!r} for sentence {i}")
    most = max(len(each) for each in references)
    columns = [[each[n] if n < len(each) else None for each in references] for n in range(most)]
    words = bleu_tokenizer(target_language)
    # `force` only silences the advice about text that looks tokenized; it changes no figure.
    metrics = (BLEU(tokenize=words, force=True), BLEU(tokenize=words, lowercase=True, force=True), CHRF())
    bleu, lowercase, chrf = (
        # sacreBLEU takes None for "no further reference here", which its annotation does not say; a perfect BLEU may
        # come out above 100 by rounding.
        Metric(min(metric.corpus_score(list(hypotheses), columns).score, 100.0), str(metric.get_signature()))  # pyright: ignore[reportArgumentType]
        for metric in metrics
    )
    return Scores(bleu, lowercase, chrf, len(hypotheses))


def bleu_tokenizer(language: str) -> str:
    """The name of sacreBLEU's word splitter for a language: its own where there is one, else "13a".

    Japanese and Korean need an extra dictionary; without it, and for scripts without spaces, every character is a word.
    """
    primary = language.replace("_", "-").split("-")[0].lower()
    if primary in _UNSPACED:
        return "char"
    name = _WORDS.get(primary, "13a")
    if name.endswith("mecab"):
        try:
            BLEU(tokenize=name)
        except (RuntimeError, ImportError):
            return "char"
    return name
