"""A step on a mesh of eight devices is the step of one device, and every part lies where the table says."""

import re
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.errors import UserError
from jaxformer.config.model import Bahdanau, RnnConfig, TransformerConfig
from jaxformer.config.training import Adam, Ema, MeshConfig, Muon, OptimizationConfig
from jaxformer.config.translate import TranslateConfig
from jaxformer.data.batches import PairBatch
from jaxformer.data.corpora import Pair, ParallelCorpus, Split
from jaxformer.models.build import build
from jaxformer.objectives import translation
from jaxformer.parallel.gather import gathered
from jaxformer.parallel.mesh import batch_shardings, make_mesh, place, repeated_rows, replicated, state_shardings
from jaxformer.parallel.rules import RULES
from jaxformer.recipes.translate import TranslationTask
from jaxformer.training.optimizers import optimizer
from jaxformer.training.state import new_state
from jaxformer.training.step import make_step

# Primes times what the meshes divide by; S and T appear in no weight, so that activations are known by their shapes.
B, S, T, V = 8 * 3, 11, 13, 8 * 7
CONFIGS = {
    "transformer": TransformerConfig(width=8 * 3, encoder_layers=2, decoder_layers=3, heads=8, feed_forward=8 * 5),
    # The width of the RNN is no multiple of 8: those of its weights stay whole where the mesh asks for that.
    "rnn": RnnConfig(embedding=24, width=2 * 7, layers=2, attention=Bahdanau(5)),
}
MESHES = {
    "data": MeshConfig(data=8),
    "fsdp": MeshConfig(data=1, fsdp=8),
    "tensor": MeshConfig(data=1, tensor=8),
    "all": MeshConfig(data=2, fsdp=2, tensor=2),
}
# Without momentum Adam keeps the gradient itself: that of a step is then to be seen in its state.
KEEP_GRADIENT = OptimizationConfig(Adam(beta1=0.0), clip=1e9)


def a_batch(rows: int = B) -> PairBatch:
    random = np.random.default_rng(0)
    source_BS, target_BT = (random.integers(3, V, (rows, width), np.int32) for width in (S, T + 1))
    source_BS[:, 7:][random.random((rows, S - 7)) < 0.3] = 0
    target_BT[::3, 9:] = 0
    return PairBatch(source_BS, target_BT)


def maker(name: str, optimization: OptimizationConfig = KEEP_GRADIENT):
    model, rule = build(CONFIGS[name], V), optimizer(optimization, 10, CONFIGS[name].width)

    def make_state():
        return new_state(model.init(jax.random.key(2), *a_batch(1)), rule, optimization.average, jax.random.key(3))

    return make_state


def objective_of(name: str):
    return translation(build(CONFIGS[name], V), smoothing=0.1, z_weight=1e-4)


def mesh_of(name: str):
    return make_mesh(MESHES[name], jax.devices()[:8])


class Numbers:
    """A tokenizer whose tokens are written as numbers."""

    pad, bos, eos, size = 0, 1, 2, V

    def encode_batch(self, texts):
        return [[int(word) for word in text.split()] for text in texts]


@cache
def task_of(name: str, mesh_name: str) -> TranslationTask:
    """The job of the command line on this mesh; of its data no more is used than that there are some."""
    split = Split((Pair("3 4 5", "6 7"),))
    config = TranslateConfig(
        model=CONFIGS[name], mesh=MESHES[mesh_name], optimization=KEEP_GRADIENT, steps=10, smoothing=0.1, z_loss=1e-4
    )
    return TranslationTask(config, ParallelCorpus("en", "de", split, split, split), Numbers())


class Outcome(NamedTuple):
    state: Any
    metrics: dict[str, Any]
    hlo: str

    @property
    def gradient(self) -> Any:
        return jax.device_get(adam_state(self.state).mu)


def adam_state(state: Any) -> Any:
    leaves = jax.tree.leaves(state.optimizer, is_leaf=lambda part: hasattr(part, "mu"))
    (adam,) = [part for part in leaves if hasattr(part, "mu")]
    return adam


@cache
def start_of(name: str) -> Any:
    """A new state, made on one device, in the host's memory."""
    return jax.tree.map(np.asarray, jax.jit(lambda: nn.unbox(maker(name)()))()._replace(key=None))


@cache
def on_one_device(name: str) -> Outcome:
    """The reference, put together without any of what lays things out."""
    start = start_of(name)._replace(key=jax.random.key(3))
    rule = optimizer(KEEP_GRADIENT, 10, CONFIGS[name].width)
    state, metrics = jax.jit(make_step(objective_of(name), rule))(start, a_batch())
    return Outcome(state, jax.device_get(metrics), "")


