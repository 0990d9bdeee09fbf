"""Which blocks of keys a block of queries meets: what a mask says whatever its arrays hold."""

import numpy as np

from jaxformer.ops.attention.masks import Mask

Span = tuple[bool, np.ndarray, np.ndarray]
"""Whether the mask must be asked, and from which block to which, for each block of the other side."""


def met(mask: Mask | None, T: int, S: int, queries: int, keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether blocks of so many queries may read any of blocks of so many keys, and whether each of them may read all
    of those, boolean [I, J]. The last block of keys is read as a whole only where it is full.
    """

    def within(bounds_I: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        first_I, last_I = np.array(bounds_I).T
        return first_I[:, None], last_I[:, None]

    starts = range(0, T, queries)
    everything = [(0, S)] * len(starts)
    reach = everything if mask is None else [mask.reach(start, start + queries, S) for start in starts]
    whole = everything if mask is None else [mask.whole(start, start + queries, S) for start in starts]
    start_J = np.arange(0, S, keys)
    (first_I1, last_I1), (from_I1, to_I1) = within(reach), within(whole)
    read_IJ = (start_J < last_I1) & (first_I1 < start_J + keys) & (first_I1 < last_I1)
    return read_IJ, read_IJ & (from_I1 <= start_J) & (start_J + keys <= to_I1)


def spans(read_IJ: np.ndarray, whole_IJ: np.ndarray) -> list[Span]:
    """For each row, from its first to its last block: those that are asked, those first ones in a row that are whole,
    and those that are asked after them. What all rows lack is left out, but for one.
    """
    J = read_IJ.shape[1]
    reads, has = read_IJ.any(1), whole_IJ.any(1)
    first = np.where(reads, read_IJ.argmax(1), 0)
    last = np.where(reads, J - read_IJ[:, ::-1].argmax(1), 0)
    start = whole_IJ.argmax(1)
    # Rows without whole blocks go where others are asked, so that there are no more spans than need be.
    start = np.where(has, start, last if (has & (first < start)).any() else first)
    broken_IJ = ~whole_IJ & (np.arange(J) >= start[:, None])
    stop = np.where(has, np.where(broken_IJ.any(1), broken_IJ.argmax(1), J), start)
    found = [(True, first, start), (False, start, stop), (True, stop, last)]
    return [span for span in found if (span[1] < span[2]).any()] or found[:1]
