"""How many bytes does generation keep for each token of the context?

Contestants are decoders alike but for their attention: multi-head, grouped-query with a key/value head for four query
heads, and multi-query, whose caches hold all keys and values; multi-head within a sliding window, whose ring holds the
last of them; and multi-head latent attention, whose cache holds one latent vector and one turned key, four and half a
head wide as in DeepSeek-V2 (DeepSeek-AI 2024, §2.1.4).

Measured are the arrays of the cache that `begin` makes of a prompt, in float32 for every context and in bfloat16 for
the longest. They have room for the whole context from the first token on, so that a short prompt, longer than the
window, is enough; but they are worth their bytes only if generation can go on from them: one more token, read through
each cache, must get the logits that a forward pass without a cache gives it. Beside them stands what the shapes say:
the rows of a position, times the positions kept. Of published models this is all that is given, marked as computed.

What the figures do not show: the weights, and the room to work in; what a batch, or a quantised cache, would change;
and how well a model of each kind learns.

    python -m benchmarks.cache_memory [--quick]
"""

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import measure
from benchmarks.picture import Line, panels
from jaxformer.analysis.hardware import summary
from jaxformer.analysis.memory import readable
from jaxformer.config.blocks import Attention, Block, Gated, Group, Latent, MultiHead, RmsNorm
from jaxformer.config.model import DecoderConfig, Dtype
from jaxformer.config.positions import Rotary
from jaxformer.decoding.generate import Writing, begin, read_on
from jaxformer.models.decoder import Decoder

VOCABULARY = 256
TOLERANCE = 1e-4
"""Relative L2 distance of logits at which a cache counts as wrong."""
LONG = 131_072
"""The context for which published models are compared, in tokens."""


@dataclass(frozen=True)
class Config:
    """Shapes of the decoders."""

    contexts: tuple[int, ...] = (512, 2048, 8192)
    """Tokens that the cache has room for."""
    prompt: int = 320
    """Tokens read before one more: more than the window, so that its ring has gone round."""
    window: int = 256
    """Positions that a query of the sliding window may read."""
    width: int = 256
    """Width D of a token's vector; a multiple of four times the heads, so that half a head can turn."""
    heads: int = 8
    """Query heads of width D / heads; a multiple of 4, of which each shares a key/value head when grouped."""
    layers: int = 4
    seed: int = 0
    out: Path = Path(__file__).resolve().parent / "results"
    """Folder of the JSON file and the picture, which are named after the device."""
    quick: bool = False
    """Small shapes in seconds, to see that it runs; writes to a temporary folder."""

    def __post_init__(self) -> None:
        if self.heads < 4 or self.heads % 4:
            raise ValueError(f"heads must be a multiple of 4, got {self.heads}")
        if self.width < 1 or self.width % (4 * self.heads):
            raise ValueError(f"width must be a multiple of 4 · heads, got width={self.width}, heads={self.heads}")
        if not 1 <= self.window < self.prompt < min(self.contexts, default=0):
            raise ValueError(
                "sizes must satisfy 1 <= window < prompt < every context, "
                f"got window={self.window}, prompt={self.prompt}, contexts={self.contexts}"
            )

    @property
    def measured(self) -> list[tuple[Dtype, int]]:
        """Type and context of each measurement."""
        return [*(("float32", context) for context in self.contexts), ("bfloat16", max(self.contexts))]


def quickened(config: Config) -> Config:
    """The same question of small shapes."""
    out = Path(tempfile.gettempdir()) / "jaxformer-benchmarks"
    return replace(config, contexts=(16, 32), prompt=12, window=8, width=32, heads=8, layers=2, out=out)


class Layer(NamedTuple):
    """What one layer keeps, by its shapes."""

    rows: tuple[tuple[int, ...], ...]
    """What a position leaves to be read."""
    window: int | None = None
    """Positions kept; all where it is None."""

    def bytes_per_token(self, dtype: Dtype) -> int:
        """Bytes of one position."""
        return jnp.dtype(dtype).itemsize * sum(math.prod(row) for row in self.rows)


Layers = tuple[Layer, ...]


def layer(attention: Attention) -> Layer:
    """What a layer with this attention keeps."""
    return Layer(attention.rows, attention.window if isinstance(attention, MultiHead) else None)


