"""Commands, exit codes and help, without any run."""

import os
import signal
import subprocess
import sys

import pytest

from jaxformer import cli
from jaxformer.cli.keeping import CACHE, CACHE_SIZE, KEEP_MEMORY, TUNABLES, keep_compiled
from jaxformer.config.errors import FAILED
from jaxformer.config.presets import PRESETS
from jaxformer.recipes.reproduce import Interrupted
from jaxformer.training.run import JOBS
from tests.cli.toy import ROOT, process, refusal

pytestmark = pytest.mark.smoke

COMMANDS = [f"train {job}" for job in JOBS.values()]
COMMANDS += ["evaluate", "translate", "inspect", "generate", "chat", "classify", "fill", "embed", "export", "bench"]
COMMANDS += ["reproduce"]


def answered(words, code="from jaxformer.cli import main; main()"):
    """A command in a new process, and which of the heavy libraries it imported."""
    report = "import atexit, sys; atexit.register(lambda: print(sorted({'jax', 'flax', 'torch'} & set(sys.modules)))); "
    command = [sys.executable, "-c", report + code, *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    out, _, imported = result.stdout.rstrip("\n").rpartition("\n")
    return result.returncode, out, result.stderr, imported


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command_comes_without_jax(command):
    code, out, err, imported = answered([*command.split(), "--help"])
    assert (code, err, imported) == (0, "", "[]")
    assert out.startswith(f"usage: jaxformer {command or 'COMMAND'}")


def test_help_says_every_field_and_how_to_write_it(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run(["train", "translate", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"--{field} " in out for field in ("out", "until", "data", "steps", "model.width", "watch.patience"))
    assert "--model.bias {True,False}" in out
    with pytest.raises(SystemExit):
        cli.run(["train", "translate", "--model", "lstm-attention-tiny", "--help"])
    out = capsys.readouterr().out
    assert "--model.attention.width " in out and "--model.heads " not in out


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["train", "--help"]])
def test_the_overview_names_every_command_and_model(words, capsys):
    assert cli.run(words) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in [*COMMANDS, *PRESETS])


def test_version(capsys, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"jaxformer": "3.7.11"}.get)
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == "jaxformer 3.7.11\n"


@pytest.mark.parametrize(
    "words, message",
    [
        (["trian", "translate"], "no command 'trian translate'; did you mean train translate?"),
        (["transalte", "runs/x"], "no command 'transalte runs/x'; did you mean translate?"),
        (["train"], "no command 'train'; the commands are train translate, train "),
        (["evaluate"], "Missing from jaxformer evaluate: PATH A run folder. (required); jaxformer evaluate --help"),
        (["evaluate", "x", "--split", "dev"], "invalid choice 'dev' for argument '--split'. Expected one of ("),
        (["evaluate", "x", "--beams", "two"], "Error parsing --beams: "),
        (["evaluate", "x", "--beams", "0"], "Error parsing Evaluate: beams must be at least 1, got beams=0; "),
        (["evaluate", "x", "--alpha=-1"], "Error parsing Evaluate: alpha must be at least 0, got alpha=-1.0; "),
        (["evaluate", "x", "--average", "-1"], "Error parsing Evaluate: average must be at least 1, got average=-1; "),
        (["evaluate", "x", "--splt", "test"], "Unrecognized options: --splt"),
        (["translate", "x", "--beams=0"], "Error parsing Translate: beams must be at least 1, got beams=0; "),
        (["translate", "x", "--attention", "a.png"], "--attention draws one sentence, got 0; give one as an argument"),
        (["translate", "x", "a", "b", "--attention", "a.png"], "--attention draws one sentence, got 2; "),
        (["translate", "x", b"caf\xe9".decode(errors="surrogateescape")], r"text must be UTF-8, got b'caf\xe9'; "),
        (["generate", "x", "y", "--max-tokens=0"], "Error parsing Generate: max_tokens must be at least 1, got "),
        (["generate", "x", "y", "--top-p=0"], "top_p must lie in (0, 1], got top_p=0.0; jaxformer generate --help "),
        (["chat", "x", "--temperature=-1"], "temperature must be finite and not negative, got temperature=-1.0; "),
        (["generate", "x", "y", "--stop", ""], "Error parsing Generate: --stop must not be empty; "),
        (["inspect", "transformer-tyni"], "no model is named 'transformer-tyni'; did you mean transformer-tiny"),
        (["inspect", "gru-tiny", "--length", "0"], "Error parsing Inspect: length must be at least 1, got length=0; "),
        (["bench"], "bench needs the name of a benchmark, got nothing; there are "),
        (["bench", "speed"], "no benchmark 'speed'; there are "),
        (["reproduce", "ordr"], "no experiment 'ordr'; did you mean order?"),
        (["train", "translate", "extra"], "Unrecognized options: extra; jaxformer train translate --help lists"),
        (["train", "translate", "--until=0"], "Error parsing Train: until must be at least 1, got until=0; "),
        (["train", "translate", "--until", "x"], "Error parsing --until: "),
        (["train", "translate", "--stpes", "3"], "unknown field --stpes; did you mean --steps?"),
        (["train", "translate", "model.head=3"], "unknown field --model.head; did you mean --model.heads?"),
        (["train", "translate", "--dropout", "0"], "unknown field --dropout; did you mean --model.dropout?"),
        (["train", "translate", "--model.no-bias"], "unknown field --model.no-bias; did you mean --model.bias?"),
        (["train", "translate", "xyzzy=3"], "unknown field --xyzzy; jaxformer train translate --help lists them"),
    ],
)
def test_wrong_usage_is_told_in_one_line(words, message, capsys):
    assert refusal(capsys, *words).startswith(message)


