"""Whatever happens to a file of a checkpoint is seen before it is used, and the one before it is used instead."""

import errno
import random
import shutil
from dataclasses import replace

import pytest

from jaxformer.config.errors import UserError
from jaxformer.training import manifest
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.loading import check
from jaxformer.training.manifest import NAME, Damaged
from tests.survival.states import abstract, is_of_step, progress_of, state_of, write

ROWS = 31


def flipped(path, rng):
    bits = bytearray(path.read_bytes())
    if bits:
        place = rng.randrange(8 * len(bits))
        bits[place // 8] ^= 1 << place % 8
        path.write_bytes(bits)


def truncated(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(1, max(2, path.stat().st_size))])


def emptied(path, rng):
    path.write_bytes(b"")


def removed(path, rng):
    path.unlink()


WAYS = [flipped, truncated, emptied, removed]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    write(folder, 1, 2, rows=ROWS)
    return folder


@pytest.fixture
def copy(two, tmp_path):
    return shutil.copytree(two, tmp_path / "checkpoints")


def names(step):
    return sorted(path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", WAYS)
def test_damage_to_any_file_is_found(copy, two, thorough, way):
    rng, step, tried = random.Random(way.__name__), copy / "2", 0
    for name in names(step):
        for _ in range(50 if thorough and way in (flipped, truncated) else 1):
            before = (step / name).read_bytes()
            way(step / name, rng)
            # An empty file cannot be emptied, nor one of a byte be cut shorter.
            if way is removed or (step / name).read_bytes() != before:
                tried += 1
                with pytest.raises(Damaged, match=rf"^checkpoint 2 in {copy} is damaged: {name} "):
                    check(step)
            (step / name).write_bytes(before)
    check(step)
    print(f"{way.__name__}: {tried} of {tried} found, in {len(names(step))} files")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [NAME, "_CHECKPOINT_METADATA", "progress/data.json", "model/_METADATA", "array"])
def test_the_newest_whole_step_takes_the_place_of_a_damaged_one(copy, capsys, kind, way):
    files = [path for path in (copy / "2").rglob("*") if path.is_file()]
    array = max(files, key=lambda path: path.stat().st_size)
    path = array if kind == "array" else copy / "2" / kind
    way(path, random.Random(0))
    with Checkpoints(copy) as checkpoints:
        state, progress = checkpoints.restore(abstract(ROWS))
        assert int(state.step) == 1 and is_of_step(state, progress, ROWS)
        name = path.relative_to(copy / "2").as_posix()
        assert checkpoints.best_params(abstract(ROWS).params, averaged=True).step == 1
        assert checkpoints.mean_params(abstract(ROWS).params, averaged=True, count=1).step == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning    checkpoint 2 in {copy} is damaged: {name} ") and line.endswith(
        "; it is not used"
    )


def test_the_newest_takes_the_place_of_a_damaged_best_one(tmp_path, capsys):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(state_of(step, ROWS), replace(progress_of(step), best_step=1))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_params(abstract(ROWS).params, averaged=True).step == 1
    removed(tmp_path / "1" / "model" / "manifest.ocdbt", None)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best_params(abstract(ROWS).params, averaged=True).step == 3
    assert "checkpoint 1 " in capsys.readouterr().err


def test_where_none_is_whole_one_line_says_so(copy, capsys):
    for step in ("1", "2"):
        flipped(copy / step / "rest" / "_METADATA", random.Random(0))
    with Checkpoints(copy) as checkpoints:
        with pytest.raises(UserError, match=f"^no checkpoint in {copy} is whole; bring back a copy of one, or train"):
            checkpoints.restore(abstract(ROWS))
        assert [line.split()[2] for line in capsys.readouterr().err.splitlines()] == ["2", "1"]


def test_a_run_that_goes_on_from_an_older_step_saves_the_damaged_one_anew(copy):
    removed(copy / "2" / "progress" / "data.json", None)
    with Checkpoints(copy) as checkpoints:
        checkpoints.forget_after(int(checkpoints.restore(abstract(ROWS)).state.step))
        assert checkpoints.steps == [1]
    write(copy, 2, rows=ROWS)
    with Checkpoints(copy) as checkpoints:
        assert is_of_step(*checkpoints.restore(abstract(ROWS)), ROWS) and checkpoints.steps == [1, 2]


def test_a_checkpoint_that_cannot_be_read_is_not_used_and_kept_until_a_later_one_is_saved(copy, monkeypatch, capsys):
    def digest(path):
        if path.is_relative_to(copy / "2"):
            raise OSError(errno.EIO, "Input/output error")
        return whole(path)

    with monkeypatch.context() as patch:
        whole = manifest._digest
        patch.setattr(manifest, "_digest", digest)
        with Checkpoints(copy) as checkpoints:
            assert int(checkpoints.restore(abstract(ROWS)).state.step) == 1
            checkpoints.forget_after(1)
    assert "checkpoint 2 in" in (said := capsys.readouterr().err) and "cannot be read: Input/output error; it" in said
    check((copy / "2-set-aside").rename(copy / "7-set-aside"))
    write(copy, 2, rows=ROWS)
    assert sorted(path.name for path in copy.iterdir()) == ["1", "2", "7-set-aside"]
    (copy / "7-set-aside").rename(copy / "2-set-aside")
    write(copy, 3, rows=ROWS)
    assert "2-set-aside" not in [path.name for path in copy.iterdir()]


def test_a_link_in_the_place_of_a_step_is_set_aside_and_not_followed(copy):
    (copy / "2").rename(copy.parent / f"{copy.name}-elsewhere")
    (copy / "2").symlink_to(copy.parent / f"{copy.name}-elsewhere")
    with Checkpoints(copy) as checkpoints:
        checkpoints.forget_after(int(checkpoints.restore(abstract(ROWS)).state.step))
    write(copy, 2, rows=ROWS)
    assert (copy.parent / f"{copy.name}-elsewhere" / "manifest.json").exists()
    assert sorted(path.name for path in copy.iterdir()) == ["1", "2"]


def test_without_its_manifest_and_what_orbax_left_there_a_checkpoint_among_others_is_damaged(copy):
    for name in ("manifest.json", "orbax.checkpoint"):
        (copy / "2" / name).unlink()
    with pytest.raises(Damaged, match=r"manifest\.json is missing"):
        check(copy / "2")


def test_a_surplus_file_is_seen_and_a_hidden_one_is_not(copy):
    (copy / "2" / "model" / ".DS_Store").write_bytes(b"left by a desktop")
    check(copy / "2")
    (copy / "2" / "model" / "array_metadatas" / "process_1").write_bytes(b"{}")
    with pytest.raises(Damaged, match="model/array_metadatas/process_1 does not belong there"):
        check(copy / "2")
