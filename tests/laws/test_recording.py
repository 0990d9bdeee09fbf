"""What is not asked for costs nothing: a model that keeps nothing hands nothing through its layers."""

import jax
import pytest

from jaxformer.config.presets import preset
from jaxformer.models.decoder import Decoder
from jaxformer.nn.recorder import Heads, Recorder, Streams, Weights
from tests.laws.cases import LATER, PRE_NORM, V, case, pairs, tokens

TOKENS = tokens(0, 2, 7)


def scans(jaxpr):
    """(arrays that are carried, arrays that every turn leaves) of each loop in a program, also within others."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            carried = equation.params["num_carry"]
            yield carried, len(equation.outvars) - carried
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda part: hasattr(part, "eqns")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from scans(inner)


def program(model, *inputs):
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return jax.make_jaxpr(model.apply)(params, *inputs)


MODELS = {
    "gpt2": (Decoder(preset("gpt2-tiny"), V), (TOKENS,)),
    "gemma3": (Decoder(preset("gemma3-tiny"), V), (TOKENS,)),
    "pre-norm": (case(PRE_NORM).model, pairs()),
    "t5": (case(LATER["t5"]).model, pairs()),
}


SLOW = ("gemma3", "t5")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
)
def test_layers_leave_nothing_unless_asked(name):
    model, inputs = MODELS[name]
    plain = program(model, *inputs)
    assert [left for _, left in scans(plain.jaxpr)] and not any(left for _, left in scans(plain.jaxpr))
    assert str(program(model.recording(Recorder()), *inputs)) == str(plain)
    for recorder in (Weights(), Heads(), Streams()):
        assert any(left for _, left in scans(program(model.recording(recorder), *inputs).jaxpr))
