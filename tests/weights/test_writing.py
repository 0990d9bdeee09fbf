"""What is written is read bit for bit, by this library and by the reference; an error leaves everything as it was."""

import json
import tempfile
import weakref
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.errors import UserError
from jaxformer.weights.safetensors import DTYPES, INDEX, WEIGHTS, open_tensors
from jaxformer.weights.writing import write_tensors
from tests.weights.files import all_stored, by_reference

TENSORS = {
    "a": np.arange(6, dtype=np.int8).reshape(2, 3),
    "b": np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7),
    "c": np.arange(11).astype(ml_dtypes.bfloat16),
    "é": np.array(13.0),
    "empty": np.zeros((0, 17), np.float16),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.smoke
def test_both_libraries_read_what_was_written(tmp_path):
    write_tensors(tmp_path / "new" / "folder", TENSORS)
    path = tmp_path / "new" / "folder" / WEIGHTS
    assert [path] == list(path.parent.iterdir())
    assert all_stored(open_tensors(path)) == all_stored(TENSORS)
    found = by_reference(path.read_bytes())
    assert found == all_stored(TENSORS)
    assert found["c"][:2] == ("BF16", [11]) and found["é"][:2] == ("F64", [])
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_every_dtype_is_written(tmp_path):
    tensors = {name: np.arange(3).astype(dtype) for name, dtype in DTYPES.items()}
    write_tensors(tmp_path, tensors, metadata={})
    assert all_stored(open_tensors(tmp_path)) == all_stored(tensors)
    found = by_reference((tmp_path / WEIGHTS).read_bytes())
    assert found == all_stored(tensors) and all(entry.dtype == name for name, entry in found.items())


def test_torch_reads_what_was_written(tmp_path, torch):
    from safetensors.torch import load_file

    write_tensors(tmp_path, TENSORS)
    found = load_file(tmp_path / WEIGHTS)
    assert torch.equal(found["b"], torch.from_numpy(TENSORS["b"]))
    assert found["c"].dtype == torch.bfloat16 and found["c"].float().tolist() == list(range(11))


def test_arrays_of_jax_and_strided_arrays_are_written_as_they_are(tmp_path):
    strided = np.arange(30, dtype=np.int32).reshape(5, 6)[::2, ::-3].T
    write_tensors(tmp_path, {"jax": jnp.arange(7, dtype=jnp.bfloat16), "strided": strided, "list": [1.0, 2.0]})
    opened = open_tensors(tmp_path)
    assert opened.dtype("jax") == ml_dtypes.bfloat16 and opened["jax"].tolist() == list(range(7))
    assert (opened["strided"] == strided).all() and opened["list"].tolist() == [1.0, 2.0]


sizes = st.lists(st.integers(0, 5), max_size=7)


@settings(max_examples=30)
@given(sizes, st.integers(1, 40))
def test_shards_are_bounded_complete_and_in_order(sizes, limit):
    tensors = {f"t{n}": np.full(size, n, np.int16 if n % 2 else np.float64) for n, size in enumerate(sizes)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tensors(folder, tensors, shard_bytes=limit)
        assert all_stored(open_tensors(folder)) == all_stored(tensors)
        total = sum(array.nbytes for array in tensors.values())
        assert (folder / WEIGHTS).exists() == (total <= limit or len(sizes) == 1)
        if (folder / WEIGHTS).exists():
            return
        index = json.loads((folder / INDEX).read_text())
        shards = [index["weight_map"][name] for name in tensors]
        count = len(set(shards))
        assert index["metadata"] == {"total_size": total} and shards == sorted(shards)
        assert set(shards) == {f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)}
        assert {path.name for path in folder.iterdir()} == {INDEX, *shards}
        for shard in set(shards):
            held = [len(entry.data) for entry in by_reference((folder / shard).read_bytes()).values()]
            assert sum(held) <= limit or sum(map(bool, held)) == 1


