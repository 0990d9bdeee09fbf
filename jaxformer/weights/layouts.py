"""How arrays of a model lie in the tensors of a file, and how they get there and back, bit for bit.

A layout maps some tensors to some arrays of ours: mostly one to one, but a file may join what we keep apart, or hold
apart what we stack. Nothing here computes: arrays are only cut, turned and reshaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Shape = tuple[int, ...]


class Layout(Protocol):
    """Two directions of one rearrangement."""

    def read(self, theirs: Sequence[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Our arrays, of these shapes, from the tensors of a file."""
        ...

    def write(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The tensors of a file from our arrays."""
        ...

    def shapes(self, ours: Sequence[Shape]) -> list[Shape]:
        """Shapes of the tensors of a file that hold our arrays."""
        ...


@dataclass(frozen=True)
class Same:
    """As it is."""

    def read(self, theirs, shapes):
        return list(theirs)

    def write(self, ours):
        return list(ours)

    def shapes(self, ours):
        return list(ours)


@dataclass(frozen=True)
class Flat:
    """One axis in the file, such as a bias of all heads side by side."""

    def read(self, theirs, shapes):
        return [tensor.reshape(shape) for tensor, shape in zip(theirs, shapes, strict=True)]

    def write(self, ours):
        return [array.reshape(-1) for array in ours]

    def shapes(self, ours):
        return [(math.prod(shape),) for shape in ours]


@dataclass(frozen=True)
class Matrix:
    """A linear layer's weight [outputs, inputs], as torch keeps it. The first `inputs` of our axes are its inputs."""

    inputs: int = 1

    def read(self, theirs, shapes):
        return [tensor.T.reshape(shape) for tensor, shape in zip(theirs, shapes, strict=True)]

    def write(self, ours):
        return [array.reshape(self._flat(array.shape)).T for array in ours]

    def shapes(self, ours):
        return [self._flat(shape)[::-1] for shape in ours]

    def _flat(self, shape: Shape) -> Shape:
        return math.prod(shape[: self.inputs]), math.prod(shape[self.inputs :])


@dataclass(frozen=True)
class Turned:
    """A weight [inputs, outputs], as GPT-2 keeps it."""

    inputs: int = 1

    def read(self, theirs, shapes):
        return [tensor.reshape(shape) for tensor, shape in zip(theirs, shapes, strict=True)]

    def write(self, ours):
        return [array.reshape(shape) for array, shape in zip(ours, self.shapes([a.shape for a in ours]), strict=True)]

    def shapes(self, ours):
        return [(math.prod(shape[: self.inputs]), math.prod(shape[self.inputs :])) for shape in ours]


@dataclass(frozen=True)
class Joined:
    """One tensor that holds several of our arrays one after the other along an axis, each laid out as `part` says."""

    part: Layout
    axis: int = 0

    def read(self, theirs, shapes):
        (tensor,) = theirs
        sizes = [shape[self.axis] for shape in self.part.shapes(shapes)]
        return self.part.read(np.split(tensor, np.cumsum(sizes)[:-1], axis=self.axis), shapes)

    def write(self, ours):
        return [np.concatenate(self.part.write(ours), axis=self.axis)]

    def shapes(self, ours):
        parts = [list(shape) for shape in self.part.shapes(ours)]
        parts[0][self.axis] = sum(part[self.axis] for part in parts)
        return [tuple(parts[0])]


@dataclass(frozen=True)
class JoinedHeads:
    """One weight [heads · (widths together), inputs]: for each head the rows of several of our arrays [inputs, heads,
    width] one after the other.
    """

    def read(self, theirs, shapes):
        (tensor,) = theirs
        inputs, heads = shapes[0][:2]
        each = tensor.reshape(heads, -1, inputs)
        parts = np.split(each, np.cumsum([shape[2] for shape in shapes])[:-1], axis=1)
        return [np.moveaxis(part, 2, 0) for part in parts]

    def write(self, ours):
        each = np.concatenate([np.moveaxis(array, 0, 2) for array in ours], axis=1)
        return [each.reshape(-1, each.shape[-1])]

    def shapes(self, ours):
        inputs, heads = ours[0][:2]
        return [(heads * sum(shape[2] for shape in ours), inputs)]


@dataclass(frozen=True)
class JoinedHeadBiases:
    """The bias of `JoinedHeads`: for each head the numbers of several of our arrays [heads, width] in a row."""

    def read(self, theirs, shapes):
        (tensor,) = theirs
        each = tensor.reshape(shapes[0][0], -1)
        return np.split(each, np.cumsum([shape[1] for shape in shapes])[:-1], axis=1)

    def write(self, ours):
        return [np.concatenate(ours, axis=1).reshape(-1)]

    def shapes(self, ours):
        return [(ours[0][0] * sum(shape[1] for shape in ours),)]


@dataclass(frozen=True)
class Stacked:
    """A tensor for each slice of one array of ours along its first axis, such as each expert's."""

    part: Layout

    def read(self, theirs, shapes):
        (shape,) = shapes
        return [np.stack([self.part.read([tensor], [shape[1:]])[0] for tensor in theirs])]

    def write(self, ours):
        (array,) = ours
        return [self.part.write([part])[0] for part in array]

    def shapes(self, ours):
        (shape,) = ours
        return self.part.shapes([shape[1:]]) * shape[0]


@dataclass(frozen=True)
class Row:
    """A vector as the one row of a table."""

    def read(self, theirs, shapes):
        return [tensor[0] for tensor in theirs]

    def write(self, ours):
        return [array[None] for array in ours]

    def shapes(self, ours):
        return [(1, *shape) for shape in ours]


@dataclass(frozen=True)
class Transposed:
    """A table whose two axes are the other way round in the file."""

    def read(self, theirs, shapes):
        return [tensor.T for tensor in theirs]

    def write(self, ours):
        return [array.T for array in ours]

    def shapes(self, ours):
        return [shape[::-1] for shape in ours]
