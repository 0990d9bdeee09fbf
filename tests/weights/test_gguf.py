"""GGUF files are read as their own package reads them; what is malformed is one line and no allocation."""

import os
import re
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from jaxformer.config.errors import UserError
from jaxformer.weights.gguf import open_gguf
from tests.real import smollm
from tests.weights.files import damaged, refusal

gguf = pytest.importorskip("gguf")

KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")


def packed(kind, rows, width, seed=0):
    """Random rows of numbers stored as `kind`: every pattern of bits that stands for finite numbers may occur."""
    generator = np.random.default_rng(seed)
    if kind in ("Q4_K", "Q6_K"):
        numbers, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        blocks = generator.integers(0, 256, (rows, width // numbers, size), np.uint8)
        # Only the half-precision scales could be infinite.
        scales = {"Q4_K": (0, 2), "Q6_K": (208,)}[kind]
        for place in scales:
            scale = generator.normal(size=blocks.shape[:2]).astype("<f2")
            blocks[:, :, place : place + 2] = scale[..., None].view(np.uint8)
        return blocks.reshape(rows, -1)
    return gguf.quantize(generator.normal(size=(rows, width)).astype(np.float32), gguf.GGMLQuantizationType[kind])


def write(path, tensors, **metadata):
    """A file by the package itself. tensors: name → (packed rows, kind, or None for plain arrays)."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        add = writer.add_array if isinstance(value, list) else writer.add_string
        add(key.replace("__", "."), value)
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=kind and gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# What the bytes of a block mean, number by number


def _half(block, place):
    return float(np.frombuffer(block[place : place + 2].tobytes(), "<f2")[0])


def q8_0(block):
    return [_half(block, 0) * int(np.int8(byte)) for byte in block[2:].view(np.int8)]


def _nibbles(data):
    return [byte & 15 for byte in data.tolist()] + [byte >> 4 for byte in data.tolist()]


def q4_0(block):
    return [_half(block, 0) * (nibble - 8) for nibble in _nibbles(block[2:])]


def q4_1(block):
    return [_half(block, 0) * nibble + _half(block, 2) for nibble in _nibbles(block[4:])]


def q6_k(block):
    """256 numbers: 4 low bits, 2 high bits, a scale of 8 bits for every 16 of them, one half for all."""
    low, high, scales, scale = block[:128], block[128:192], block[192:208].view(np.int8), _half(block, 208)
    numbers = []
    for n in range(256):
        half, rest = divmod(n, 128)
        quarter, place = divmod(rest, 32)
        nibble = (int(low[64 * half + 32 * (quarter % 2) + place]) >> (4 * (quarter // 2))) & 15
        top = (int(high[32 * half + place]) >> (2 * quarter)) & 3
        numbers.append(scale * int(scales[n // 16]) * ((nibble | top << 4) - 32))
    return numbers


def q4_k(block):
    """256 numbers: 4 bits, and for every 32 a scale and a minimum of 6 bits, each with one half for all."""
    scale, minimum, bits, data = _half(block, 0), _half(block, 2), [int(b) for b in block[4:16]], block[16:]
    numbers = []
    for group in range(8):
        if group < 4:
            s, m = bits[group] & 63, bits[group + 4] & 63
        else:
            s = (bits[group + 4] & 15) | (bits[group - 4] >> 6 << 4)
            m = (bits[group + 4] >> 4) | (bits[group] >> 6 << 4)
        part = data[32 * (group // 2) : 32 * (group // 2) + 32]
        numbers += [scale * s * ((int(b) >> 4 * (group % 2)) & 15) - minimum * m for b in part]
    return numbers


FORMULAS = {"Q8_0": (q8_0, 34), "Q4_0": (q4_0, 18), "Q4_1": (q4_1, 20), "Q4_K": (q4_k, 144), "Q6_K": (q6_k, 210)}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_package(kind, tmp_path):
    rows = packed(kind, 3 * 5, 256 * 2)
    path = write(tmp_path / "a.gguf", {"w": (rows.reshape(3, 5, -1), kind)})
    opened = open_gguf(path)
    assert opened.shape("w") == (3, 5, 512) and opened.dtype("w") == np.float32
    expected = gguf.dequantize(rows.view(np.uint8), gguf.GGMLQuantizationType[kind]).reshape(3, 5, 512)
    found = opened.read("w")
    assert found.dtype == np.float32 and np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", FORMULAS)
def test_numbers_are_those_of_the_formula(kind, tmp_path):
    rows = packed(kind, 3, 256, seed=1)
    formula, size = FORMULAS[kind]
    found = open_gguf(write(tmp_path / "a.gguf", {"w": (rows, kind)})).read("w")
    expected = [np.concatenate([formula(block) for block in row.reshape(-1, size)]) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_tensors_keep_name_order_and_shape(tmp_path):
    arrays = {
        "one": np.arange(11, dtype=np.float32),
        "two": np.arange(6, dtype=np.float16).reshape(2, 3),
        "four": np.arange(210, dtype=np.float32).reshape(2, 3, 5, 7),
    }
    path = write(tmp_path / "a.gguf", {name: (array, None) for name, array in arrays.items()})
    opened = open_gguf(str(path))
    assert list(opened) == list(arrays)
    for name, array in arrays.items():
        assert opened.shape(name) == array.shape
        np.testing.assert_array_equal(opened[name], array)


def test_a_tensor_longer_than_what_is_read_at_a_time(tmp_path):
    array = np.random.default_rng(0).normal(size=(5, 400_009)).astype(np.float16)
    found = open_gguf(write(tmp_path / "a.gguf", {"w": (array, None)})).read("w")
    np.testing.assert_array_equal(found, array.astype(np.float32))


def test_metadata_are_plain_values(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    values = {
        "uint8": 200, "int8": -100, "uint16": 60_000, "int16": -30_000, "uint32": 4_000_000_000,
        "int32": -2_000_000_000, "uint64": 1 << 63, "int64": -(1 << 62), "float32": 1e-5, "float64": 1e-300,
        "bool": True, "string": "猫\n", "array": ["a", "é", ""],
    }  # fmt: skip
    for kind, value in values.items():
        getattr(writer, f"add_{kind}")(f"key.{kind}", value)
    writer.add_array("key.numbers", [1, -2, 3])
    writer.add_array("key.truths", [True, False])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata = open_gguf(tmp_path / "a.gguf").metadata
    expected = {f"key.{kind}": value for kind, value in values.items()}
    expected |= {"key.numbers": [1, -2, 3], "key.truths": [True, False], "general.architecture": "llama"}
    assert metadata == expected
    assert {key: type(value) for key, value in metadata.items()} == {k: type(v) for k, v in expected.items()}


# Malformed files, byte by byte


def text(value):
    encoded = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def info(name, dims, kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def file_of(entries=(), infos=(), data=b"", magic=b"GGUF", version=3, tensors=None, keys=None, alignment=32):
    counts = (len(infos) if tensors is None else tensors, len(entries) if keys is None else keys)
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join([*entries, *infos])
    return head + bytes(-len(head) % alignment) + data


HUGE = 1 << 62
Q = struct.pack
SOUND = file_of(
    [
        entry("general.architecture", 8, text("llama")),
        entry("n", 4, Q("<I", 7)),
        entry("l", 9, Q("<IQ2i", 5, 2, 3, -4)),
    ],
    [info("w", [3, 5]), info("v", [32, 2], 8, 64)],
    np.arange(15, dtype=np.float32).tobytes() + bytes(4) + bytes(68),
)
MALFORMED = {
    "nothing": (b"", "the mark GGUF at byte 0 should take at least 4 bytes, but the file has 0"),
    "another mark": (file_of(magic=b"GGML"), "does not begin with GGUF"),
    "the mark alone": (b"GGUF", "the version at byte 4"),
    "an old version": (file_of(version=1), "version must be 2 or 3, little-endian, got 1"),
    "the other byte order": (file_of(version=3 << 24), "little-endian, got 50331648"),
    "very many tensors": (file_of(tensors=HUGE), f"0 entries and {HUGE} tensors at byte 24"),
    "very many entries": (file_of(keys=HUGE), f"{HUGE} entries and 0 tensors at byte 24"),
    "a very long key": (file_of([Q("<Q", HUGE) + bytes(5)]), f"a metadata key at byte 32 should take at least {HUGE}"),
    "a very long string": (file_of([entry("k", 8, Q("<Q", HUGE))]), "'k' at byte 45"),
    "very many strings": (file_of([entry("k", 9, Q("<IQ", 8, HUGE))]), f"'k' claims {HUGE} values, at most"),
    "more strings than there are": (file_of([entry("k", 9, Q("<IQ", 8, 4_000_000))]), "at least 32000000 bytes"),
    "very many numbers": (file_of([entry("k", 9, Q("<IQ", 12, HUGE))]), "at most 4194304 are read"),
    "more numbers than there are": (file_of([entry("k", 9, Q("<IQ", 12, 4_000_000))]), "at least 32000000 bytes"),
    "a list of lists": (file_of([entry("k", 9, Q("<IQ", 9, 1) + bytes(12))]), "'k' has an unknown type 9"),
    "an unknown type": (file_of([entry("k", 13, bytes(8))]), "'k' has an unknown type 13"),
    "half a truth": (file_of([entry("k", 7, b"\2")]), "'k' should be true or false, got 2"),
    "a key that is no text": (file_of([entry(b"\xff", 7, b"\1")]), "can't decode byte 0xff"),
    "a key twice": (file_of([entry("k", 7, b"\1")] * 2), "metadata has 'k' twice"),
    "an alignment of 0": (file_of([entry("general.alignment", 4, Q("<I", 0))]), "must be a power of two, got 0"),
    "an alignment of 24": (file_of([entry("general.alignment", 4, Q("<I", 24))]), "must be a power of two, got 24"),
    "an alignment in words": (file_of([entry("general.alignment", 8, text("x"))]), "power of two, got 'x'"),
    "a part": (file_of([entry("split.count", 2, Q("<H", 3))]), "part of a split model; join the parts"),
    "a very long name": (file_of([], [Q("<Q", HUGE) + bytes(40)]), "a tensor's name at byte 32"),
    "no dimension": (file_of([], [info("w", [])], bytes(32)), "tensor 'w' must have 1 to 4 dimensions, got 0"),
    "very many dimensions": (file_of([], [text("w") + Q("<I", 1 << 31) + bytes(40)]), "got 2147483648"),
    "a dimension of 0": (file_of([], [info("w", [0, 3])]), r"tensor 'w' of shape \[3, 0\] must have positive"),
    "very large dimensions": (file_of([], [info("w", [HUGE, HUGE])], bytes(32)), "tensor 'w' ends at byte"),
    "a row that is no block": (file_of([], [info("w", [31], 8)], bytes(34)), "the last a multiple of 32 for Q8_0"),
    "another kind": (file_of([], [info("w", [256], 10)], bytes(84)), "tensor 'w' is stored as Q2_K, but only F32, "),
    "an unknown kind": (file_of([], [info("w", [256], 99)], bytes(84)), "tensor 'w' is stored as unknown type 99"),
    "a name twice": (file_of([], [info("w", [8]), info("w", [8], 0, 32)], bytes(64)), "a tensor 'w' twice"),
    "an overlap": (file_of([], [info("w", [9]), info("v", [8], 0, 32)], bytes(96)), "'v' begins at byte 32 .* 64"),
    "a hole": (file_of([], [info("w", [8]), info("v", [8], 0, 64)], bytes(96)), "'v' begins at byte 64 .* 32"),
    "an offset beyond the file": (file_of([], [info("w", [8], 0, HUGE)], bytes(32)), f"begins at byte {HUGE}"),
    "data cut short": (file_of([], [info("w", [8])], bytes(31)), r"'w' ends at byte 96, but the file has 95"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_one_clear_line_and_no_allocation(fault, tmp_path):
    content, message = MALFORMED[fault]
    line = refusal(open_gguf, tmp_path / "bad.gguf", content, memory=1_000_000)
    assert re.search(rf"bad\.gguf is not a sound GGUF file: .*{message}", line), line


def test_a_sound_file_made_by_hand_is_read(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(SOUND)
    opened = open_gguf(path)
    assert opened.metadata == {"general.architecture": "llama", "n": 7, "l": [3, -4]}
    np.testing.assert_array_equal(opened["w"], np.arange(15).reshape(5, 3))
    assert opened["v"].shape == (2, 32)


@pytest.mark.parametrize("alignment", [8, 64])
def test_data_begin_where_the_alignment_says(alignment, tmp_path):
    path = tmp_path / "a.gguf"
    aligned = [entry("general.alignment", 4, Q("<I", alignment))]
    data = np.arange(5, dtype=np.float32).tobytes()
    infos = [info("w", [5]), info("v", [5], 0, -(-20 // alignment) * alignment)]
    path.write_bytes(file_of(aligned, infos, data + bytes(-20 % alignment) + data, alignment=alignment))
    opened = open_gguf(path)
    assert opened["w"].tolist() == opened["v"].tolist() == [0, 1, 2, 3, 4]


@given(damaged(SOUND))
def test_a_corrupted_file_is_refused_or_read(content):
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        path = Path(folder) / "a.gguf"
        path.write_bytes(content)
        try:
            opened = open_gguf(path)
        except UserError:
            return
        for name, array in opened.items():
            assert array.shape == opened.shape(name) and array.nbytes <= 4 * 32 * len(content)


def test_a_file_cut_short_after_it_was_opened_is_one_clear_line(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(SOUND)
    opened = open_gguf(path)
    os.truncate(path, len(SOUND) - 1)
    with pytest.raises(UserError, match=r"a\.gguf changed while it was open"):
        opened.read("v")


def test_what_is_missing_is_one_clear_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no file .*absent\.gguf"):
        open_gguf(tmp_path / "absent.gguf")
    (tmp_path / "a.gguf").write_bytes(SOUND)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"reading .*a\.gguf needs the package gguf: pip install gguf"):
        open_gguf(tmp_path / "a.gguf")


def test_a_real_model_is_read():
    path = smollm()
    opened = open_gguf(path)
    assert opened.metadata["general.architecture"] == "llama" and opened.metadata["llama.block_count"] == 30
    assert len(opened) == 2 + 30 * 9
    assert opened.shape("token_embd.weight") == (49152, 576) and opened.shape("blk.29.attn_k.weight") == (192, 576)
    stored = opened._stored["blk.7.attn_k.weight"]
    found = opened.read("blk.7.attn_k.weight")
    with path.open("rb") as file:
        file.seek(stored.start)
        blocks = np.frombuffer(file.read(3 * 18 * 20), np.uint8).reshape(-1, 20)
    np.testing.assert_allclose(found[:3].reshape(-1, 32), [q4_1(block) for block in blocks], rtol=1e-5, atol=1e-6)
    assert 0.01 < found.std() < 1
