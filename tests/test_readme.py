"""What the README shows runs, and what it says of the models is what the library counts."""

import math
import re
import sys
import types
from dataclasses import make_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxformer
from jaxformer import attention
from jaxformer.analysis.flops import training_flops_per_target_token
from jaxformer.config.choice import parse_choice
from jaxformer.config.io import from_json, to_json
from jaxformer.config.model import RnnConfig
from jaxformer.config.presets import PRESETS, preset
from tests.conftest import ROOT
from tests.parity.compare import assert_close, normal

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LIBRARY, FORMULA, PRETRAINED, ARCHITECTURE, PARALLELISM, EXTENSION = BLOCKS


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def executed(code, names=None):
    """The names that a block defines, run by itself as a file of its own would be."""
    module = types.ModuleType("readme")
    module.__dict__.update(names or {})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "readme", module)
        exec(compile(code, "README.md", "exec"), module.__dict__)
    return SimpleNamespace(**module.__dict__)


def test_the_library_is_used_as_shown(monkeypatch):
    """The run that it loads is a stub: a run takes minutes, and tests/cli loads one."""
    loaded = []

    def load(path):
        loaded.append(path)
        return SimpleNamespace(params="weights", translator=lambda: lambda params, texts: [params, *texts])

    monkeypatch.setitem(jaxformer.__dict__, "load", load)
    shown = executed(LIBRARY)
    mask_TS = np.tri(128, dtype=bool) & ~np.tri(128, k=-32, dtype=bool)
    scores_BNTS = jnp.einsum("btnh,bsnh->bnts", shown.q, shown.k) / 8
    weights_BNTS = jax.nn.softmax(jnp.where(mask_TS, scores_BNTS, -jnp.inf))
    assert_close(shown.o, jnp.einsum("bnts,bsnh->btnh", weights_BNTS, shown.v))
    assert [Path(path).parent for path in loaded] == [Path("runs")]


def test_a_pretrained_model_is_used_as_shown(monkeypatch, capsys):
    """The model that it loads is a stub; tests/recipes loads a real one."""
    bundle = SimpleNamespace(generate=lambda prompt, count: [prompt, f" {count} tokens"])
    monkeypatch.setitem(jaxformer.__dict__, "load", lambda path: bundle)
    executed(PRETRAINED)
    assert capsys.readouterr().out == "The capital of France is 8 tokens\n"


def test_the_formula_is_the_one_of_the_library():
    q_TH, k_SH, v_SH = normal(0, 5, 7), normal(1, 11, 7), normal(2, 11, 3)
    shown = executed(FORMULA, {"math": math, "jax": jax, "q_TH": q_TH, "k_SH": k_SH, "v_SH": v_SH})
    o_BTNH = attention(q_TH[None, :, None], k_SH[None, :, None], np.pad(v_SH, [(0, 0), (0, 4)])[None, :, None])
    assert_close(o_BTNH[0, :, 0, :3], shown.o_TH)


def test_parallelism_is_counted_as_shown():
    """Of each step, the product of a vector with a matrix of 64, a sum and a tanh wait for the one before."""
    counted = executed(PARALLELISM).counted
    assert counted.products == 512 * 2 * 64 * 64
    assert counted.depth >= 512 * (7 + 2) and not counted.unread
    assert counted.width == counted.work / counted.depth


def test_the_architecture_is_added_as_shown():
    lines = (ROOT / "jaxformer/weights/families/smollm3.py").read_text(encoding="utf-8").splitlines()
    assert ARCHITECTURE in "".join(f"{line}\n" for line in lines if not line.strip().startswith('"""'))


def test_a_position_of_ones_own_is_added():
    shown = executed(EXTENSION)
    embedded = normal(0, 2, 5, 7)
    added = shown.add_position(shown.Ramp(0.5), None, embedded, jnp.arange(5))
    assert_close(added, embedded + 0.5 * np.arange(5)[:, None])
    tokens = jnp.ones((1, 3), jnp.int32)
    logits = jax.eval_shape(lambda: shown.model.init_with_output(jax.random.key(0), tokens, tokens)[0])
    assert logits.shape == (1, 3, 1000)


def test_it_is_saved_once_the_union_knows_it_and_not_before():
    shown = executed(EXTENSION)
    with pytest.raises(ValueError, match=r"must hold such a value, got Ramp\(slope=0\.01\)"):
        to_json(shown.TransformerConfig(position=shown.Ramp()))
    known = get_type_hints(shown.TransformerConfig)["position"]
    extended = make_dataclass("Extended", [("position", known | shown.Ramp)], frozen=True)
    config = extended(shown.Ramp(0.25))
    assert to_json(config) == {"position": {"type": "Ramp", "slope": 0.25}}
    assert from_json(extended, to_json(config)) == config
    assert parse_choice("position", known | shown.Ramp, "Ramp(slope=0.25)") == shown.Ramp(0.25)


def test_the_union_is_where_it_says():
    said = re.search(r"move the class to \[.+?\]\((.+?)\) and add it to the union there, `Position = ", README)
    assert said and re.search("^Position = ", (ROOT / said[1]).read_text(encoding="utf-8"), re.MULTILINE)


def away(name: str, length: int) -> float:
    """The part of its Transformer's FLOPs per target token that a rival needs less, at equal lengths of both sides."""
    rival, own = preset(name), preset(f"transformer-{name.rsplit('-')[-1]}")
    return 1 - training_flops_per_target_token(rival, 8000, length, length) / training_flops_per_target_token(
        own, 8000, length, length
    )


def test_the_flops_of_the_rivals_are_as_far_from_the_transformers_as_it_says():
    rivals = [name for name, entry in PRESETS.items() if isinstance(entry.config, RnnConfig)]
    said = re.search(
        r"vocabulary of 8,000, the farthest of them \(`(.+?)`\) needs (.+?)% fewer .+? at (\d+) tokens a side, "
        r"(.+?)% at (\d+) and (.+?)% at (\d+); of those .+? more than (.+?)% away at (\d+)\.",
        README,
    )
    assert said
    name, *numbers, largest, longest = said.groups()
    lengths = [13, 32, 128]
    assert [int(numbers[i]) for i in (1, 3, 5)] == lengths
    for length, percent in zip(lengths, (numbers[0], numbers[2], numbers[4]), strict=True):
        assert f"{away(name, length):.1%}" == f"{percent}%"
        assert max(rivals, key=lambda rival: abs(away(rival, length))) == name
    others = [abs(away(rival, int(longest))) for rival in rivals if not rival.endswith("-tiny")]
    assert f"{max(others):.1%}" == f"{largest}%"