@cache
def on_mesh(name: str, mesh_name: str) -> Outcome:
    """The step that the command line runs."""
    task = task_of(name, mesh_name)
    start = jax.device_put(start_of(name)._replace(key=jax.random.key(3)), task.shardings)
    batch = task.place(a_batch())
    compiled = task.sharded_step().lower(start, batch).compile()
    state, metrics = compiled(start, batch)
    return Outcome(state, jax.device_get(metrics), compiled.as_text())


def difference(tree: Any, expected: Any) -> float:
    """Relative L2 distance of all leaves together, in float64."""
    pairs = list(zip(jax.tree.leaves(jax.device_get(tree)), jax.tree.leaves(expected), strict=True))
    square = sum(np.sum((np.asarray(a, np.float64) - b) ** 2) for a, b in pairs)
    return float(np.sqrt(square / sum(np.sum(np.asarray(b, np.float64) ** 2) for _, b in pairs)))


every_case = pytest.mark.parametrize("mesh_name", MESHES)
every_model = pytest.mark.parametrize("name", CONFIGS)


@every_case
@every_model
def test_a_sharded_step_is_the_step_of_one_device(name, mesh_name):
    """With dropout: the random bits are the same, however they are divided."""
    one, many = on_one_device(name), on_mesh(name, mesh_name)
    assert abs(float(many.metrics["loss"]) / float(one.metrics["loss"]) - 1) <= 2e-6
    gradient, expected = many.gradient, one.gradient
    assert difference(gradient, expected) <= 5e-6
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), gradient, expected)
    assert {key: pytest.approx(float(value), rel=2e-6) for key, value in one.metrics.items()} == many.metrics


@every_model
def test_initialisation_does_not_depend_on_the_mesh(name):
    make_state = maker(name)
    shardings = state_shardings(jax.eval_shape(make_state), mesh_of("all"))
    params = jax.jit(lambda: nn.unbox(make_state().params), out_shardings=shardings.params)()
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(params), start_of(name).params)


@pytest.mark.parametrize("mesh_name", ["data", "fsdp"])
@every_model
def test_no_activation_travels_between_devices_that_share_the_batch(name, mesh_name):
    """Only weights are put together and only gradients and sums are added up, none of which has an axis S or T."""
    communications = re.findall(
        r"= (.*?) (?:all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(",
        on_mesh(name, mesh_name).hlo,
    )
    assert communications
    sizes = [set(map(int, dims.split(","))) for shape in communications for dims in re.findall(r"\[([\d,]+)\]", shape)]
    assert sizes
    assert not [size for size in sizes if size & {S, T, B * T, B * S, B // 8 * T, B // 8 * S}]


def shard_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    def last(path: Any) -> str:
        return "/".join(key.key for key in path[-5:] if isinstance(key, jax.tree_util.DictKey))

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {last(path): leaf.addressable_shards[0].data.shape for path, leaf in leaves}


def test_an_optimizer_of_several_parts_lies_as_the_parameters_of_each_do():
    """Muon keeps one average of each matrix, Adam two of the rest; neither keeps what is the other's."""
    make_state = maker("transformer", OptimizationConfig(Muon()))
    shardings = state_shardings(jax.eval_shape(make_state), mesh_of("all"))
    state = jax.jit(lambda: nn.unbox(make_state()), out_shardings=shardings)()
    parameters, kept = shard_shapes(state.params), shard_shapes(state.optimizer)
    assert {name: shape for name, shape in kept.items() if name in parameters} == parameters
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.optimizer)]
    averages = sum(".mu" in path for path in paths)
    assert averages == len(jax.tree.leaves(state.params))


