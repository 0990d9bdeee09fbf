"""A model in a folder of the Hugging Face layout: config.json beside safetensors, read and written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.config.io import parse_json, read_short
from jaxformer.config.model import DecoderConfig, EncoderConfig
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.models.seq2seq import Transformer
from jaxformer.weights.families import FAMILIES
from jaxformer.weights.families.described import Described
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import Binding, Leaves, bind, check, leaves_of, read, tree_of, write
from jaxformer.weights.safetensors import open_tensors
from jaxformer.weights.tensors import Tensors
from jaxformer.weights.writing import write_tensors

Model = Decoder | Encoder | Transformer


class Loaded(NamedTuple):
    """A model, its weights, and the config.json that it was described by."""

    model: Model
    params: Any
    described: Described
    fields: Mapping[str, Any]


def build(described: Described) -> Model:
    """The module that a description names."""
    match described.config:
        case DecoderConfig():
            return Decoder(described.config, described.vocabulary)
        case EncoderConfig():
            return Encoder(described.config, described.vocabulary, described.pad)
        case _:
            return Transformer(described.config, described.vocabulary, described.pad)


def describe(fields: Mapping[str, Any], where: str) -> Described:
    """What a config.json comes to. Raises UserError for a family that is not known, and for any field that asks for
    what is not supported: never a silently different model.
    """
    family = str(fields.get("model_type"))
    if family not in FAMILIES:
        raise UserError(f"{where}: model_type {family!r} is not known; the known ones are {', '.join(FAMILIES)}")
    try:
        return FAMILIES[family](Fields(fields, where))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def read_fields(folder: Path) -> dict[str, Any]:
    """The config.json of a folder. Raises UserError where there is none, or it is no JSON object."""
    path = folder / "config.json"
    try:
        fields = parse_json(read_short(path))
    except FileNotFoundError:
        raise UserError(f"no config.json in {folder}; a model's folder holds one beside its safetensors") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path} must hold an object, got {type(fields).__name__}")
    return fields


def load_folder(folder: Path, dtype: Any = jnp.float32) -> Loaded:
    """The model in a folder, its weights in `dtype`. Everything is checked before a tensor is read."""
    fields = read_fields(folder)
    described = describe(fields, str(folder / "config.json"))
    return load_tensors(described, fields, open_tensors(folder), dtype)


def load_tensors(described: Described, fields: Mapping[str, Any], tensors: Tensors, dtype: Any) -> Loaded:
    """The model that a description names, with weights from any file of named tensors."""
    model = build(described)
    leaves, bindings = bound(model, described)
    check(bindings, described.table, tensors)
    arrays = read(bindings, tensors, leaves, dtype)
    # One array after another moves to the device, and its copy here is given up.
    params = tree_of({path: jnp.asarray(arrays.pop(path)) for path in leaves})
    return Loaded(model, params, described, fields)


def save_folder(folder: Path, params: Any, described: Described, fields: Mapping[str, Any], dtype: Any = None) -> None:
    """Writes config.json and safetensors, in the parameters' own dtype unless another is given."""
    leaves = {path: np.asarray(leaf) for path, leaf in leaves_of(params).items()}
    _, bindings = bound(build(described), described)
    kept = np.dtype(dtype) if dtype is not None else next(iter(leaves.values())).dtype

    def tensors():
        for name, shape, values in write(bindings, leaves):
            yield name, shape, kept, lambda values=values: np.ascontiguousarray(values(), dtype=kept)

    write_tensors(folder, tensors())
    path = folder / "config.json"
    draft = path.with_name("config.json.tmp")
    draft.write_text(json.dumps({**fields, "dtype": str(kept)}, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)


def bound(model: Model, described: Described) -> tuple[Leaves, list[Binding]]:
    """The shapes of a model's arrays by path, and the tensors that hold each."""
    leaves = leaves_of(abstract(model))
    return leaves, bind(described.table, leaves, described.stacks)


def abstract(model: Model) -> Any:
    """The shapes of a model's parameters; nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    inputs = (tokens, tokens) if isinstance(model, Transformer) else (tokens,)
    return nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs))
