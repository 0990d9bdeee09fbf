"""Reads HLO, the language of XLA's programs, from its text into a small graph, and counts the turns of its loops.

Text is the one form that every version and backend of XLA prints alike: `jax.stages.Lowered.as_text(dialect="hlo")` is
the program as it was written, `jax.stages.Compiled.as_text()` what the compiler of a device made of it. Both can be
read here.

A program is a set of named computations. One calls another, fuses it into a kernel, repeats it or chooses it, so that
the same computation stands in several places; a `Place` is a computation together with the one it was called from,
through which a value can be followed to where it comes from. So the turns of a loop are found: `jax.lax.scan` becomes
a loop that counts from one constant to another, and says so nowhere else.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, prod
from typing import NamedTuple


class Shape(NamedTuple):
    """An array's type as XLA names it (f32, bf16, s32, pred, …) and its dimensions."""

    dtype: str
    dimensions: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.dimensions)

    @property
    def bytes(self) -> int:
        """Bytes of the elements, without padding."""
        return ceil(self.size * _bits(self.dtype) / 8)

    @property
    def floating(self) -> bool:
        """Whether its elements are floating-point or complex numbers."""
        return self.dtype[0] in "fbc"


def _bits(dtype: str) -> int:
    """Bits of an element: those in the type's name; a predicate takes a byte, a token or an opaque handle nothing."""
    digits = re.search(r"\d+", dtype)
    return 8 if dtype == "pred" else int(digits[0]) if digits else 0


@dataclass(frozen=True)
class Instruction:
    """One line of a computation: name = shapes opcode(operands), attributes."""

    name: str
    shapes: tuple[Shape, ...]
    """Its result: one array, or those of a tuple in order, a tuple within a tuple laid flat."""
    opcode: str
    operands: tuple[str, ...]
    """Names of instructions of the same computation; of a parameter, its number; of a constant, what is written."""
    attributes: str
    """What follows the operands, with names of computations, dimensions and the backend's remarks."""

    @property
    def shape(self) -> Shape:
        """The result where it is one array; the first array of a tuple."""
        return self.shapes[0]

    @cached_property
    def _unquoted(self) -> str:
        return re.sub(r'"(?:[^"\\]|\\.)*"', "", self.attributes)

    def attribute(self, name: str) -> str | None:
        """The text of an attribute: a name without its %, or what stands in braces; None where there is none."""
        found = re.search(rf"\b{name}=(?:\{{([^}}]*)\}}|%?([\w.\->]+))", self._unquoted)
        return None if found is None else found[1] if found[1] is not None else found[2]

    def numbers(self, name: str) -> tuple[int, ...]:
        """An attribute such as dimensions={0,2}; empty where there is none."""
        return tuple(int(number) for number in re.findall(r"\d+", self.attribute(name) or ""))

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations of which it runs one: that of a call or fusion, or the branches of a choice."""
        branches = self.attribute("branch_computations")
        if branches is not None:
            return tuple(re.findall(r"[^\s,%]+", branches))
        names = ("calls", "to_apply", "true_computation", "false_computation")
        return tuple(called for name in names if (called := self.attribute(name)) is not None)

    @property
    def target(self) -> str | None:
        """What a custom call calls."""
        found = re.search(r'custom_call_target="([^"]*)"', self.attributes)
        return None if found is None else found[1]

    def library_axes(self, name: str) -> tuple[int, ...]:
        """Axes among the backend's remarks, as "lhs_contracting_dimensions":["1"] of a library's product."""
        found = re.search(rf'"{name}":\[([^\]]*)\]', self.attributes)
        return tuple(int(number) for number in re.findall(r"\d+", found[1])) if found else ()

    @property
    def known_trips(self) -> int | None:
        """Turns of a loop, where the compiler has noted them."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.attributes)
        return None if found is None else int(found[1])

    @property
    def estimated_cycles(self) -> int:
        """What a TPU's compiler expects the kernel to take, by a model of its own; 0 where it says nothing."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return 0 if found is None else int(found[1])

    @property
    def started(self) -> "Instruction":
        """Of `copy-start` and its like, which yields its operands, its result and a handle: the copy itself."""
        if not self.opcode.endswith("-start"):
            return self
        return replace(self, opcode=self.opcode.removesuffix("-start"), shapes=self.shapes[-2:-1] or self.shapes)


@dataclass(frozen=True)
class Computation:
    """Instructions by name, each after those that it reads."""

    name: str
    instructions: dict[str, Instruction]
    root: Instruction

    @cached_property
    def live(self) -> tuple[Instruction, ...]:
        """The instructions that the root needs, each after those that it reads."""
        needed = {self.root.name}
        for instruction in reversed(self.instructions.values()):
            if instruction.name in needed and instruction.opcode not in ("parameter", "constant"):
                needed.update(instruction.operands)
        return tuple(one for one in self.instructions.values() if one.name in needed)

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """The instructions that read each one."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for operand in set(instruction.operands) & users.keys():
                users[operand].append(instruction)
        return users

    @cached_property
    def parameters(self) -> tuple[Instruction, ...]:
        """In order of their numbers."""
        found = [one for one in self.instructions.values() if one.opcode == "parameter"]
        return tuple(sorted(found, key=lambda one: int(one.operands[0])))


