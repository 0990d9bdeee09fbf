"""What one instruction of HLO costs: operations on floating-point numbers, steps that wait for one another, bytes.

A program is taken for a circuit. Arithmetic on an element is one operation and one step, whatever it is: hardware takes
an exponential for ten or twenty, and a type's width matters as much. Moving elements whose place is known beforehand
(reshape, transpose, slice, broadcast, …) is wire: no operation and no step. Where a place is computed, as in a gather
or at the turn of a loop, looking it up is a step. n terms are summed in a tree, of ⌈log₂ n⌉ levels; a product of
matrices multiplies first, so it takes 2 operations for each multiply-add and 1 + ⌈log₂ n⌉ steps. Operations on integers
and truth values, as a loop's counting, are steps but no work: work is FLOPs.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from jaxformer.analysis.hlo import Computation, Instruction, Shape

GIVEN = frozenset({"parameter", "constant", "iota", "partition-id", "replica-id", "after-all", "get-dimension-size"})
"""Here without any operation."""

NAMES = frozenset({"tuple", "get-tuple-element", "bitcast", "reshape", "optimization-barrier", "opt-barrier"})
"""Other names for what is there, and nothing moves; `optimization-barrier` is called so in older text."""

WIRES = frozenset(
    {"broadcast", "concatenate", "convert", "copy", "pad", "reduce-precision", "reverse", "slice", "transpose"}
)
"""Movements of elements whose places are known beforehand, and changes of type."""

LOOKED_UP = frozenset({"dynamic-slice", "dynamic-update-slice", "gather"})
"""Movements of elements whose places are computed."""

EXCHANGED = frozenset({"all-gather", "all-to-all", "collective-broadcast", "collective-permute", "ragged-all-to-all"})
"""Movements from device to device."""

ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "add", "all-reduce", "and", "asin", "asinh", "atan2", "atanh", "cbrt", "ceil", "clamp",
    "compare", "complex", "cosh", "cosine", "count-leading-zeros", "divide", "erf", "exponential",
    "exponential-minus-one", "floor", "imag", "is-finite", "log", "log-plus-one", "logistic", "maximum", "minimum",
    "multiply", "negate", "not", "or", "popcnt", "power", "real", "reduce-scatter", "remainder", "rng",
    "rng-bit-generator", "round-nearest-afz", "round-nearest-even", "rsqrt", "select", "shift-left",
    "shift-right-arithmetic", "shift-right-logical", "sign", "sine", "sinh", "sqrt", "subtract", "tan", "tanh",
    "xor",
})  # fmt: skip
"""One operation an element; of a sum over devices, the operation that each device does."""

PRODUCTS = frozenset({"dot", "convolution"})
"""Products of matrices, each way to write them."""

BLAS = frozenset({"__cublas$gemm", "__cublas$lt$matmul", "__cublas$lt$matmul$f8"})
"""Custom calls that are a product of matrices, as on GPUs; what they add to it on the way is not counted."""

SUMMED = "lhs_contracting_dimensions"
"""The remark that tells the axes of the left factor over which such a call sums."""

HARMLESS = frozenset(
    {"AllocateBuffer", "ConcatBitcast", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "MoveToDevice"}
)
"""Custom calls that compute nothing."""


@dataclass(frozen=True)
class Price:
    """Floating-point operations in all, and steps one after the other."""

    work: int
    steps: int


FREE = Price(0, 0)


def price(instruction: Instruction, computation: Computation, combine: Price) -> Price | None:
    """What an instruction of the computation costs; None where that cannot be known.

    `combine` is what the computation that it applies to elements costs, as the sum in a reduction. What calls, repeats
    or chooses computations has no price of its own.
    """
    shapes = [computation.instructions[name].shape for name in instruction.operands if name in computation.instructions]
    result = instruction.shape
    match instruction.opcode:
        case opcode if opcode in GIVEN | NAMES | WIRES:
            return FREE
        case opcode if opcode in LOOKED_UP | EXCHANGED:
            return Price(0, 1)
        case opcode if opcode in ELEMENTWISE:
            floating = result.floating or any(shape.floating for shape in shapes)
            return Price(result.size * floating, 1)
        case "map":
            return Price(result.size * combine.work, combine.steps)
        case "dot":
            terms = prod(shapes[0].dimensions[axis] for axis in instruction.numbers("lhs_contracting_dims"))
            return Price(2 * result.size * terms * result.floating, 1 + levels(terms))
        case "convolution":
            return _convolution(instruction, *shapes[:2])
        case "reduce":
            sums = shapes[0].size - result.size
            return Price(max(sums, 0) * combine.work, levels(shapes[0].size // max(result.size, 1)) * combine.steps)
        case "reduce-window":
            windows = _Window.of(instruction, shapes[0].dimensions, result.dimensions)
            terms = prod(window.pairs for window in windows)
            return Price((terms - result.size) * combine.work, levels(prod(w.size for w in windows)) * combine.steps)
        case "scatter":
            updates = shapes[-1]
            return Price(updates.size * combine.work, 1 + combine.steps)
        case "sort":
            return _sort(shapes[0], instruction.numbers("dimensions")[0], combine)
        case "custom-call" if instruction.target in BLAS and (axes := instruction.library_axes(SUMMED)):
            terms = prod(shapes[0].dimensions[axis] for axis in axes)
            return Price(2 * result.size * terms, 1 + levels(terms))
        case "custom-call" if instruction.target in HARMLESS:
            return FREE
    return None


def is_product(instruction: Instruction) -> bool:
    """Whether it is a product of matrices or a convolution."""
    return instruction.opcode in PRODUCTS or instruction.target in BLAS


def levels(terms: int) -> int:
    """⌈log₂ terms⌉: the height of the tree that sums so many terms."""
    return max(terms - 1, 0).bit_length()


def _sort(shape: Shape, axis: int, compare: Price) -> Price:
    """Batcher's network of n/2 · k(k+1)/2 comparisons, k = ⌈log₂ n⌉ (Batcher 1968)."""
    length = shape.dimensions[axis]
    rounds = levels(length) * (levels(length) + 1) // 2
    return Price(shape.size * rounds // 2 * compare.work, rounds * compare.steps)


def _convolution(instruction: Instruction, image: Shape, kernel: Shape) -> Price:
    """Two operations for each element of the image that meets one of the kernel; none for padding and dilation, as
    which a TPU's compiler writes products of matrices."""
    labels = (instruction.attribute("dim_labels") or "").replace("->", "_").split("_")
    axes = [[labels_of.index(letter) for letter in sorted(labels_of) if letter.isdigit()] for labels_of in labels]
    of_image, _, of_result = axes
    result = instruction.shape
    windows = _Window.of(
        instruction,
        tuple(image.dimensions[axis] for axis in of_image),
        tuple(result.dimensions[axis] for axis in of_result),
    )
    inputs = kernel.dimensions[labels[1].index("i")]
    others = result.size // max(prod(window.results for window in windows), 1)
    work = 2 * others * inputs * prod(window.pairs for window in windows)
    return Price(work * result.floating, 1 + levels(inputs * max(prod(window.most for window in windows), 1)))


@dataclass(frozen=True)
class _Window:
    """One axis along which a window of `size` elements slides over padded and spread elements."""

    elements: int
    results: int
    size: int
    stride: int
    before: int
    spread: int
    """From one element of the image to the next; nothing stands between them."""
    step: int
    """From one element of the window to the next."""

    @staticmethod
    def of(instruction: Instruction, elements: tuple[int, ...], results: tuple[int, ...]) -> "list[_Window]":
        """Those of window={size=3x5 stride=2x1 pad=1_1x0_0 lhs_dilate=1x2 rhs_dilate=1x1}."""
        written = dict(one.split("=") for one in (instruction.attribute("window") or "").split())

        def numbers(name: str, default: int) -> list[int]:
            given = written.get(name)
            # Of padding, what stands before.
            return [default] * len(elements) if given is None else [int(one.split("_")[0]) for one in given.split("x")]

        names = {"size": 1, "stride": 1, "pad": 0, "lhs_dilate": 1, "rhs_dilate": 1}
        columns = (numbers(name, default) for name, default in names.items())
        return [_Window(*of_axis) for of_axis in zip(elements, results, *columns, strict=True)]

    def _meetings(self) -> np.ndarray:
        """How many elements each place of the window meets."""
        starts = np.arange(self.results) * self.stride - self.before
        met = np.zeros(self.results, np.int64)
        for place in range(self.size):
            at = starts + place * self.step
            met += (at >= 0) & (at <= (self.elements - 1) * self.spread) & (at % self.spread == 0)
        return met

    @property
    def pairs(self) -> int:
        """Elements met, over all results."""
        return int(self._meetings().sum())

    @property
    def most(self) -> int:
        """Elements met by a single result, at the most."""
        return int(self._meetings().max(initial=0))


def traffic(instruction: Instruction, computation: Computation, fused: Computation | None) -> int:
    """Bytes that an instruction reads and writes where it is a kernel of its own; `fused` is what a fusion holds.

    Whoever looks up a part of an array reads that part alone, and whoever replaces a part writes it in place.
    """
    if instruction.opcode in NAMES | {"parameter", "constant", "after-all"}:
        return 0
    if fused is not None:
        return sum(_read(fused, one) for one in fused.parameters) + _written(fused, fused.root)
    operands = [computation.instructions[name] for name in instruction.operands if name in computation.instructions]
    whole = sum(_size(one) for one in operands)
    if instruction.opcode in ("slice", "dynamic-slice", "gather"):
        return whole - _size(operands[0]) + 2 * _size(instruction)
    if instruction.opcode in ("dynamic-update-slice", "scatter"):
        return whole - _size(operands[0]) + _written(computation, instruction)
    return whole + _size(instruction)


def _size(instruction: Instruction) -> int:
    return sum(shape.bytes for shape in instruction.shapes)


def _read(fused: Computation, value: Instruction) -> int:
    """Bytes of a value inside a fusion that its users there need."""
    parts = 0
    for user in fused.users[value.name]:
        first = user.operands[0] == value.name and value.name not in user.operands[1:]
        if user.opcode in ("slice", "dynamic-slice", "gather") and first:
            parts += _size(user)
        elif user.opcode in ("bitcast", "reshape"):
            parts += _read(fused, user)
        elif not (user.opcode in ("dynamic-update-slice", "scatter") and first):
            return _size(value)
    return min(parts, _size(value))


def _written(computation: Computation, value: Instruction) -> int:
    """Bytes of a value that are new: of an array with a replaced part, that part."""
    match value.opcode:
        case "tuple":
            return sum(_written(computation, computation.instructions[name]) for name in value.operands)
        case "bitcast" | "reshape":
            return _written(computation, computation.instructions[value.operands[0]])
        case "dynamic-update-slice":
            return _size(computation.instructions[value.operands[1]])
        case "scatter":
            return _size(computation.instructions[value.operands[-1]])
    return _size(value)
