"""What the reference implementation writes is read bit for bit, and what is malformed is one line and no allocation."""

import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import save as reference

from jaxformer.config.errors import UserError
from jaxformer.weights.safetensors import DTYPES, INDEX, WEIGHTS, open_tensors
from tests.weights.files import all_stored, by_reference, damaged, memory_below, refusal, stored


def raw(shape, dtype, seed=0):
    """Random bytes as an array: every bit pattern may occur."""
    generator = np.random.default_rng(seed)
    high = 2 if dtype == np.bool_ else 256
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return generator.integers(0, high, count, np.uint8).view(dtype).reshape(shape)


def same(left, right):
    return stored(left) == stored(right)


def file_of(header, data=b"", length=None):
    """A file with this header (an object, or the text itself) and these data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


EVERY_DTYPE = {f"layer.{name}": raw((3, 5, 7), dtype, n) for n, (name, dtype) in enumerate(DTYPES.items())}


@pytest.mark.smoke
def test_every_dtype_of_the_reference_is_read_bit_for_bit(tmp_path):
    tensors = EVERY_DTYPE | {"scalar": raw((), np.float32), "empty": raw((2, 0, 3), np.int16)}
    (tmp_path / WEIGHTS).write_bytes(reference(tensors))
    for path in (tmp_path, tmp_path / WEIGHTS, str(tmp_path)):
        opened = open_tensors(path)
        assert set(opened) == set(tensors) and len(opened) == len(tensors)
        for name, array in tensors.items():
            assert opened.shape(name) == array.shape and opened.dtype(name) == array.dtype
            assert same(opened.read(name), array) and same(opened[name], array)


def test_a_tensor_read_is_memory_of_its_own(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(reference({"w": raw((3,), np.float32)}))
    opened = open_tensors(path)
    opened["w"][:] = 0
    assert same(opened["w"], raw((3,), np.float32))
    path.unlink()
    assert "w" in opened and "v" not in opened and opened == opened
    with pytest.raises(KeyError):
        opened.read("v")
    with pytest.raises(UserError, match=r"cannot read .*a\.safetensors: No such file"):
        opened.read("w")


def shards(folder, weight_map, files):
    for name, tensors in files.items():
        (folder / name).write_bytes(reference(tensors))
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))


def test_the_shards_of_an_index_are_one_mapping(tmp_path):
    a, b, c = raw((2, 3), np.float16, 1), raw((5,), np.int64, 2), raw((7, 11), np.float32, 3)
    shards(
        tmp_path,
        {"a": "x-1.safetensors", "b": "x-2.safetensors", "c": "x-1.safetensors"},
        {"x-1.safetensors": {"a": a, "c": c}, "x-2.safetensors": {"b": b}},
    )
    opened = open_tensors(tmp_path)
    assert set(opened) == {"a", "b", "c"}
    assert same(opened["a"], a) and same(opened["b"], b) and same(opened["c"], c)


W = raw((3,), np.float32)
ESCAPES = [
    "../x.safetensors",
    "/etc/x.safetensors",
    "a/x.safetensors",
    "..",
    "",
    "x.bin",
    "x\0.safetensors",
    "x\n",
    "\\x",
]


@pytest.mark.parametrize("shard", ESCAPES)
def test_an_index_cannot_name_a_file_elsewhere(shard, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "x.safetensors").write_bytes(reference({"w": W}))
    shards(folder, {"w": shard}, {})
    with pytest.raises(UserError, match=r"index\.json: a shard must be a \.safetensors file of the same folder, got"):
        open_tensors(folder)


def test_a_link_may_lead_to_the_cache_but_not_elsewhere(tmp_path):
    for home in ("snapshots/main", "elsewhere/main"):
        (folder := tmp_path / home).mkdir(parents=True)
        shards(folder, {"w": "x.safetensors"}, {})
        (folder / "x.safetensors").symlink_to("../../blobs/0123")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0123").write_bytes(reference({"w": W}))
    assert same(open_tensors(tmp_path / "snapshots/main")["w"], W)
    with pytest.raises(UserError, match=r"x\.safetensors is a link that leads out of its folder"):
        open_tensors(tmp_path / "elsewhere/main")


@pytest.mark.parametrize("target", ["x.safetensors", "nowhere"])
def test_a_link_to_nothing_is_missing(target, tmp_path):
    shards(tmp_path, {"w": "x.safetensors"}, {})
    (tmp_path / "x.safetensors").symlink_to(target)
    with pytest.raises(UserError, match=r"the file .*x\.safetensors is missing"):
        open_tensors(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    shards(tmp_path, {"w": "x.safetensors"}, {})
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="missing"):
        open_tensors(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"w": "x.safetensors"}, r"x\.safetensors: tensor 'v' is not listed for this file"),
        ({"w": "x.safetensors", "v": "x.safetensors", "u": "x.safetensors"}, r"tensor 'u' is missing"),
        ({"w": "x.safetensors", "v": "y.safetensors"}, r"x\.safetensors: tensor 'v' is not listed for this file"),
        ({"w": "z.safetensors"}, r"z\.safetensors is missing"),
        ({"w": 3}, "weight_map must name a file for each tensor"),
        ({}, "weight_map must name a file for each tensor"),
        ([], "weight_map must name a file for each tensor"),
    ],
)
def test_index_and_files_must_agree(weight_map, message, tmp_path):
    shards(tmp_path, weight_map, {"x.safetensors": {"w": W, "v": W}, "y.safetensors": {"v": W}})
    with pytest.raises(UserError, match=message):
        open_tensors(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"weight_map": {"w": "x", "w": "y"}}', "\udcff"])
def test_a_broken_index_is_one_clear_line(text, tmp_path):
    (tmp_path / INDEX).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=r"index\.json is not a sound index: .+") as caught:
        open_tensors(tmp_path)
    assert "\n" not in str(caught.value)


F32 = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
MALFORMED = {
    "nothing": (b"", "has 0 bytes"),
    "no header": (b"\1\0\0", "has 3 bytes"),
    "a header longer than the file": (file_of({}, length=1 << 62), f"claims {1 << 62} bytes, but 2 follow"),
    "a header longer by one": (file_of({}, length=3), "claims 3 bytes, but 2 follow"),
    "not JSON": (file_of(b"{hello}"), "Expecting property name"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "can't decode byte 0xff"),
    "half a surrogate": (file_of(b'{"\\ud800": 1}'), "can't encode character"),
    "a list": (file_of(b"[]"), r"must begin with \{, got b'\[\]'"),
    "a space first": (file_of(b" {}"), r"must begin with \{"),
    "very deep": (file_of(b'{"a":' + b"[" * 200_000), "recursion"),
    "a very long number": (file_of(b'{"a":' + b"1" * 10_000 + b"}"), "4300 digits"),
    "a name twice": (file_of(b'{"a": 1, "a": 2}'), "'a' stands twice"),
    "a field twice": (file_of(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "'dtype' stands twice"),
    "metadata that is no text": (file_of({"__metadata__": {"a": 1}}), "__metadata__ must map names to strings"),
    "metadata that is a list": (file_of({"__metadata__": []}), "__metadata__ must map names to strings"),
    "an entry that is none": (file_of({"w": 3}), "tensor 'w': it must have dtype, shape, data_offsets, got 3"),
    "a field missing": (file_of({"w": {"dtype": "F32", "shape": []}}), "tensor 'w': it must have"),
    "a field too many": (file_of({"w": F32 | {"x": 1}}), "tensor 'w': it must have"),
    "an unknown dtype": (file_of({"w": F32 | {"dtype": "F99"}}), "its dtype must be one of .*, got 'F99'"),
    "a dtype that is a list": (file_of({"w": F32 | {"dtype": []}}), r"its dtype must be .*, got \[\]"),
    "a wrong dtype": (file_of({"w": F32 | {"dtype": "F64"}}, bytes(12)), r"12 bytes, but F64 of shape \[3\] takes 24"),
    "a negative size": (file_of({"w": F32 | {"shape": [-3]}}), r"whole numbers, got \[-3\]"),
    "a fraction": (file_of({"w": F32 | {"shape": [3.0]}}), r"whole numbers, got \[3\.0\]"),
    "a truth value": (file_of({"w": F32 | {"shape": [True, 3]}}), r"whole numbers, got \[True, 3\]"),
    "a number as shape": (file_of({"w": F32 | {"shape": 3}}), "whole numbers, got 3"),
    "too many dimensions": (file_of({"w": F32 | {"shape": [1] * 33}}), "at most 32 whole numbers"),
    "a size beyond 64 bits": (file_of({"w": F32 | {"shape": [1 << 64]}}), "whole numbers"),
    "sizes that overflow": (file_of({"w": F32 | {"shape": [1 << 32, 1 << 32]}}), "too large"),
    "sizes that overflow beside a zero": (
        file_of({"w": {"dtype": "F32", "shape": [0, 1 << 40, 1 << 40], "data_offsets": [0, 0]}}),
        "too large",
    ),
    "three offsets": (file_of({"w": F32 | {"data_offsets": [0, 12, 24]}}), "must be a begin and an end"),
    "offsets backwards": (file_of({"w": F32 | {"data_offsets": [12, 0]}}), "must be a begin and an end"),
    "offsets beyond the file": (file_of({"w": F32}, bytes(11)), "tensor 'w': its data end at byte 12 of 11"),
    "an overlap": (
        file_of({"w": F32, "v": F32 | {"data_offsets": [8, 20]}}, bytes(20)),
        "tensor 'v' overlaps the tensor before it: it begins at byte 8, expected 12",
    ),
    "the same bytes twice": (file_of({"w": F32, "v": F32}, bytes(12)), "overlaps the tensor before it"),
    "a hole": (
        file_of({"w": F32, "v": F32 | {"data_offsets": [16, 28]}}, bytes(28)),
        "tensor 'v' leaves a hole before it: it begins at byte 16, expected 12",
    ),
    "a hole at the beginning": (file_of({"w": F32 | {"data_offsets": [4, 16]}}, bytes(16)), "leaves a hole"),
    "bytes left over": (file_of({"w": F32}, bytes(13)), "take 12 bytes, but 13 follow"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_one_clear_line_and_no_allocation(fault, tmp_path):
    content, message = MALFORMED[fault]
    line = refusal(open_tensors, tmp_path / "bad.safetensors", content, memory=4_000_000)
    assert re.search(rf"bad\.safetensors is not a sound safetensors file: .*{message}", line), line


def test_opening_takes_memory_for_headers_only(tmp_path):
    path = tmp_path / "large.safetensors"
    size = 1 << 36
    with path.open("wb") as file:
        file.write(file_of({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}))
        file.truncate(file.tell() + size)  # a sparse file
    with memory_below(1_000_000):
        assert open_tensors(path).shape("w") == (size // 4,)


def test_truth_values_are_checked_when_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of({"w": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}, b"\1\2"))
    with pytest.raises(UserError, match="tensor 'w' is BOOL, but has bytes other than 0 and 1"):
        open_tensors(path).read("w")


def test_a_file_cut_short_after_it_was_opened_is_one_clear_line(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(reference({"w": W}))
    opened = open_tensors(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(UserError, match=r"a\.safetensors changed while it was open: 12 bytes wanted at \d+, got 11"):
        opened.read("w")


SOUND = reference({"a": raw((2, 3), np.float16, 1), "b": raw((5,), np.int32, 2), "empty": raw((0,), np.int8)})


@given(damaged(SOUND))
def test_a_corrupted_file_is_refused_or_read_as_the_reference_reads_it(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(content)
        try:
            opened = open_tensors(path)
            ours = {name: opened.read(name) for name in opened}
        except UserError:
            return
    assert all_stored(ours) == by_reference(content)


def test_pickles_are_never_opened_and_the_message_converts_them(tmp_path, monkeypatch, torch):
    first, second = torch.arange(6.0).reshape(2, 3), torch.ones(5, dtype=torch.bfloat16)
    torch.save({"a": first.T, "tied": first}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": second}, tmp_path / "pytorch_model-00002-of-00002.bin")
    torch.save({}, tmp_path / "training_args.bin")
    with pytest.raises(UserError, match=r"pickled.*never opened.*convert it") as caught:
        open_tensors(tmp_path)
    with pytest.raises(UserError, match=r"pickled \(training_args\.bin\)"):
        open_tensors(tmp_path / "training_args.bin")
    monkeypatch.chdir(tmp_path)
    exec(re.search(r'python -c "(.*)"', str(caught.value)).group(1), {})
    opened = open_tensors(tmp_path)
    assert same(opened["a"], first.numpy().T) and same(opened["tied"], first.numpy())
    assert opened["b"].astype(np.float32).tolist() == [1.0] * 5


def test_a_file_name_cannot_slip_a_command_into_the_message(tmp_path):
    (tmp_path / "$(touch x).bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"pickled \(pytorch_model\.bin\)") as caught:
        open_tensors(tmp_path)
    assert "touch" not in str(caught.value)


def test_what_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"no file or folder .*absent"):
        open_tensors(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no weights in .*; expected model\.safetensors"):
        open_tensors(tmp_path)
