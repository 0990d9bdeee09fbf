"""What the tests of `train instruct` share: a model to begin with, and chats."""

import pytest

from tests.recipes.chat_toys import write_chats, write_llama


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return write_llama(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="session")
def chats(tmp_path_factory):
    return write_chats(tmp_path_factory.mktemp("chats"))
