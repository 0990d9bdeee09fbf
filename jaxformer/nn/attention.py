"""Multi-head attention: the weights around the formula."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.blocks import MultiHead
from jaxformer.config.positions import Rotary
from jaxformer.nn.norm import Norm
from jaxformer.nn.recorder import SILENT, Read, Recorder
from jaxformer.nn.weight import constant, weight
from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.masks import Mask, Window
from jaxformer.ops.linear import plus_bias, project
from jaxformer.ops.rotary import rotary_frequencies, rotate, rotation

KeysValues = tuple[Array, Array]
"""Keys and values, each [B, S, K, H]."""


class Where(NamedTuple):
    """Who reads whom: all that an attention needs to know about places. Positions are [T] or, where every sequence has
    its own, [B, T].
    """

    mask: Mask | None = None
    bias: Bias | None = None
    queries: Array | None = None
    """Positions of the queries; 0, 1, 2, … where none are given."""
    keys: Array | None = None
    """Positions of the keys; 0, 1, 2, … where none are given."""


EVERYWHERE = Where()
"""Every query reads every key."""


class Attention(nn.Module):
    """Queries from x read keys and values made of any sequence: x itself, an encoder's memory, or a cache of either.

    Source: Vaswani et al. 2017, §3.2.2.
    """

    config: MultiHead
    width: int
    recorder: Recorder = SILENT

    def setup(self):
        c, D = self.config, self.width
        # Scores begin alike whatever multiplies them: where that is not 1/√H, the queries make up for it (Raffel et al.
        # 2020, the authors' code), unless a norm would undo that.
        size = 1.0 if c.scale is None or c.query_key_norm is not None else c.head_width**-0.5 / c.scale
        self.wq_DNH = weight(self, "query", (D, c.heads, c.head_width), ("embed", "heads", "head"), size=size)
        self.wk_DKH = weight(self, "key", (D, c.kv_heads, c.head_width), ("embed", "kv_heads", "head"))
        self.wv_DKH = weight(self, "value", (D, c.kv_heads, c.head_width), ("embed", "kv_heads", "head"))
        self.wo_NHD = weight(self, "output", (c.heads, c.head_width, D), ("heads", "head", "embed"), inputs=2)
        if c.bias:
            self.bq_NH = constant(self, "query_bias", 0.0, (c.heads, c.head_width), ("heads", "head"))
            self.bk_KH = constant(self, "key_bias", 0.0, (c.kv_heads, c.head_width), ("kv_heads", "head"))
            self.bv_KH = constant(self, "value_bias", 0.0, (c.kv_heads, c.head_width), ("kv_heads", "head"))
        self.bo_D = output_bias(self, D, c.biased_output)
        if c.gate:
            self.wg_DNH = weight(self, "gate", (D, c.heads, c.head_width), ("embed", "heads", "head"))
        if c.sinks:
            self.sinks_N = constant(self, "sinks", 0.0, (c.heads,), ("heads",))
        if c.query_key_norm is not None:
            self.query_norm, self.key_norm = Norm(c.query_key_norm, "head"), Norm(c.query_key_norm, "head")

    def queries(self, x_BTD: Array, positions: Array | None = None) -> Array:
        """Queries [B, T, N, H] of a sequence whose tokens stand at `positions`."""
        return self._ready_queries(project("btd,dnh->btnh", x_BTD, self.wq_DNH), positions)

    def rows(self, memory_BSD: Array, positions: Array | None = None) -> KeysValues:
        """Keys and values [B, S, K, H] of a sequence whose tokens stand at `positions`, to be read now or cached."""
        k_BSKH = project("bsd,dkh->bskh", memory_BSD, self.wk_DKH)
        v_BSKH = project("bsd,dkh->bskh", memory_BSD, self.wv_DKH)
        return self._ready_rows(k_BSKH, v_BSKH, positions)

    def queries_and_rows(self, x_BTD: Array, positions: Array | None = None) -> tuple[Array, KeysValues]:
        """Both of one sequence, where that pays by a single product: small ones keep few cores busy.

        For it the weights are copied side by side, which is little beside the product only where there are many
        tokens. They are joined head by head, so that heads on several devices stay where they are; of shared keys and
        values there may be fewer than devices, and they stay apart.
        """
        c, (B, T, D) = self.config, x_BTD.shape
        weights = (self.wq_DNH, self.wk_DKH, self.wv_DKH)
        stay = c.heads == c.kv_heads or jax.device_count() == 1
        if B * T < D or not stay or not all(isinstance(w, Array) for w in weights):
            return self.queries(x_BTD, positions), self.rows(x_BTD, positions)
        of_head = [w.reshape(D, c.kv_heads, -1, c.head_width) for w in weights]
        y_BTKGH = project("btd,dkgh->btkgh", x_BTD, jnp.concatenate(of_head, axis=2))
        G = c.heads // c.kv_heads
        q_BTKGH, k_BTK1H, v_BTK1H = jnp.split(y_BTKGH, [G, G + 1], axis=3)
        q_BTNH = self._ready_queries(q_BTKGH.reshape(B, T, c.heads, c.head_width), positions)
        return q_BTNH, self._ready_rows(k_BTK1H[:, :, :, 0], v_BTK1H[:, :, :, 0], positions)

    def read(self, x_BTD: Array, q_BTNH: Array, rows: KeysValues, where: Where = EVERYWHERE) -> tuple[Array, Read]:
        """What each of x's vectors reads with its queries, [B, T, D], and what the recorder keeps of it."""
        c = self.config
        o_BTNH, weights = self.recorder.attend(
            q_BTNH,
            *rows,
            mask=windowed(where.mask, c.window),
            bias=where.bias,
            sinks_N=self.sinks_N if c.sinks else None,
            scale=c.scale,
            softcap=c.softcap,
            query_positions=where.queries,
            key_positions=where.keys,
        )
        if c.gate:
            o_BTNH = o_BTNH * jax.nn.sigmoid(project("btd,dnh->btnh", x_BTD, self.wg_DNH))
        o_BTD, read = project("btnh,nhd->btd", o_BTNH, self.wo_NHD), Read(weights, self.recorder.heads(o_BTNH))
        return biased(o_BTD, self.bo_D), read

    def __call__(
        self, x_BTD: Array, rows: KeysValues, where: Where = EVERYWHERE, positions: Array | None = None
    ) -> tuple[Array, Read]:
        """`read` with the queries of x.

        `positions` are what queries turn by; as a rule those of `where`, but in packed rows they restart.
        """
        return self.read(x_BTD, self.queries(x_BTD, positions), rows, where)

    def _ready_queries(self, q_BTNH: Array, positions: Array | None) -> Array:
        """With bias, norm and turn."""
        if self.config.bias:
            q_BTNH = plus_bias(q_BTNH, self.bq_NH)
        if self.config.query_key_norm is not None:
            q_BTNH = self.query_norm(q_BTNH)
        return turned(q_BTNH, self.config.rotary, positions)

    def _ready_rows(self, k_BSKH: Array, v_BSKH: Array, positions: Array | None) -> KeysValues:
        """With biases, and the keys with norm and turn."""
        if self.config.bias:
            k_BSKH, v_BSKH = plus_bias(k_BSKH, self.bk_KH), plus_bias(v_BSKH, self.bv_KH)
        if self.config.query_key_norm is not None:
            k_BSKH = self.key_norm(k_BSKH)
        return turned(k_BSKH, self.config.rotary, positions), v_BSKH


