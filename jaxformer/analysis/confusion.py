"""How often one class was taken for another, and what follows from it: accuracy and F1."""

from collections.abc import Sequence

import numpy as np


def confusion(labels_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts int [C, C]: rows are the true classes, columns those that were told."""
    return np.bincount(labels_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def accuracy(counts_CC: np.ndarray) -> float:
    """The part that was told rightly."""
    return float(counts_CC.trace() / counts_CC.sum())


def f1(counts_CC: np.ndarray) -> np.ndarray:
    """The harmonic mean of precision and recall of each class, 2 TP / (2 TP + FP + FN); NaN for a class that neither
    is there nor was told (van Rijsbergen 1979).
    """
    either_C = counts_CC.sum(axis=0) + counts_CC.sum(axis=1)
    return np.divide(2.0 * counts_CC.diagonal(), either_C, out=np.full(len(counts_CC), np.nan), where=either_C > 0)


def macro_f1(counts_CC: np.ndarray) -> float:
    """The mean F1 of all classes that are there or were told, each counting the same."""
    return float(np.nanmean(f1(counts_CC)))


def table(counts_CC: np.ndarray, classes: Sequence[str]) -> str:
    """The counts under the names of their classes."""
    corner = "true \\ told"
    cells = [[corner, *classes], *([name, *map(str, row)] for name, row in zip(classes, counts_CC, strict=True))]
    first, *widths = (max(map(len, column)) for column in zip(*cells, strict=True))
    return "\n".join(
        name.ljust(first) + "".join(cell.rjust(width + 2) for cell, width in zip(row, widths, strict=True))
        for name, *row in cells
    )