def test_parameters_and_all_that_follows_them_lie_in_parts():
    mesh = mesh_of("all")
    make_state = maker("transformer", OptimizationConfig(average=Ema()))
    shardings = state_shardings(jax.eval_shape(make_state), mesh)
    state = jax.jit(lambda: nn.unbox(make_state()), out_shardings=shardings)()
    shapes = shard_shapes(state.params)
    assert shapes["params/embedding/table"] == (V // 2, 24 // 2)
    assert shapes["decoder/rows_0/blocks_0/attention/query"] == (3, 24 // 2, 8 // 2, 3)
    assert shapes["encoder/rows_0/blocks_0/attention/output"] == (2, 8 // 2, 3, 24 // 2)
    assert shapes["encoder/rows_0/blocks_0/feed_forward/up"] == (2, 24 // 2, 40 // 2)
    assert shapes["decoder/rows_0/blocks_0/feed_forward/down_bias"] == (3, 24 // 2)
    assert shard_shapes(state.average) == shapes
    adam = adam_state(state)
    assert shard_shapes(adam.mu) == shard_shapes(adam.nu) == shapes
    assert state.step.sharding.is_fully_replicated and state.key.sharding.is_fully_replicated


def test_a_step_leaves_every_part_where_it_was():
    state = on_mesh("transformer", "all").state
    shardings = task_of("transformer", "all").shardings
    moved = jax.tree.map(
        lambda leaf, sharding: not leaf.sharding.is_equivalent_to(sharding, leaf.ndim), state, shardings
    )
    assert not any(jax.tree.leaves(moved))


def test_a_batch_is_divided_by_rows_where_they_divide():
    mesh = mesh_of("all")
    source_BS, target_BT = place(a_batch(), mesh)
    assert source_BS.addressable_shards[0].data.shape == (B // 4, S)
    assert target_BT.addressable_shards[0].data.shape == (B // 4, T + 1)
    assert len({shard.index[0].start for shard in source_BS.addressable_shards}) == 4
    odd = place(a_batch(7), mesh)
    assert odd.source_BS.sharding.is_fully_replicated
    np.testing.assert_array_equal(odd.target_BT, a_batch(7).target_BT)
    assert batch_shardings(a_batch(7), mesh).source_BS == replicated(mesh)


def test_another_table_is_another_layout():
    mesh, rules = mesh_of("all"), {**RULES, "vocabulary": None, "embed": ("fsdp", "tensor")}
    shardings = state_shardings(jax.eval_shape(maker("transformer")), mesh, rules)
    table = shardings.params["params"]["embedding"]["table"]
    assert table.shard_shape((V, 24)) == (V, 24 // 4)


def test_one_device_needs_no_gathering():
    objective, mesh = objective_of("rnn"), make_mesh(MeshConfig(), jax.devices()[:1])
    assert gathered(objective, jax.eval_shape(maker("rnn")).params, mesh) is objective


@pytest.mark.parametrize(
    "config, sizes",
    [
        (MeshConfig(), (8, 1, 1)),
        (MeshConfig(fsdp=2), (4, 2, 1)),
        (MeshConfig(data=2, fsdp=-1, tensor=2), (2, 2, 2)),
        (MeshConfig(data=1, fsdp=1, tensor=8), (1, 1, 8)),
    ],
)
def test_the_mesh_takes_every_device(config, sizes):
    mesh = make_mesh(config, jax.devices()[:8])
    assert mesh.devices.shape == sizes
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert {device.id for device in mesh.devices.flat} == set(range(8))


@pytest.mark.parametrize(
    "config, words",
    [
        (MeshConfig(data=2), "must multiply to the number of devices, 8; got data=2, fsdp=1, tensor=1"),
        (MeshConfig(tensor=3), "must multiply to the number of devices, 8; got data=-1, fsdp=1, tensor=3"),
        (MeshConfig(data=16), "the number of devices, 8; got data=16"),
    ],
)
def test_a_mesh_that_does_not_fit_is_a_persons_error(config, words):
    with pytest.raises(UserError, match=re.escape(words)):
        make_mesh(config, jax.devices()[:8])


def parts_of(rows: int, mesh: Any) -> int:
    """In how many different parts the rows of a batch really lie."""
    shards = place(np.zeros((rows, 3)), mesh).addressable_shards
    return len({shard.index[0].indices(rows) for shard in shards})


@pytest.mark.parametrize("mesh_name", MESHES)
@pytest.mark.parametrize("rows", [8, 24, 12, 6, 7])
def test_rows_that_devices_repeat_are_told(mesh_name, rows):
    mesh = mesh_of(mesh_name)
    most, parts = parts_of(8, mesh), parts_of(rows, mesh)
    told = repeated_rows([8, rows, rows], mesh)
    if parts == most:
        assert told is None
    else:
        assert told is not None
        assert f"divided in {most} parts, but are of {rows} rows in {parts}, so devices repeat" in told
        assert f"multiples of {most} " in told


def test_every_uneven_number_of_rows_is_told_once_in_order():
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    assert "are of 2 rows in 2 and 7 rows in 1 and 12 rows in 4, so" in (repeated_rows([12, 8, 7, 2, 12], mesh) or "")