def output_bias(module: nn.Module, width: int, has: bool) -> Array | None:
    """The bias of the output projection; one that is given also where the config `has` none, as in place of a head that
    was taken out (`analysis.ablation`).
    """
    given = has or module.has_variable("params", "output_bias")
    return constant(module, "output_bias", 0.0, (width,), ("embed",)) if given else None


def biased(o_BTD: Array, bias_D: Array | None) -> Array:
    """With the bias, if there is one."""
    return o_BTD if bias_D is None else plus_bias(o_BTD, bias_D)


def turned(x_BTNH: Array, rotary: Rotary | None, positions: Array | None) -> Array:
    """Heads turned by the positions of their tokens, [T] or [B, T]; 0, 1, 2, … where none are given."""
    if rotary is None:
        return x_BTNH
    positions = jnp.arange(x_BTNH.shape[1]) if positions is None else positions
    cos, sin = rotation(positions, *rotary_frequencies(rotary, x_BTNH.shape[-1]))
    return rotate(x_BTNH, cos[..., None, :], sin[..., None, :], rotary.interleaved)


def windowed(mask: Mask | None, window: int | None) -> Mask | None:
    """The mask, narrowed to a window where there is one."""
    if window is None:
        return mask
    return Window(window) if mask is None else mask & Window(window)
