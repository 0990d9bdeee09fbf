"""A run folder holds what a run needs, refuses what is not its run, and is never half written."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.config.translate import TranslateConfig
from jaxformer.text.bpe import train_bpe
from jaxformer.training.run import RunFolder, write_whole
from tests.conftest import ROOT

pytestmark = pytest.mark.smoke


@dataclass(frozen=True)
class Config:
    steps: int = 7
    name: str = "é"


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "deep" / "run")
    run.begin(Config(11), {"cores": 2})
    return run


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_began_is_held_with_its_configuration(run):
    assert run.config(Config) == Config(11) and run.holds(Config(11))
    assert json.loads((run.path / "env.json").read_text()) == {"cores": 2}
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "env.json"]


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
def test_nothing_is_held_and_nothing_written_where_a_run_may_begin(tmp_path, there):
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    assert not RunFolder(folder).holds(Config())
    assert list(tmp_path.rglob("*")) == [folder] * there


def test_another_configuration_is_refused_with_the_difference(run):
    before = contents(run.path)
    with pytest.raises(UserError, match=r"another configuration: steps: 11 → 12; name: é → e; choose another --out"):
        run.holds(Config(12, "e"))
    assert contents(run.path) == before


def test_fields_that_are_free_may_differ_and_no_other(run):
    assert run.holds(Config(12), "steps") and run.holds(Config(12, "e"), "steps", "name")
    with pytest.raises(UserError, match=r"another configuration: name: é → e; choose another --out"):
        run.holds(Config(12, "e"), "steps")
    run.keep_config(Config(12))
    assert run.config(Config) == Config(12)


def test_a_folder_is_kept_to_one_until_that_is_left(tmp_path):
    run, other = RunFolder(tmp_path / "deep" / "run"), RunFolder(tmp_path / "deep" / "run")
    with run.locked():
        assert not other.holds(Config()), "what another one begins is not yet a run"
        with pytest.raises(UserError, match="is in use by another process that trains there; wait for it, stop it, or"):
            other.locked().__enter__()
    with other.locked():
        other.begin(Config(), {})
    assert run.holds(Config())


def test_a_process_that_is_killed_keeps_no_folder(tmp_path):
    code = "from jaxformer.training.run import RunFolder; from pathlib import Path; import time\n"
    code += f"with RunFolder(Path({str(tmp_path)!r})).locked():\n    print('locked', flush=True)\n    time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout and process.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match="is in use by another process"):
        RunFolder(tmp_path).locked().__enter__()
    process.kill()
    process.communicate()
    with RunFolder(tmp_path).locked():
        pass


@pytest.mark.parametrize("lacking", ["fcntl", "locks"])
def test_without_locks_nothing_is_kept(tmp_path, monkeypatch, lacking):
    fcntl = pytest.importorskip("fcntl")
    if lacking == "fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        monkeypatch.setattr(fcntl, "flock", lambda file, how: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    with RunFolder(tmp_path).locked(), RunFolder(tmp_path).locked():
        pass


def test_a_file_or_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path):
        with pytest.raises(UserError, match="exists and is not a run folder; choose another --out"):
            RunFolder(path).holds(Config())
    below = RunFolder(tmp_path / "file" / "run")
    for write in (lambda: below.begin(Config(), {}), lambda: below.locked().__enter__()):
        with pytest.raises(UserError, match="cannot be made: Not a directory; choose another --out"):
            write()
    assert contents(tmp_path) == {(tmp_path / "file").relative_to(tmp_path): b"x"}


def test_what_cannot_be_read_is_named(run, tmp_path):
    for path in (tmp_path / "absent", tmp_path, run.config_path):
        with pytest.raises(UserError, match=r"is not a run folder: it has no config\.json"):
            RunFolder(path).config(Config)
    whole = run.config_path.read_bytes()
    for damaged, message in (
        (whole[:-4], "is damaged: .*; restore it or train again"),
        (b"\xff", "is damaged: .*; restore it or train again"),
        (b"[]", r'config\.json does not say of what kind the run is; it needs a "type"$'),
        (
            b'{"type": "TranslateConfig"}',
            "is a run of jaxformer train translate, which cannot be used",
        ),
        (b"[" * 200_000, "is damaged: it is nested too deeply; restore it or train again"),
        (b'{"type": "Config", "step": 3}', r"config\.json: unknown field step; did you mean steps\?"),
    ):
        run.config_path.write_bytes(damaged)
        with pytest.raises(UserError, match=message):
            run.holds(Config(11))
        assert run.config_path.read_bytes() == damaged


def test_a_kind_of_run_that_there_is_not_is_refused_with_those_that_there_are(run):
    run.config_path.write_text('{"type": "Pickle"}')
    with pytest.raises(UserError, match=r"config\.json: type must be one of TranslateConfig, .*, got 'Pickle'$"):
        run.kind()


def test_a_configuration_of_absurd_length_is_refused_before_it_is_read(run):
    with run.config_path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="it has 1,099,511,627,776 bytes, allowed are 67,108,864"):
        run.kind()


def test_every_configuration_is_written_so_that_it_reads_back(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.begin(config := TranslateConfig(data="数据", smoothing=0.1 + 0.2), {})
    assert run.config(TranslateConfig) == config and run.holds(config)


def test_a_tokenizer_is_kept(run):
    tokenizer = train_bpe(["aa bb aa bb"], Bpe(vocabulary=300))
    run.keep_tokenizer(tokenizer)
    assert run.tokenizer().encode("aabb") == tokenizer.encode("aabb") != []
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "env.json", "tokenizer.json"]


def test_metrics_of_later_steps_and_a_half_written_line_are_dropped(run):
    lines = [f'{{"step": {step}, "loss": {step / 3}}}\n' for step in (1, 2, 3, 5)]
    for torn in ("", '{"step": 3, "lo', '{"step": 6, "loss": 2.0}', "{", "\n"):
        run.metrics_path.write_text("".join(lines) + torn)
        run.forget_after(3)
        assert run.metrics_path.read_text() == "".join(lines[:3])


def test_a_whole_line_without_its_end_is_kept_apart_from_the_next(run):
    run.metrics_path.write_text('{"step": 1}\n{"step": 2}')
    run.forget_after(2)
    assert run.metrics_path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_there_may_be_no_metrics_yet(run):
    run.forget_after(0)
    assert not run.metrics_path.exists()


def test_a_file_is_the_old_one_until_it_is_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "old")
    seen = []
    replace = os.replace

    def watched(new, old):
        seen.append((path.read_text(), Path(new).read_text(encoding="utf-8")))
        replace(new, old)

    monkeypatch.setattr(os, "replace", watched)
    write_whole(path, "新")
    assert seen == [("old", "新")] and path.read_text(encoding="utf-8") == "新"
    assert list(tmp_path.iterdir()) == [path]
