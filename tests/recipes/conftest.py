"""What the tests of `train instruct` share: a model to begin with, and chats."""

from functools import partial

import jax
import pytest

from tests.recipes.chat_toys import write_chats, write_llama


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return write_llama(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="session")
def chats(tmp_path_factory):
    return write_chats(tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def quick():
    """The compiler is told not to try hard, which saves most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0}))
        yield
