"""The names that `import jaxformer` promises: all there, each from its home, and none before it is asked for."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import jaxformer

pytestmark = pytest.mark.smoke


def promised_to_type_checkers() -> dict[str, str]:
    """Name → module, as the imports under TYPE_CHECKING say."""
    tree = ast.parse(Path(jaxformer.__file__ or "").read_text(encoding="utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {
        name.name: node.module or "" for node in imports for name in node.names if "jaxformer" in (node.module or "")
    }


def test_the_lists_agree():
    assert sorted(promised_to_type_checkers()) == jaxformer.__all__ == sorted(jaxformer.__all__) == dir(jaxformer)


@pytest.mark.parametrize("name", jaxformer.__all__)
def test_a_name_is_what_its_home_has(name):
    assert getattr(jaxformer, name) is getattr(import_module(promised_to_type_checkers()[name]), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'jaxformer' has no attribute 'transformer'"):
        jaxformer.transformer  # noqa: B018
    with pytest.raises(ImportError):
        exec("from jaxformer import transformer")


def test_names_without_jax_cost_no_jax():
    names = "TransformerConfig, UserError, analysis, preset"
    code = f"import sys; from jaxformer import {names}; print('jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False"]
