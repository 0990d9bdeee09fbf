"""Multi-head latent attention: one small vector per token, from which all heads make their keys and values."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.blocks import Latent
from jaxformer.nn.attention import EVERYWHERE, Where, biased, output_bias, turned
from jaxformer.nn.norm import Norm
from jaxformer.nn.recorder import SILENT, Read, Recorder
from jaxformer.nn.weight import weight
from jaxformer.ops.linear import project

LatentQueries = tuple[Array, Array]
"""The part of each query that does not turn [B, T, N, H], and the one that does [B, T, N, R]."""

LatentRows = tuple[Array, Array]
"""The latent vectors [B, S, C] and the turned keys that all heads share [B, S, R]."""


class LatentAttention(nn.Module):
    """Queries from x read keys and values that are made of latent vectors (DeepSeek-AI 2024, DeepSeek-V2, §2.1).

    Two ways give the same result. Decompressed: every head's keys and values are made, then read. Absorbed: the matrix
    that makes keys is moved to the query and the one that makes values behind the weighted sum, so that the latent
    vectors are read themselves, as multi-query attention. Which takes fewer operations depends on how many queries
    there are, and is chosen by counting.
    """

    config: Latent
    width: int
    recorder: Recorder = SILENT

    def setup(self):
        c, D = self.config, self.width
        N, C, H, R, W = c.heads, c.latent_width, c.head_width, c.rotary_width, c.value_width
        if c.query_width is None:
            self.wq_DNE = weight(self, "query", (D, N, H + R), ("embed", "heads", "head"))
        else:
            self.wqa_DQ = weight(self, "query_down", (D, c.query_width), ("embed", "latent"))
            self.query_norm = Norm(c.norm, "latent")
            self.wq_DNE = weight(self, "query_up", (c.query_width, N, H + R), ("latent", "heads", "head"))
        self.wkv_DC = weight(self, "latent", (D, C), ("embed", "latent"))
        self.wkr_DR = weight(self, "shared_key", (D, R), ("embed", "head"))
        self.latent_norm = Norm(c.norm, "latent")
        self.wk_CNH = weight(self, "key", (C, N, H), ("latent", "heads", "head"))
        self.wv_CNW = weight(self, "value", (C, N, W), ("latent", "heads", "head"))
        self.wo_NWD = weight(self, "output", (N, W, D), ("heads", "head", "embed"), inputs=2)
        self.bo_D = output_bias(self, D, has=False)

    def rows(self, memory_BSD: Array, positions: Array | None = None) -> LatentRows:
        """What is read of a sequence, and all that a cache keeps of it."""
        c_BSC = self.latent_norm(project("bsd,dc->bsc", memory_BSD, self.wkv_DC))
        k_BSR = project("bsd,dr->bsr", memory_BSD, self.wkr_DR)
        return c_BSC, turned(k_BSR[:, :, None], self.config.rotary, positions)[:, :, 0]

    def queries_and_rows(self, x_BTD: Array, positions: Array | None = None) -> tuple[LatentQueries, LatentRows]:
        """Both of one sequence."""
        return self.queries(x_BTD, positions), self.rows(x_BTD, positions)

    def read(
        self, x_BTD: Array, queries: LatentQueries, rows: LatentRows, where: Where = EVERYWHERE
    ) -> tuple[Array, Read]:
        """What each of x's vectors reads, [B, T, D], and what the recorder keeps of it; as in `Attention`."""
        form = self.absorbed if self._absorbing_is_less(x_BTD.shape[1], rows[0].shape[1]) else self.decompressed
        o_BTNW, weights = form(*queries, rows, where)
        o_BTD = project("btnh,nhd->btd", o_BTNW, self.wo_NWD)
        return biased(o_BTD, self.bo_D), Read(weights, self.recorder.heads(o_BTNW))

    def __call__(
        self, x_BTD: Array, rows: LatentRows, where: Where = EVERYWHERE, positions: Array | None = None
    ) -> tuple[Array, Read]:
        """`read` with the queries of x."""
        return self.read(x_BTD, self.queries(x_BTD, positions), rows, where)

    def decompressed(self, q_BTNH: Array, q_BTNR: Array, rows: LatentRows, where: Where) -> tuple[Array, Any]:
        """Every head's own keys and values, made and read: [B, T, N, W]."""
        c_BSC, shared_BSR = rows
        k_BSNH = project("bsc,cnh->bsnh", c_BSC, self.wk_CNH)
        v_BSNW = project("bsc,cnw->bsnw", c_BSC, self.wv_CNW)
        shared_BSNR = jnp.broadcast_to(shared_BSR[:, :, None], (*k_BSNH.shape[:3], shared_BSR.shape[-1]))
        q, k = jnp.concatenate([q_BTNH, q_BTNR], -1), jnp.concatenate([k_BSNH, shared_BSNR], -1)
        return self._attend(q, k, v_BSNW, where)

    def absorbed(self, q_BTNH: Array, q_BTNR: Array, rows: LatentRows, where: Where) -> tuple[Array, Any]:
        """The latent vectors themselves read, as one key/value head for all: [B, T, N, W]."""
        c_BSC, shared_BSR = rows
        q_BTNC = project("btnh,cnh->btnc", q_BTNH, self.wk_CNH)
        q, k = jnp.concatenate([q_BTNC, q_BTNR], -1), jnp.concatenate([c_BSC, shared_BSR], -1)
        o_BTNC, weights = self._attend(q, k[:, :, None], c_BSC[:, :, None], where)
        return project("btnc,cnw->btnw", o_BTNC, self.wv_CNW), weights

    def _attend(self, q: Array, k: Array, v: Array, where: Where) -> tuple[Array, Any]:
        places = {"query_positions": where.queries, "key_positions": where.keys}
        return self.recorder.attend(q, k, v, mask=where.mask, bias=where.bias, scale=self.config.score_scale, **places)

    def queries(self, x_BTD: Array, positions: Array | None = None) -> LatentQueries:
        """The part of each query that does not turn [B, T, N, H], and the one that does [B, T, N, R]."""
        if self.config.query_width is not None:
            x_BTD = self.query_norm(project("btd,dq->btq", x_BTD, self.wqa_DQ))
        q_BTNE = project("btd,dne->btne", x_BTD, self.wq_DNE)
        q_BTNH, q_BTNR = jnp.split(q_BTNE, [self.config.head_width], axis=-1)
        return q_BTNH, turned(q_BTNR, self.config.rotary, positions)

    def _absorbing_is_less(self, queries: int, keys: int) -> bool:
        """Multiply-adds per head: making keys and values against making queries and outputs wider."""
        c = self.config
        own, latent = c.head_width + c.value_width, c.latent_width
        return queries * own * latent + 2 * queries * keys * latent < keys * own * latent + queries * keys * own
