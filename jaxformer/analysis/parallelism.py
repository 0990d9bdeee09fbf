"""How much a program computes, and how much of it must wait: work, bytes, and sequential depth, read from its HLO.

By Brent's theorem, p processors that start whatever is ready take at most work / p + depth steps, and never fewer than
either alone (Brent 1974; Blelloch 1990, §1). So depth is what no number of processors shortens, and work / depth how
many of them find something to do. An attention layer and a recurrent one differ little in work; in depth they differ
as log T from T.

    >>> import jax, jax.numpy as jnp
    >>> from jaxformer import parallelism
    >>> x = jax.ShapeDtypeStruct((64, 8), jnp.float32)
    >>> power = lambda x_TD: jax.lax.scan(lambda h_D, x_D: (h_D * x_D, None), jnp.ones(8), x_TD)[0]
    >>> counted = parallelism(power, x)  # compiled for the device at hand, and not run
    >>> counted.work, counted.depth  # 64 turns, each of which reads x_D, then multiplies
    (512, 128)

XLA's own `cost_analysis` counts the body of a loop once, however often it runs. Here it is counted once a turn, loops
within loops as well. Loops are not looked through: a turn starts when the one before it has ended, as on every backend
of XLA, even if it would not have had to wait. So depth is that of the program as it runs, and the same formula written
as a loop over independent heads is deeper than written at once.

Two texts of a program can be read. The *compiled* one is the truth of what runs on one kind of device: the compiler has
left out what is not needed, computes some values twice to save memory traffic, and spells some functions out; only its
bytes and kernels mean anything. The program *as written* (lowered, not yet compiled) is the same on every device. Work
and depth of the two differ by what the compiler did: mostly little. What each instruction costs is said in
`jaxformer.analysis.operations`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jaxformer.analysis.hlo import Instruction, Place, read
from jaxformer.analysis.operations import FREE, GIVEN, NAMES, Price, is_product, price, traffic


@dataclass(frozen=True)
class Parallelism:
    """What a program costs on one device; of a program for several, each one's share."""

    work: int
    """Floating-point operations: one for each element of an elementwise operation, two for a multiply-add of a product
    of matrices."""
    products: int
    """That part of the work which is products of matrices and convolutions, as `jaxformer.analysis.flops` counts."""
    bytes: int
    """Read and written by all kernels. Of a compiled program, its memory traffic if caches held nothing from one kernel
    to the next; of a program as written, what it would be if nothing were fused."""
    depth: int
    """Operations on the longest path on which each waits for the one before."""
    kernels: int
    """How often something is started: a fusion, a product, a copy. Devices start kernels one after another, so a
    program whose kernels are small takes as long as it takes to start them."""
    cycles: int = 0
    """The sum of what the compiler itself expects the kernels to take, where it says so: an estimate, by TPU compilers
    alone, and not of every kernel."""
    unread: tuple[str, ...] = ()
    """What could not be counted: a loop whose turns depend on its data, which is counted as one turn, and calls of
    libraries, counted as nothing. Where there is any, all figures are lower bounds."""

    @property
    def width(self) -> float:
        """Processors that are busy on average if there is no lack of them: work / depth."""
        return self.work / max(self.depth, 1)

    def steps(self, processors: int) -> float:
        """Steps on so many processors at the most: work / p + depth (Brent 1974)."""
        return self.work / processors + self.depth