@dataclass(frozen=True)
class Module:
    """A program: its computations by name, and the one that starts it."""

    computations: dict[str, Computation]
    entry: Computation


COMPUTATION = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s(?:.*\s)?\{$")
INSTRUCTION = re.compile(r"^\s+(ROOT\s+)?%?([\w.\-]+) = (.*)$")


def read(text: str) -> Module:
    """A module of HLO text, as XLA prints it before or after its passes. ValueError where there is no entry."""
    computations: dict[str, Computation] = {}
    entry, name, root, starts = None, "", None, False
    instructions: dict[str, Instruction] = {}
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if found := INSTRUCTION.match(line):
            instruction = _instruction(found[2], found[3])
            instructions[instruction.name] = instruction
            root = instruction if found[1] else root
        elif found := COMPUTATION.match(line):
            name, starts, root, instructions = found[2], bool(found[1]), None, {}
        elif line.startswith("}") and instructions:
            last = next(reversed(instructions.values()))
            computations[name] = Computation(name, instructions, root or last)
            entry = computations[name] if starts else entry
            instructions = {}
    if entry is None:
        raise ValueError(f"HLO text must have an ENTRY computation, got text that begins with {text[:60]!r}")
    return Module(computations, entry)


def _instruction(name: str, text: str) -> Instruction:
    """`f32[8]{0} add(%x, f32[8]{0} %y), metadata={…}`, a tuple's shapes in parentheses."""
    written = text[: _closing(text)] if text.startswith("(") else text.split(" ", 1)[0]
    opcode, operands = text[len(written) :].strip().split("(", 1)
    end = _closing("(" + operands) - 2
    inside, attributes = operands[:end], operands[end + 1 :]
    names = _parted(inside) if opcode != "constant" else [inside]
    shapes = tuple(
        Shape(dtype, tuple(int(number) for number in re.findall(r"\d+", dimensions)))
        for dtype, dimensions in re.findall(r"\b([a-z]\w*)\[([^\]]*)\]", written)
    )
    return Instruction(name, shapes, opcode, tuple(one.split()[-1].lstrip("%") for one in names if one), attributes)


def _closing(text: str) -> int:
    """Where the parenthesis that opens the text has closed."""
    depth = 0
    for place, letter in enumerate(text, start=1):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place
    raise ValueError(f"HLO text must close its parentheses, got {text[:60]!r}")


def _parted(text: str) -> list[str]:
    """What stands between the commas outside of all brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


@dataclass(frozen=True)
class Place:
    """A computation where it is called: what its parameters are, in the place around it."""

    module: Module
    computation: Computation
    around: "Place | None" = None
    """None for a computation by itself: its parameters are then where values come from."""
    arguments: tuple[str, ...] = ()
    """Names in the place around it; of the body of a loop, the one tuple that the loop starts with."""
    repeated: bool = False
    """Whether it is the body of a loop, whose parameter is the argument in the first turn alone."""

    def inside(self, instruction: Instruction, called: str, arguments: tuple[str, ...]) -> "Place":
        """The place that an instruction here opens: a computation that it calls, with what it hands to it."""
        return Place(self.module, self.module.computations[called], self, arguments, instruction.opcode == "while")

    def source(self, name: str) -> tuple["Place", Instruction]:
        """Where a value comes from: what computes it, or what is given to the program or to a turn of a loop."""
        instruction = self.computation.instructions[name]
        if instruction.opcode in ("copy", "bitcast", "reshape", "convert"):
            return self.source(instruction.operands[0])
        if instruction.opcode == "get-tuple-element":
            return self.element(instruction.operands[0], int(instruction.attribute("index") or 0))
        if instruction.opcode in ("call", "fusion"):
            inner = self.inside(instruction, instruction.called[0], instruction.operands)
            return inner.source(inner.computation.root.name)
        if instruction.opcode == "parameter" and self.around is not None and not self.repeated:
            return self.around.source(self.arguments[int(instruction.operands[0])])
        return self, instruction

    def element(self, name: str, index: int) -> tuple["Place", Instruction]:
        """Where an element of the tuple `name` comes from."""
        place, source = self.source(name)
        if source.opcode == "tuple":
            return place.source(source.operands[index])
        if source.opcode == "parameter" and place.around is not None and place._keeps(index):
            return place.around.element(place.arguments[0], index)
        return place, replace(source, opcode="get-tuple-element", operands=(source.name,), attributes=f"index={index}")

    def _keeps(self, index: int) -> bool:
        """Whether every turn of the loop, whose body this is, passes on that element of its tuple as it was."""
        return self.repeated and _carried(*_next(self.computation, self.module, index)) == index

    def trips(self, loop: Instruction) -> int | None:
        """Turns of a loop that stands here: as the compiler noted them, or read from a loop that counts.

        That is one whose condition compares an element of its tuple with a constant, where the element starts with a
        constant, to which every turn adds a constant. None for any other loop: its turns depend on what it computes.
        """
        if loop.known_trips is not None:
            return loop.known_trips
        condition = Place(self.module, self.module.computations[loop.attribute("condition") or ""])
        where, test = condition.source(condition.computation.root.name)
        if test.opcode != "compare":
            return None
        direction, sides = test.attribute("direction") or "", [where.source(side) for side in test.operands]
        if _carried(*sides[0]) is None or self._constant(loop, *sides[1]) is None:
            direction, sides = MIRRORED[direction], sides[::-1]
        counter, limit = _carried(*sides[0]), self._constant(loop, *sides[1])
        if counter is None or limit is None:
            return None
        body = self.module.computations[loop.attribute("body") or ""]
        start, step = _integer(self.element(loop.operands[0], counter)[1]), _step(body, self.module, counter)
        return None if start is None or not step else _turns(direction, start, limit, step)

    def _constant(self, loop: Instruction, where: "Place", side: Instruction) -> int | None:
        """A number in the loop's condition: a constant there, or an element that starts as one and stays it."""
        index = _carried(where, side)
        if index is None:
            return _integer(side)
        kept = self.inside(loop, loop.attribute("body") or "", loop.operands)._keeps(index)
        return _integer(self.element(loop.operands[0], index)[1]) if kept else None


MIRRORED = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE", "EQ": "EQ", "NE": "NE"}


def _turns(direction: str, start: int, limit: int, step: int) -> int | None:
    """How often `start`, `start + step`, … stands in that relation to `limit`; None where it does for ever."""
    if direction in ("GT", "GE"):
        direction, start, limit, step = MIRRORED[direction], -start, -limit, -step
    if direction == "NE":
        turns, rest = divmod(limit - start, step)
        return None if rest or turns < 0 else turns
    if direction == "EQ":
        return int(start == limit)
    reached = limit + (direction == "LE")
    if start >= reached:
        return 0
    return ceil((reached - start) / step) if step > 0 else None


def _next(body: Computation, module: Module, index: int) -> tuple[Place, Instruction]:
    """Where an element of the tuple that a turn of a loop hands to the next one comes from."""
    return Place(module, body).element(body.root.name, index)


def _step(body: Computation, module: Module, counter: int) -> int | None:
    """What a turn adds to an element of the tuple, where that is a constant."""
    place, sum_ = _next(body, module, counter)
    if sum_.opcode not in ("add", "subtract"):
        return None
    left, right = (place.source(operand) for operand in sum_.operands)
    if sum_.opcode == "add" and _carried(*right) == counter:
        left, right = right, left
    step = _integer(right[1])
    if _carried(*left) != counter or step is None:
        return None
    return step if sum_.opcode == "add" else -step


def _carried(place: Place, source: Instruction) -> int | None:
    """Which element of a loop's tuple a value is at the start of a turn; None where it is not one."""
    if source.opcode != "get-tuple-element" or place.around is not None:
        return None
    given = place.computation.instructions[source.operands[0]].opcode == "parameter"
    return int(source.attribute("index") or 0) if given else None


def _integer(source: Instruction) -> int | None:
    """A constant's number, where it is a whole one of an integer type."""
    if source.opcode != "constant" or source.shape.floating or not re.fullmatch(r"-?\d+", source.operands[0]):
        return None
    return int(source.operands[0])
