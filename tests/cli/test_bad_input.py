"""Bad input is named in one line, with exit code 2, and everything is left as it was, byte for byte."""

import json
import shutil

import pytest

from tests.cli.toy import contents, pairs, refusal, training, write_corpus, write_split


@pytest.fixture
def place(tmp_path):
    """A folder with a good corpus, and room for a run."""
    write_corpus(tmp_path / "corpus")
    return tmp_path


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the trained run, free to be damaged."""
    shutil.copytree(trained.out, tmp_path / "run")
    return tmp_path / "run"


def refused(capsys, folder, *arguments):
    """The line that the command is refused with, having changed nothing."""
    before = contents(folder)
    line = refusal(capsys, *arguments)
    assert contents(folder) == before
    return line


def no_corpus(data):
    shutil.rmtree(data)
    return f"no folder {data}; a corpus is builtin, hf:NAME, or a folder with train, valid and test"


def a_file_for_a_corpus(data):
    shutil.rmtree(data)
    data.write_text("x")
    return f"{data} is a file; a corpus is the folder that holds train, valid and test"


def no_test_split(data):
    for path in data.glob("test.*"):
        path.unlink()
    return f"{data} has no test split; it needs NAME.tsv, or NAME.en beside NAME.de, with NAME test"


def no_such_language(data):
    for path in data.glob("*.de"):
        path.unlink()
    return f"{data} has no de for the train split; languages there: en"


def empty(data):
    (data / "train.en").write_text("")
    return f"{data / 'train.en'} is empty; it needs one sentence a line"


def blank(data):
    (data / "valid.de").write_text("\n\n")
    return f"{data / 'valid.de'} is empty; it needs one sentence a line"


def unequal(data):
    with (data / "valid.de").open("a") as file:
        file.write("mehr\n")
    return f"aligned files must have equally many lines, got 8 in {data / 'valid.en'} and 9 in {data / 'valid.de'}"


def not_utf8(data):
    lines = (data / "train.de").read_bytes().splitlines(keepends=True)
    lines[2] = "fünf vier drei\n".encode("latin-1")
    (data / "train.de").write_bytes(b"".join(lines))
    return f"{data / 'train.de'}, line 3: not UTF-8 (byte 0xFC at column 2); convert the file with iconv -t utf-8"


def three_columns(data):
    shutil.rmtree(data)
    for name in ("train", "valid", "test"):
        write_split(data, name, pairs(3))
    (data / "valid.tsv").write_text("one\teins\ntwo\tzwei\tdrei\n")
    for path in data.glob("valid.[ed][ne]"):
        path.unlink()
    return f"{data / 'valid.tsv'}, line 2: a line must be source, one tab, target; got 2 tabs in 'two\\tzwei\\tdrei'"


def only_long_ones(data):
    write_split(data, "train", [(" ".join(["one"] * 20), "eins")] * 3)
    return "all 3 sentence pairs are longer than max_length=8 tokens (the shortest has 21); raise max_length"


CORPORA = [
    *(no_corpus, a_file_for_a_corpus, no_test_split, no_such_language, empty, blank),
    *(unequal, not_utf8, three_columns, only_long_ones),
]


@pytest.mark.parametrize("spoil", CORPORA)
def test_a_corpus_that_cannot_be_used(place, capsys, spoil):
    message = spoil(place / "corpus")
    assert refused(capsys, place, *training(place / "corpus", place / "run")) == message


@pytest.mark.parametrize(
    "option, message",
    [
        (
            "batches.tokens=5",
            "the token budget must hold the longest kept sentence, got tokens=5 for a sentence of 6 tokens; "
            "raise tokens to at least 6, or lower max_length to 5",
        ),
        (
            "optimization.accumulate=3",
            "optimization.accumulate must divide the rows of every batch, got accumulate=3 for batches of 40 rows; "
            "lower it, or make the batches larger",
        ),
        (
            "mesh.data=3",
            "mesh sizes must multiply to the number of devices, 8; got data=3, fsdp=1, tensor=1; "
            "with data=-1 the other two need only divide it",
        ),
        ("model.heads=5", "model: width must be a multiple of heads, got width=32, heads=5"),
        ("model.dropout=1", "model: dropout must lie in [0, 1), got dropout=1.0"),
        ("steps=ten", 'steps must be an integer, got "ten"'),
        ("steps=0", "steps must be at least 1, got steps=0"),
        (
            "tokenizer.vocabulary=258",
            "tokenizer: vocabulary must be at least 259 (256 bytes and 3 special marks), got 258",
        ),
        ("target=en", "source and target must be two languages, got 'en' for both"),
        ("data=builtin", "the built-in corpus is between en and zh, got source 'en' and target 'de'"),
        ("stepz=3", "unknown field --stepz; did you mean --steps?"),
        ("model=gru-tyni", "no model is named 'gru-tyni'; did you mean gru-tiny or "),
    ],
)
def test_an_option_that_cannot_be_used(place, capsys, option, message):
    line = refused(capsys, place, *training(place / "corpus", place / "deep" / "run", option))
    assert line.startswith(message) if message.endswith(" ") else line == message


def a_file(place):
    (place / "out").write_text("precious")
    return place / "out", "{out} exists and is not a run folder; choose another --out"


def a_foreign_folder(place):
    (place / "out" / "deep").mkdir(parents=True)
    (place / "out" / "deep" / "thesis.tex").write_text("precious")
    return place / "out", "{out} exists and is not a run folder; choose another --out"


def below_a_file(place):
    (place / "file").write_text("precious")
    return place / "file" / "run", "{out} cannot be made: Not a directory; choose another --out"


def another_kind_of_configuration(place):
    (place / "out").mkdir()
    (place / "out" / "config.json").write_text('{"architectures": ["Bert"]}')
    return place / "out", '{out}/config.json does not say of what kind the run is; it needs a "type"'


@pytest.mark.parametrize("occupy", [a_file, a_foreign_folder, below_a_file, another_kind_of_configuration])
def test_a_place_that_is_taken(place, capsys, occupy):
    out, message = occupy(place)
    line = refused(capsys, place, *training(place / "corpus", out))
    assert line.startswith(message.format(out=out))


def test_another_configuration_in_the_run_folder(trained, capsys):
    line = refused(capsys, trained.out, *training(trained.data, trained.out, "steps=61", "model.norm=PostNorm"))
    assert line == (
        f"{trained.out} holds a run with another configuration: steps: 60 → 61; model.norm: PreNorm() → PostNorm(); "
        "choose another --out, or repeat the options it was started with"
    )


def reconfigured(run, change):
    data = json.loads((run / "config.json").read_text())
    change(data)
    (run / "config.json").write_text(json.dumps(data))


def test_another_corpus_under_the_same_name(copy, tmp_path, capsys):
    data = write_corpus(tmp_path / "corpus")
    write_split(data, "train", pairs(215)[1:201])
    reconfigured(copy, lambda config: config.update(data=str(data)))
    line = refused(capsys, tmp_path, *training(data, copy))
    assert line.startswith(f"the data of this run have changed: {data} gives batches ")
    assert line.endswith("; give it the same corpus, or choose another --out")


def test_a_checkpoint_of_another_model(copy, trained, capsys):
    reconfigured(copy, lambda config: config["model"].update(width=16))
    for arguments in (training(trained.data, copy, "model.width=16"), ["evaluate", str(copy)]):
        line = refused(capsys, copy, *arguments)
        assert line.startswith("checkpoint ") and " does not fit the model: " in line
        assert " has shape " in line and line.endswith("; use the configuration it was trained with")


def test_a_checkpoint_of_another_model_with_weights_of_the_same_shapes(copy, trained, capsys):
    reconfigured(copy, lambda config: config["model"]["position"].update(base=500.0))
    for arguments in (training(trained.data, copy, "model.position.base=500"), ["evaluate", str(copy)]):
        assert refused(capsys, copy, *arguments) == (
            f"the checkpoints of {copy} are of another model: model.position.base: 10000.0 → 500.0; bring back the "
            "configuration they were trained with"
        )


def test_a_checkpoint_without_the_average_that_is_asked_for(copy, trained, capsys):
    reconfigured(copy, lambda config: config["optimization"].update(average={"type": "NoAverage"}))
    for arguments in (training(trained.data, copy, "optimization.average=NoAverage"), ["translate", str(copy), "one"]):
        line = refused(capsys, copy, *arguments)
        assert ": average.params." in line and " is not in the model; use the configuration it was trained" in line


def test_the_tokenizer_of_another_run(copy, trained, capsys):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    last = max(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    del tokenizer["model"]["vocab"][last], tokenizer["model"]["merges"][-1]
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    for arguments in (training(trained.data, copy), ["evaluate", str(copy)]):
        assert " does not fit the model: " in refused(capsys, copy, *arguments)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_damaged_file_of_the_run(copy, trained, capsys, name):
    (copy / name).write_bytes((copy / name).read_bytes()[:-9])
    said = {"config.json": " is damaged: ", "tokenizer.json": " is not a tokenizer: "}
    for arguments in (training(trained.data, copy), ["evaluate", str(copy)], ["inspect", str(copy)]):
        assert refused(capsys, copy, *arguments).startswith(f"{copy / name}{said[name]}")


def test_no_run(tmp_path, capsys):
    for command in ("evaluate", "translate"):
        line = refused(capsys, tmp_path, command, str(tmp_path), "--beams=1")
        assert line == f"{tmp_path} is not a run folder: it has no config.json; give a folder made by jaxformer train"


def test_a_run_without_a_checkpoint(copy, capsys):
    shutil.rmtree(copy / "checkpoints")
    for there in (False, True):
        if there:
            (copy / "checkpoints").mkdir()
        line = refused(capsys, copy, "translate", str(copy), "one")
        assert line == f"{copy} has no checkpoint yet; go on with it: jaxformer train translate --out {copy}"


def test_more_checkpoints_than_there_are(trained, capsys):
    line = refused(capsys, trained.out, "evaluate", str(trained.out), "--average", "99")
    assert line.startswith("cannot average 99 checkpoints, ") and line.endswith("; train with watch.keep=99")


def test_a_corpus_of_other_languages_for_an_evaluation(trained, tmp_path, capsys):
    (tmp_path / "test.en-fr.tsv").write_text("one\tun\n")
    line = refused(capsys, trained.out, "evaluate", str(trained.out), "--data", str(tmp_path))
    assert line == f"{tmp_path} has no de for the test split; languages there: en, fr"