def parallelism(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Parallelism:
    """Counts a function, jitted already or not, as compiled for the device at hand.

    Arguments may be arrays or `jax.ShapeDtypeStruct`s: the function is compiled for their shapes and never run.
    """
    jitted: Any = function if hasattr(function, "lower") else jax.jit(function)
    return count(jitted.lower(*args, **kwargs).compile())


def count(program: jax.stages.Compiled | jax.stages.Lowered | str) -> Parallelism:
    """Counts a compiled program, a lowered one as written, or the HLO text of either.

    ValueError for what is no HLO, and where a backend keeps the text of its compiled programs to itself.
    """
    if isinstance(program, str):
        text = program
    else:
        text = program.as_text(dialect="hlo") if isinstance(program, jax.stages.Lowered) else program.as_text()
    if text is None:
        raise ValueError("this backend does not show the HLO that it compiled; count the lowered program instead")
    module = read(text)
    counting = _Counting({})
    run = counting.run(Place(module, module.entry), [0] * len(module.entry.parameters), fused=False)
    total = run.total
    return Parallelism(**total._asdict(), depth=_latest(run.value), unread=tuple(counting.unread))


Ready = int | tuple["Ready", ...]
"""The step after which a value is there; of a tuple, each element's."""


class _Total(NamedTuple):
    work: int = 0
    products: int = 0
    bytes: int = 0
    kernels: int = 0
    cycles: int = 0

    def and_(self, other: "_Total", times: int = 1) -> "_Total":
        return _Total(*(mine + times * its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True)
class _Run:
    """What a computation costs in all, and when its result is there."""

    total: _Total
    value: Ready


@dataclass(frozen=True)
class _Counting:
    """Goes through a program as it would run."""

    unread: dict[str, None]
    """What could not be counted, in order, each once."""

    def run(self, place: Place, arguments: list[Ready], fused: bool) -> _Run:
        """A computation whose arguments are there after so many steps; `fused` where it is part of one kernel."""
        total, ready = _Total(), dict[str, Ready]()
        for instruction in place.computation.live:
            if instruction.opcode == "parameter":
                ready[instruction.name] = arguments[int(instruction.operands[0])]
                continue
            given = [] if instruction.opcode == "constant" else [ready[name] for name in instruction.operands]
            run = self._instruction(place, instruction, given, fused)
            total, ready[instruction.name] = total.and_(run.total), run.value
        return _Run(total, ready[place.computation.root.name])

    def _instruction(self, place: Place, instruction: Instruction, given: list[Ready], fused: bool) -> _Run:
        instruction = instruction.started
        match instruction.opcode:
            case "tuple":
                return _Run(_Total(), tuple(given))
            case "get-tuple-element":
                return _Run(_Total(), _element(given[0], int(instruction.attribute("index") or 0)))
            case "optimization-barrier" | "opt-barrier":
                return _Run(_Total(), given[0])
            case "while":
                return self._loop(place, instruction, _latest(*given), fused)
            case "conditional":
                return self._choice(place, instruction, given, fused)
            case "call" | "fusion" | "async":
                return self._call(place, instruction, given, fused)
            case opcode if opcode.endswith(("-done", "-update")):
                return _Run(_Total(), _latest(*given))
        cost = price(instruction, place.computation, self._combination(place, instruction))
        if cost is None:
            self.unread[f"{instruction.target or instruction.opcode}: operations unknown, counted as none"] = None
        cost = cost or FREE
        total = _Total(cost.work, cost.work if is_product(instruction) else 0)
        return _Run(total.and_(self._kernel(place, instruction, fused)), _latest(*given) + cost.steps)

    def _kernel(self, place: Place, instruction: Instruction, fused: bool) -> _Total:
        if fused or instruction.opcode in (GIVEN | NAMES) - {"iota"}:
            return _Total()
        held = place.module.computations[instruction.called[0]] if instruction.opcode == "fusion" else None
        return _Total(
            bytes=traffic(instruction, place.computation, held), kernels=1, cycles=instruction.estimated_cycles
        )

    def _combination(self, place: Place, instruction: Instruction) -> Price:
        """What it costs to apply the computation of a reduction, sort or scatter once."""
        if instruction.attribute("to_apply") is None:
            return FREE
        inner = Place(place.module, place.module.computations[instruction.called[0]])
        run = self.run(inner, [0] * len(inner.computation.parameters), fused=True)
        return Price(run.total.work, _latest(run.value))

    def _call(self, place: Place, instruction: Instruction, given: list[Ready], fused: bool) -> _Run:
        inner = place.inside(instruction, instruction.called[0], instruction.operands)
        kernel = instruction.opcode == "fusion"
        run = self.run(inner, given, fused or kernel)
        return _Run(run.total.and_(self._kernel(place, instruction, fused)), run.value) if kernel else run

    def _loop(self, place: Place, instruction: Instruction, start: int, fused: bool) -> _Run:
        """As many turns as the loop takes, one after the other. What its condition compares is not counted."""
        trips = place.trips(instruction)
        if trips is None:
            self.unread[f"{instruction.name}: turns of the loop unknown, counted as one"] = None
            trips = 1
        body = place.inside(instruction, instruction.attribute("body") or "", instruction.operands)
        turn = self.run(body, [0], fused)
        return _Run(_Total().and_(turn.total, trips), start + trips * _latest(turn.value))

    def _choice(self, place: Place, instruction: Instruction, given: list[Ready], fused: bool) -> _Run:
        """The branch of most work, and the deepest: which one is taken depends on data."""
        chosen, *arguments = given
        runs = [
            self.run(place.inside(instruction, branch, (name,)), [_not_before(_latest(chosen), argument)], fused)
            for branch, name, argument in zip(instruction.called, instruction.operands[1:], arguments, strict=True)
        ]
        heaviest = max(runs, key=lambda run: (run.total.work, run.total.bytes))
        return _Run(heaviest.total, max(_latest(run.value) for run in runs))


def _latest(*ready: Ready) -> int:
    return max((_latest(*one) if isinstance(one, tuple) else one for one in ready), default=0)


def _element(ready: Ready, index: int) -> Ready:
    """Of a tuple whose elements are there at once, only that step is kept."""
    return ready[index] if isinstance(ready, tuple) else ready


def _not_before(step: int, ready: Ready) -> Ready:
    return tuple(_not_before(step, one) for one in ready) if isinstance(ready, tuple) else max(step, ready)