def test_tensors_begin_where_their_dtype_can_be_read(tmp_path):
    write_tensors(tmp_path, {"odd": np.zeros(3, np.int8), "wide": np.zeros(2, np.float64), "half": np.zeros(1, "f2")})
    opened = open_tensors(tmp_path)
    for name in opened:
        assert opened._stored[name].start % opened.dtype(name).itemsize == 0


def test_arrays_are_asked_for_once_and_held_one_at_a_time(tmp_path):
    alive = []

    def values(n):
        assert all(reference() is None for reference in alive)
        array = np.full((3, 5), n, np.float32)
        alive.append(weakref.ref(array))
        return array

    write_tensors(tmp_path, ((f"t{n}", (3, 5), np.float32, lambda n=n: values(n)) for n in range(7)), shard_bytes=150)
    assert len(alive) == 7
    assert [open_tensors(tmp_path)[f"t{n}"][0, 0] for n in range(7)] == list(range(7))


def test_a_folder_is_copied_from_its_own_files(tmp_path):
    write_tensors(tmp_path, TENSORS, shard_bytes=50)
    assert (tmp_path / INDEX).exists()
    write_tensors(tmp_path, open_tensors(tmp_path))
    assert set(contents(tmp_path)) == {WEIGHTS}
    assert all_stored(open_tensors(tmp_path)) == all_stored(TENSORS)
    before = contents(tmp_path)
    write_tensors(tmp_path, open_tensors(tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("first", [1, 1000])
@pytest.mark.parametrize("second", [30, 1000])
def test_old_weights_go_and_other_files_stay(first, second, tmp_path):
    for name in ("config.json", "model_card.md", "adapter.safetensors"):
        (tmp_path / name).write_text(name)
    write_tensors(tmp_path, {f"old{n}": np.zeros(n) for n in range(5)}, shard_bytes=first)
    write_tensors(tmp_path, TENSORS, shard_bytes=second)
    assert all_stored(open_tensors(tmp_path)) == all_stored(TENSORS)
    names = set(contents(tmp_path))
    assert (WEIGHTS in names) != (INDEX in names)
    assert {"config.json", "model_card.md", "adapter.safetensors"} <= names
    written = set() if WEIGHTS in names else set(json.loads((tmp_path / INDEX).read_text())["weight_map"].values())
    assert {name for name in names if name.startswith("model-")} == written


def broken():
    raise RuntimeError("no such layer")


@pytest.mark.parametrize(
    ("last", "error", "message"),
    [
        (("z", (3,), np.float32, broken), RuntimeError, "no such layer"),
        (
            ("z", (3,), np.float32, lambda: np.zeros(5, np.float32)),
            ValueError,
            r"'z' was announced as float32 \(3,\), ",
        ),
        (("z", (3,), np.float32, lambda: np.zeros(3)), ValueError, r"announced as float32 \(3,\), got float64 \(3,\)"),
        (("z", (3,), np.complex64, broken), ValueError, "tensor 'z': dtype must be one of F64, .*, got complex64"),
        (("a", (3,), np.float32, broken), ValueError, "names must differ .*, got 'a'"),
        (("__metadata__", (3,), np.float32, broken), ValueError, "names must differ .*, got '__metadata__'"),
    ],
)
@pytest.mark.parametrize("shard_bytes", [40, 1000])
def test_an_error_leaves_the_folder_as_it_was(last, error, message, shard_bytes, tmp_path):
    write_tensors(tmp_path, {"old": np.zeros(3)})
    before = contents(tmp_path)
    planned = [(name, array.shape, array.dtype, lambda array=array: array) for name, array in TENSORS.items()]
    with pytest.raises(error, match=message):
        write_tensors(tmp_path, [*planned, last], shard_bytes)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write weights into .*file.*: (File exists|Not a directory)"):
        write_tensors(tmp_path / "file", TENSORS)
    with pytest.raises(ValueError, match="shard_bytes must be positive, got 0"):
        write_tensors(tmp_path, TENSORS, shard_bytes=0)