def test_a_traceback_comes_only_with_debug(capsys):
    assert cli.run(["evaluate", "nowhere", "--debug"]) == 2
    *trace, last = capsys.readouterr().err.splitlines()
    assert trace[0].startswith("Traceback") and last.startswith("jaxformer: nowhere is not a run folder")
    assert refusal(capsys, "evaluate", "nowhere") == last.removeprefix("jaxformer: ")


@pytest.mark.parametrize("error, code", [(KeyboardInterrupt(), 130), (RuntimeError("why"), 1), (ValueError(), 1)])
def test_exit_codes_of_what_goes_wrong(error, code, capsys, monkeypatch):
    def failing(arguments):
        raise error

    monkeypatch.setitem(cli.COMMANDS, ("inspect",), (failing, ""))
    assert cli.run(["inspect"]) == code
    out, err = capsys.readouterr()
    lines = {"KeyboardInterrupt": "", "RuntimeError": "RuntimeError: why", "ValueError": "ValueError: no message"}
    told = lines[type(error).__name__]
    assert out == "" and err == (f"jaxformer: {told} (--debug shows where)\n" if told else "")


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-c", "from jaxformer.cli import main; main()", "--help"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (0, "")
    process.stderr.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
@pytest.mark.parametrize(
    ("given", "then"),
    [
        ("", ":".join(KEEP_MEMORY)),
        (
            "glibc.malloc.mmap_max=9",
            ":".join(["glibc.malloc.mmap_max=9", *(s for s in KEEP_MEMORY if "mmap_max" not in s)]),
        ),
        (":".join(KEEP_MEMORY), None),
    ],
    ids=["nothing", "a part", "all"],
)
def test_a_training_begins_anew_with_memory_that_is_kept_unless_told_otherwise(given, then, monkeypatch):
    monkeypatch.setenv(TUNABLES, given)
    monkeypatch.setattr(sys, "argv", ["jaxformer", "train", "translate", "--nonsense"])
    begun = []
    monkeypatch.setattr(os, "execv", lambda *command: begun.append((command, os.environ[TUNABLES])))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        cli.main()
    assert begun == ([] if then is None else [((sys.executable, sys.orig_argv), then)])


