"""The built-in English-Chinese corpus: see `corpus`."""
