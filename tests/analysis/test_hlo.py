"""The reader of HLO: both spellings of its text, and the turns of loops that count, however they are written."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxformer.analysis.hlo import Module, Place, Shape, read

AS_WRITTEN = """\
HloModule m, entry_computation_layout={(f32[3,5]{1,0})->(f32[3]{0}, bf16[])}

region_0.1 {
  a.1 = f32[] parameter(0)
  b.1 = f32[] parameter(1)
  ROOT add.1 = f32[] add(a.1, b.1)
}

ENTRY main.2 {
  x.1 = f32[3,5]{1,0} parameter(0)
  zero.1 = f32[] constant(-0)
  sum.1 = f32[3]{0} reduce(x.1, zero.1), dimensions={1}, to_apply=region_0.1
  half.1 = bf16[] constant(0.5)
  ROOT pair.1 = (f32[3]{0}, bf16[]) tuple(sum.1, half.1)
}
"""
AS_COMPILED = """\
HloModule m, is_scheduled=true

FileNames
1 "somewhere.py"

%region_0.1 (a.1: f32[], b.1: f32[]) -> f32[] {
  %a.1 = f32[] parameter(0), metadata={op_name="a(b)={c}"}
  %b.1 = f32[] parameter(1)
  ROOT %add.1 = f32[] add(f32[] %a.1, f32[] %b.1)
}

ENTRY %main.2 (x.1: f32[3,5]) -> (f32[3], bf16[]) {
  %x.1 = f32[3,5]{1,0:T(8,128)} parameter(0)
  %zero.1 = f32[] constant(-0)
  %sum.1 = f32[3]{0:T(128)S(1)} reduce(f32[3,5]{1,0:T(8,128)} %x.1, f32[] %zero.1), dimensions={1}, to_apply=%region_0.1
  %half.1 = bf16[] constant(0.5)
  ROOT %pair.1 = (f32[3]{0:T(128)S(1)}, /*index=1*/bf16[]) tuple(%sum.1, %half.1), metadata={op_name="to_apply=no"}
}, execution_thread="main"
"""


@pytest.mark.parametrize("text", [AS_WRITTEN, AS_COMPILED], ids=["written", "compiled"])
def test_both_spellings_are_read_alike(text):
    module = read(text)
    main = module.entry
    assert (main.name, main.root.opcode, list(module.computations)) == ("main.2", "tuple", ["region_0.1", "main.2"])
    assert main.root.shapes == (Shape("f32", (3,)), Shape("bf16", ())) and main.root.operands == ("sum.1", "half.1")
    assert main.root.attribute("to_apply") is None
    sum_ = main.instructions["sum.1"]
    assert (sum_.operands, sum_.called, sum_.numbers("dimensions")) == (("x.1", "zero.1"), ("region_0.1",), (1,))
    assert [one.name for one in main.users["x.1"]] == ["sum.1"]
    assert [one.name for one in module.computations["region_0.1"].parameters] == ["a.1", "b.1"]


@pytest.mark.parametrize(
    "shape, bytes_",
    [
        (Shape("f32", (3, 5)), 60),
        (Shape("bf16", ()), 2),
        (Shape("pred", (7,)), 7),
        (Shape("s4", (7,)), 4),
        (Shape("c64", (2,)), 16),
        (Shape("f8e4m3fn", (3,)), 3),
        (Shape("token", ()), 0),
    ],
)
def test_bytes_of_a_shape(shape, bytes_):
    assert shape.bytes == bytes_


def test_what_is_no_hlo_is_refused():
    with pytest.raises(ValueError, match="must have an ENTRY computation, got text that begins with 'module @jit_f'"):
        read("module @jit_f")


def loops(module: Module, place: Place | None = None) -> Iterator[int | None]:
    """Turns of every loop, outer ones before inner ones."""
    place = place or Place(module, module.entry)
    for instruction in place.computation.instructions.values():
        if instruction.opcode == "while":
            yield place.trips(instruction)
            yield from loops(module, place.inside(instruction, instruction.attribute("body"), instruction.operands))
        elif instruction.opcode in ("call", "fusion"):
            yield from loops(module, place.inside(instruction, instruction.called[0], instruction.operands))


def turns_of(function, *args) -> dict[str, list[int | None]]:
    """Turns of the loops of a program as written and as compiled, from the text without the compiler's remarks."""

    def of(text: str):
        return list(loops(read(text.replace("known_trip_count", "unsaid"))))

    lowered = jax.jit(function).lower(*args)
    return {"written": of(lowered.as_text(dialect="hlo")), "compiled": of(lowered.compile().as_text())}


def counted_by(test, step):
    """Doubles x while a counter that starts at 3 passes the test."""
    return lambda x: lax.while_loop(lambda s: test(s[0]), lambda s: (step(s[0]), s[1] * x), (3, x))[1]