FAULTS = """
import resource, sys
import jax, jax.numpy as jnp
from jaxformer.cli.keeping import compute_here

if sys.argv[1] == "here":
    compute_here()

@jax.jit
@jax.grad
def step(w, x):
    for _ in range(6):
        x = jnp.tanh(x @ w)  # 16 MB, which the gradient wants again
    return x.sum()

w, x, faults = jnp.ones((40, 40)) / 40, jnp.ones((100_000, 40)), []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(step(w, x))
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[2:]))  # A kernel short of memory may take pages back in between.
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_temporaries_of_a_step_are_kept_for_the_next_one_in_the_thread_that_calls_it_and_not_elsewhere():
    here, elsewhere = (int(process(where, code=FAULTS).stdout) for where in ("here", "elsewhere"))
    assert elsewhere > 20 and here < elsewhere / 10


def test_a_training_computes_in_the_thread_that_calls(monkeypatch, capsys):
    def before_all_else():
        raise ZeroDivisionError("asked for")

    monkeypatch.setattr(cli.training, "compute_here", before_all_else)
    assert cli.run(["train", "translate", "--data", "nowhere"]) == FAILED and "asked for" in capsys.readouterr().err


def test_compiled_programs_are_kept_in_the_users_cache_unless_told_otherwise(monkeypatch, tmp_path):
    for name in (CACHE, CACHE_SIZE):
        monkeypatch.setenv(name, "")  # so that what is set now is taken back later
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled()
    assert os.environ[CACHE_SIZE] == str(2**30)
    if sys.platform == "linux":
        assert os.environ[CACHE].startswith(str(tmp_path / "jaxformer" / "compiled"))
    monkeypatch.setenv(CACHE, "")
    keep_compiled()
    assert os.environ[CACHE] == ""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a program and a helper in each of its folders."""
    for folder in ("benchmarks", "experiments"):
        (tmp_path / folder).mkdir()
        program = 'import sys\nif __name__ == "__main__":\n    print(sys.argv[1:])\n'
        (tmp_path / folder / "some_question.py").write_text(program)
        (tmp_path / folder / "helper.py").write_text("")
    monkeypatch.setattr("jaxformer.cli.repository.ROOT", tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "argv", [])
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_benchmark_is_run_with_its_options(repository, capsys):
    assert cli.run(["bench", "some-question", "--quick", "3"]) == 0
    assert capsys.readouterr().out == "['--quick', '3']\n"
    assert refusal(capsys, "bench", "helper") == "no benchmark 'helper'; there are some-question"
    assert refusal(capsys, "bench", "some_qestion") == "no benchmark 'some_qestion'; did you mean some-question?"


@pytest.mark.parametrize("fine, code", [(True, 0), (False, 1)])
@pytest.mark.parametrize("names", [[], ["some-question"]])
def test_experiments_are_reproduced_all_or_those_named(repository, monkeypatch, names, fine, code):
    asked = []

    def toy(files, *, quick):
        asked.append((files, quick))
        return fine

    monkeypatch.setattr("jaxformer.recipes.reproduce.reproduce", toy)
    assert cli.run(["reproduce", *names, "--quick"]) == code
    assert asked == [({"some-question": repository / "experiments" / "some_question.py"}, True)]


def test_who_interrupts_experiments_is_told_how_they_go_on(repository, monkeypatch, capsys):
    def toy(files, *, quick):
        raise Interrupted(["some-question", "other"])

    monkeypatch.setattr("jaxformer.recipes.reproduce.reproduce", toy)
    assert cli.run(["reproduce", "--quick"]) == 130
    assert capsys.readouterr().err == (
        "jaxformer: interrupted; this goes on from what is finished: jaxformer reproduce some-question other --quick\n"
    )


def test_an_experiment_that_is_not_there_is_told_with_the_nearest(repository, capsys):
    assert refusal(capsys, "reproduce", "some-qestion") == "no experiment 'some-qestion'; did you mean some-question?"
    assert refusal(capsys, "reproduce", "helper") == "no experiment 'helper'; there are some-question"
    (repository / "experiments" / "some_question.py").unlink()
    assert refusal(capsys, "reproduce").startswith(f"no experiments in {repository / 'experiments'}; they come with")