def decompressed(latent: Latent) -> Layer:
    """What a latent layer would keep if it kept the keys and values that its heads read."""
    return Layer(((latent.heads, latent.head_width + latent.rotary_width), (latent.heads, latent.value_width)))


def kept(layers: Layers, context: int, dtype: Dtype) -> int:
    """Bytes that the shapes say are kept of a context."""
    return sum(one.bytes_per_token(dtype) * min(context, one.window or context) for one in layers)


LLAMA = MultiHead(32, 8, 128)
DEEPSEEK = Latent(128, latent_width=512, head_width=128, rotary_width=64, value_width=128)
GEMMA = MultiHead(16, 8, 256)

# The shapes of the published config.json files; see Grattafiori et al. 2024, table 3 (Llama 3.1 reads 131,072 tokens
# with the same ones), DeepSeek-AI 2024 (DeepSeek-V3), §4.2, and Gemma Team 2025 (Gemma 3), §2.
PUBLISHED: dict[str, Layers] = {
    "Llama 3 8B: grouped, 8 of 32 heads": (layer(LLAMA),) * 32,
    "… if multi-head": (layer(replace(LLAMA, kv_heads=32)),) * 32,
    "DeepSeek-V3: latent 512 + 64": (layer(DEEPSEEK),) * 61,
    "… if it kept keys and values of 128 heads": (decompressed(DEEPSEEK),) * 61,
    "Gemma 3 12B: 5 windows of 1,024 to 1 global": (*(layer(replace(GEMMA, window=1024)),) * 5, layer(GEMMA)) * 8,
    "… if all global": (layer(GEMMA),) * 48,
}
"""By name; each is followed by what it would be without what makes its cache small."""


def published() -> list[dict[str, Any]]:
    """A row for each published shape in bfloat16, computed from shapes alone."""
    return [
        {
            "model": name,
            "measured": False,
            "dtype": "bfloat16",
            "layers": len(layers),
            "bytes_per_token_and_layer": layers[0].bytes_per_token("bfloat16"),
            "bytes_added_by_a_token": kept(layers, LONG, "bfloat16") - kept(layers, LONG - 1, "bfloat16"),
            "context": LONG,
            "bytes": kept(layers, LONG, "bfloat16"),
        }
        for name, layers in PUBLISHED.items()
    ]