X = jnp.ones(5)
LOOPS = {
    "scan": (lambda x: lax.scan(lambda c, y: (c * y, None), 1.0, x)[0], [5]),
    "reversed scan": (lambda x: lax.scan(lambda c, y: (c * y, c), 1.0, x, reverse=True), [5]),
    "nested": (lambda x: lax.fori_loop(2, 13, lambda i, s: lax.fori_loop(0, 7, lambda j, z: z * x, s), x), [11, 7]),
    "less": (counted_by(lambda i: i < 13, lambda i: i + 1), [10]),
    "less, in steps": (counted_by(lambda i: i < 13, lambda i: i + 4), [3]),
    "less, mirrored": (counted_by(lambda i: lax.gt(13, i), lambda i: 1 + i), [10]),
    "at most": (counted_by(lambda i: i <= 13, lambda i: i + 2), [6]),
    "down": (counted_by(lambda i: i > -5, lambda i: i - 1), [8]),
    "down to": (counted_by(lambda i: i >= -5, lambda i: i - 3), [3]),
    "until": (counted_by(lambda i: i != 13, lambda i: i + 5), [2]),
    "never": (counted_by(lambda i: i > 3, lambda i: i + 1), [0]),
    "as data says": (lambda x: lax.while_loop(lambda s: jnp.sum(s) < 100, lambda s: s * 2, x), [None]),
    "until what is given": (lambda x: lax.fori_loop(0, x.astype(int)[0], lambda i, s: s * x, x), [None]),
    "counted in floats": (
        lambda x: lax.while_loop(lambda s: s[0] < 5.0, lambda s: (s[0] + 1, s[1] * x), (0.0, x))[1],
        [None],
    ),
    "doubling": (counted_by(lambda i: i < 13, lambda i: i * 2), [None]),
    "a limit that is carried": (
        lambda x: lax.while_loop(lambda s: s[0] < s[1], lambda s: (s[0] + 1, s[1], s[2] * x), (0, 7, x))[2],
        [7],
    ),
    "a limit that moves": (
        lambda x: lax.while_loop(lambda s: s[0] < s[1], lambda s: (s[0] + 3, s[1] + 1, s[2] * x), (0, 7, x))[2],
        [None],
    ),
    "a triangle": (
        lambda x: lax.fori_loop(0, 5, lambda i, s: lax.fori_loop(0, i, lambda j, z: z * x, s), x),
        [5, None],
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_turns_of_a_loop(name):
    function, turns = LOOPS[name]
    found = turns_of(function, X)
    assert found["written"] == turns
    # The compiler removes a loop without turns, and unrolls a short one.
    assert found["compiled"] in (turns, [])


# The inner loop's limit is an element of the outer one's tuple, which every turn passes on.
NESTED = """\
HloModule m

inner.1 {
  t.1 = (s32[], s32[]) parameter(0)
  i.1 = s32[] get-tuple-element(t.1), index=0
  one.1 = s32[] constant(1)
  next.1 = s32[] add(i.1, one.1)
  limit.1 = s32[] get-tuple-element(t.1), index=1
  ROOT t.2 = (s32[], s32[]) tuple(next.1, limit.1)
}

outer.1 {
  t.3 = (s32[], s32[]) parameter(0)
  i.2 = s32[] get-tuple-element(t.3), index=0
  limit.2 = s32[] get-tuple-element(t.3), index=1
  zero.1 = s32[] constant(0)
  t.4 = (s32[], s32[]) tuple(zero.1, limit.2)
  while.1 = (s32[], s32[]) while(t.4), condition=less.1, body=inner.1
  two.1 = s32[] constant(2)
  next.2 = s32[] add(i.2, two.1)
  ROOT t.5 = (s32[], s32[]) tuple(next.2, limit.2)
}

less.1 {
  t.6 = (s32[], s32[]) parameter(0)
  i.3 = s32[] get-tuple-element(t.6), index=0
  limit.3 = s32[] get-tuple-element(t.6), index=1
  ROOT less.2 = pred[] compare(i.3, limit.3), direction=LT
}

ENTRY main.1 {
  zero.2 = s32[] constant(0)
  seven.1 = s32[] constant(7)
  t.7 = (s32[], s32[]) tuple(zero.2, seven.1)
  ROOT while.2 = (s32[], s32[]) while(t.7), condition=less.1, body=outer.1
}
"""


def test_a_limit_is_followed_through_the_loop_around_it():
    assert list(loops(read(NESTED))) == [4, 7]
    mirrored = NESTED.replace("compare(i.3, limit.3), direction=LT", "compare(limit.3, i.3), direction=GT")
    assert list(loops(read(mirrored))) == [4, 7]
    moving = NESTED.replace("tuple(next.2, limit.2)", "tuple(next.2, next.2)")
    assert list(loops(read(moving))) == [None, None]


def test_the_compilers_own_remark_comes_first():
    text = jax.jit(LOOPS["scan"][0]).lower(X).compile().as_text().replace('{"n":"5"}', '{"n":"6"}')
    assert list(loops(read(text))) == [6]
