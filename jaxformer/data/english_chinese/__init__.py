"""The built-in English-Chinese corpus; `corpus` says what it is."""

from jaxformer.data.english_chinese.corpus import FAMILIES, Splits, english_chinese, language, sentences

__all__ = ["FAMILIES", "Splits", "english_chinese", "language", "sentences"]