def kinds(config: Config) -> dict[str, Attention]:
    """The attention of each contestant, by the name of its cache."""
    N, H = config.heads, config.width // config.heads
    multi_head = MultiHead(N, N, H, bias=False, rotary=Rotary())
    return {
        "multi-head": multi_head,
        f"grouped-query, {N // 4} of {N}": replace(multi_head, kv_heads=N // 4),
        "multi-query": replace(multi_head, kv_heads=1),
        f"window of {config.window:,}": replace(multi_head, window=config.window),
        f"latent {4 * H} + {H // 2}": Latent(N, latent_width=4 * H, head_width=H, rotary_width=H // 2, value_width=H),
    }


def decoder(attention: Attention, dtype: Dtype, config: Config) -> Decoder:
    """The contestant with this attention."""
    group = Group((Block(attention, Gated(2 * config.width), RmsNorm()),), config.layers)
    return Decoder(DecoderConfig(config.width, (group,), context=max(config.contexts), dtype=dtype), VOCABULARY)


def weights(model: Decoder, config: Config) -> Any:
    """Random weights, scales of norms around 1. To compile the model's own initialisers takes longer than reading."""
    rng = np.random.default_rng(config.seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return (centre + config.width**-0.5 * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    shapes = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), text(config)))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def text(config: Config) -> np.ndarray:
    """The prompt and one more token, int32 [1, T]."""
    return np.random.default_rng(config.seed).integers(0, VOCABULARY, (1, config.prompt + 1)).astype(np.int32)


def begun(model: Decoder, params: Any, context: int, config: Config) -> Writing:
    """The prompt read into a cache with room for the context."""
    return begin(model, params, text(config)[:, :-1], np.array([config.prompt]), room=context)


def verify(name: str, attention: Attention, params: Any, config: Config) -> float:
    """The distance of the logits after one token read through the cache from those of a forward pass without one."""
    model, text_1T = decoder(attention, "float32", config), text(config)
    full_1V = jax.jit(model.apply)(params, text_1T)[:, -1]
    step = read_on(model, params, begun(model, params, min(config.contexts), config), text_1T[:, -1:], np.array([1]))
    return measure.agree({"full forward pass": full_1V, f"cached step, {name}": step.logits_BV}, TOLERANCE)


def weigh(name: str, attention: Attention, params: Any, dtype: Dtype, context: int, config: Config) -> dict[str, Any]:
    """A row: the bytes of the cache's arrays, and what the shapes say."""
    arrays = jax.tree.leaves(begun(decoder(attention, dtype, config), params, context, config).cache.layers)
    total, of_layer = sum(array.nbytes for array in arrays), layer(attention)
    return {
        "cache": name,
        "measured": True,
        "dtype": dtype,
        "context": context,
        "bytes": total,
        "bytes_per_token": total / context,
        "analytic_bytes": kept((of_layer,) * config.layers, context, dtype),
        "analytic_bytes_per_token_and_layer": of_layer.bytes_per_token(dtype),
    }


def tables(rows: list[dict[str, Any]], computed: list[dict[str, Any]]) -> str:
    """Markdown: a table of what was measured, and one of what was computed."""
    contexts = list(dict.fromkeys(row["context"] for row in rows))
    longest = max(contexts)
    lines = []
    for name in dict.fromkeys(row["cache"] for row in rows):
        own = {(row["dtype"], row["context"]): row for row in rows if row["cache"] == name}
        whole, half = own["float32", longest], own["bfloat16", longest]
        each = [f"{own['float32', context]['bytes_per_token']:,.0f}" for context in contexts]
        totals = [readable(row[key]) for row in (whole, half) for key in ("bytes", "analytic_bytes")]
        lines.append([name, f"{whole['analytic_bytes_per_token_and_layer']:,}", *each, *totals])
    headers = ["cache", "per token and layer, computed", *(f"per token of {context:,}" for context in contexts)]
    headers += [f"all {longest:,}", "computed", "in bfloat16", "computed"]
    return (
        f"float32, bytes measured\n\n{measure.table(headers, lines)}\n\n"
        f"bfloat16, bytes computed from published shapes, not measured\n\n{_published_table(computed)}"
    )


def _published_table(computed: list[dict[str, Any]]) -> str:
    keys = ("layers", "bytes_per_token_and_layer", "bytes_added_by_a_token")
    lines = [[row["model"], *(f"{row[key]:,}" for key in keys), readable(row["bytes"])] for row in computed]
    return measure.table(["model", "layers", "per token and layer", "per further token", f"all {LONG:,}"], lines)


def draw(document: dict[str, Any], path: Path) -> None:
    """Bytes a token against the context, in float32."""
    config, lines = document["config"], {}
    for name in document["distances"]:
        own = [row for row in document["rows"] if (row["cache"], row["dtype"]) == (name, "float32")]
        each = [row["bytes_per_token"] for row in own]
        lines[name] = Line([row["context"] for row in own], each, each, each)  # bytes are exact: no spread
    panels(
        path,
        [[("float32", lines)]],
        title=f"What generation keeps for a token: {config['layers']} layers, {config['heads']} heads, "
        f"width {config['width']}\n{summary(document['environment'])}. Bytes of the cache over its context.",
        x_label="context in tokens",
        y_label="bytes per token",
    )


def main(config: Config) -> dict[str, Any]:
    """Verifies, measures, prints the tables, and writes JSON and picture; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    started = time.monotonic()
    environment = measure.environment()
    rows: list[dict[str, Any]] = []
    distances: dict[str, float] = {}
    for name, attention in kinds(config).items():
        params = weights(decoder(attention, "float32", config), config)
        distances[name] = verify(name, attention, params, config)
        rows += [weigh(name, attention, params, *shape, config) for shape in config.measured]
        print(f"{name}: a cached step is the full pass within {distances[name]:.1e}", flush=True)
    document = {
        "benchmark": "cache_memory",
        "question": (__doc__ or "").splitlines()[0],
        "environment": environment,
        "config": {**asdict(config), "out": None},
        "elapsed_seconds": time.monotonic() - started,
        "distances": distances,
        "rows": rows,
        "published": published(),
    }
    path = config.out / f"cache_memory-{measure.device_name()}.json"
    measure.write(path, document)
    draw(document, path.with_suffix(".png"))
    print(f"\n{tables(rows, document['published'])}\n\n{path}\n{path.with_suffix('.png')}")
    return document


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
