"""A checkpoint of a stranger, made to do harm and with a manifest that fits it, runs nothing and leads nowhere."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import tensorstore

from jaxformer.config.errors import UserError
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.manifest import NAME, Damaged, _text, write_manifest
from tests.survival.states import abstract, is_of_step, write

ROWS = 31


@pytest.fixture
def step(tmp_path):
    """The folder of a checkpoint of step 1, beside one of another run."""
    write(tmp_path / "other", 1, rows=ROWS)
    write(tmp_path / "checkpoints", 1, rows=ROWS)
    return tmp_path / "checkpoints" / "1"


def restored(step):
    with Checkpoints(step.parent) as checkpoints:
        return checkpoints.restore(abstract(ROWS), 1)


class Harm:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_never_opened(step, tmp_path):
    harm = Harm(tmp_path / "harmed")
    (step / "model" / "params.pkl").write_bytes(pickle.dumps(harm))
    np.save(step / "model" / "params.npy", np.array([harm], object), allow_pickle=True)
    write_manifest(step)
    assert is_of_step(*restored(step), ROWS)
    assert not (tmp_path / "harmed").exists()
    pickle.loads(pickle.dumps(harm))
    assert (tmp_path / "harmed").exists(), "the pickle does no harm, so that this test shows nothing"


@pytest.mark.parametrize("name", ["progress/data.json", "model/_METADATA", "rest/manifest.ocdbt"])
def test_a_pickle_in_the_place_of_a_file_is_not_opened(step, tmp_path, name):
    (step / name).write_bytes(pickle.dumps(Harm(tmp_path / "harmed")))
    write_manifest(step)
    with pytest.raises(Damaged, match=r"^checkpoint 1 in [^\n]*$"):
        restored(step)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["../../other/1/model/_METADATA", "/etc/hostname", "model/../model/_METADATA"])
def test_a_path_in_a_manifest_is_not_followed(step, name):
    files = json.loads((step / NAME).read_text())["files"]
    (step / NAME).write_text(_text({**files, name: files["model/_METADATA"]}))
    with pytest.raises(Damaged, match=f"is damaged: {name} is missing$"):
        restored(step)


@pytest.mark.parametrize("what", ["progress/data.json", "model/d", "rest"])
def test_a_link_is_not_followed(step, tmp_path, what):
    path = step / what
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(tmp_path / "other" / "1" / what)
    with pytest.raises(Damaged, match=f"is damaged: {what} is a link"):
        restored(step)


def test_a_step_that_is_a_link_is_not_followed(step, tmp_path):
    shutil.rmtree(step)
    step.symlink_to(tmp_path / "other" / "1")
    with pytest.raises(Damaged, match=r"is damaged: it is a link"):
        restored(step)


def test_a_pipe_is_not_waited_for(step):
    (step / "progress" / "data.json").unlink()
    os.mkfifo(step / "progress" / "data.json")
    with pytest.raises(Damaged, match=r"is damaged: progress/data.json is a link or no plain file"):
        restored(step)


def test_what_is_parsed_whole_is_bounded(step):
    with (step / "progress" / "data.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Damaged, match=r"is damaged: progress/data.json has 1099511627776 bytes, allowed are 67108864"):
        restored(step)


CONFIGURED = '{"batches": "a", "next_batch": 1, "configuration": "["}'


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", '{"batches": 1}', '{"batches": "a", "next_batch": "b"}', "\xff", CONFIGURED]
)
def test_progress_is_what_it_should_be(step, text):
    (step / "progress" / "data.json").write_text(text, encoding="latin-1")
    write_manifest(step)
    with pytest.raises(Damaged, match=r"^checkpoint 1 in [^\n]* is damaged: [^\n]*$"):
        restored(step)


def test_an_array_is_not_looked_for_under_a_path(step, tmp_path):
    """Orbax follows an absolute name in `_METADATA` where this also says that each array has a folder of its own."""
    path = step / "model" / "_METADATA"
    data = json.loads(path.read_text())
    tree = {"key_metadata": [{"key": str(tmp_path / "other"), "key_type": 2}]}
    tree |= {"value_metadata": next(iter(data["tree_metadata"].values()))["value_metadata"]}
    path.write_text(json.dumps(data | {"use_ocdbt": False, "tree_metadata": {"('x',)": tree}}))
    write_manifest(step)
    with pytest.raises(Damaged, match=r"is damaged: model/_METADATA does not say that its arrays lie in one database"):
        restored(step)


def test_a_database_that_points_outside_is_not_followed(step, tmp_path):
    """TensorStore refuses it; were that to change, the array would be read from the folder of another run."""
    context = tensorstore.Context()
    memory = tensorstore.KvStore.open({"driver": "memory"}, context=context).result()
    base = {"driver": "memory", "path": "1/model/"}
    outside = {"value_data_prefix": "../../outside/", "btree_node_data_prefix": "../../outside/"}
    database = tensorstore.KvStore.open({"driver": "ocdbt", "base": base, **outside}, context=context).result()
    original = tensorstore.KvStore.open(f"file://{step}/model/|ocdbt:").result()
    for key in original.list().result():
        database.write(key, original.read(key).result().value).result()
    shutil.rmtree(step / "model" / "d")
    for key in memory.list().result():
        path = step.parent / os.path.normpath(key.decode())
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(memory.read(key).result().value)
    assert (step.parent / "outside").exists()
    write_manifest(step)
    with pytest.raises(UserError, match=r"^checkpoint 1 in [^\n]*$"):
        restored(step)
