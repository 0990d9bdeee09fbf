"""What a model is trained for: parameters, a batch and a key → the summed loss and what it was summed over."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.models.classifier import Classifier
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.ops.losses import (
    Shaping,
    TokenLoss,
    linear_cross_entropy,
    log_probabilities,
    shaped_cross_entropy,
    summed,
)
from jaxformer.ops.preference import margin, preference_loss


class Total(NamedTuple):
    """Sums over the tokens of a batch, float32; batches add up, so that any split of a batch gives the same mean."""

    costs: TokenLoss
    tokens: Array
    """Tokens predicted, padding not counted."""
    loads: dict[str, Array] | None = None
    """Tokens that each expert was given, [..., E], by the path of the mixture's parameters; None without experts."""


Objective = Callable[[Any, Any, Array | None], Total]
"""(params, batch, dropout key or None) → sums; dropout is on exactly when a key is given."""


def translation(model: nn.Module, smoothing: float = 0.0, z_weight: float = 0.0, consistency: float = 0.0) -> Objective:
    """Teacher forcing: every target token from the source and the target tokens before it.

    A batch has source_BS and target_BT int32, the target with begin and end marks; padding costs nothing. The model has
    an attribute `pad` and a method `features`. With `consistency`, and a key, every sentence is read twice, and what
    the two predictions of a token disagree by costs so much (R-Drop). Source: Sutskever et al. 2014, eq. 2; smoothing,
    z-loss and consistency as in `ops.losses`.
    """
    shaping = Shaping(smoothing, z_weight, consistency=consistency)

    def total(params: Any, batch: Any, key: Array | None) -> Total:
        inputs_BT, labels_BT = batch.target_BT[:, :-1], batch.target_BT[:, 1:]
        twice = consistency > 0 and key is not None
        read = _readings(twice, batch.source_BS, inputs_BT)
        x_BTD, w_VD, bias_V = _applied(model, key, "features", params, *read)
        if twice:
            x_BTD = jnp.moveaxis(x_BTD.reshape(-1, 2, *x_BTD.shape[1:]), 1, 2)  # [B, T, 2, D]
        counted_BT = labels_BT != model.pad  # pyright: ignore[reportAttributeAccessIssue]
        costs = _token_costs(x_BTD, w_VD, labels_BT, counted_BT, shaping, bias_V)
        return Total(costs, _count(counted_BT))

    return total


def causal(model: Decoder, z_weight: float = 0.0, further: float = 0.0) -> Objective:
    """Every token of a row from those before it in the same document.

    A batch has tokens_BT [B, T+1], segments_BT and positions_BT [B, T] or None, and counted_BT [B, T], False where the
    next token costs nothing. A mixture of experts adds its penalties, as so much for each token. Where the model
    predicts tokens past the next one, their mean loss counts with the weight `further` (DeepSeek-AI 2024, DeepSeek-V3,
    eqs. 24 and 25); nll and accuracy are those of the next token alone.
    """
    shaping = Shaping(z_weight=z_weight, softcap=model.config.softcap)

    def total(params: Any, batch: Any, key: Array | None) -> Total:
        read_BT, labels_BT = batch.tokens_BT[:, :-1], batch.tokens_BT[:, 1:]
        beside = batch.segments_BT, batch.positions_BT, batch.counted_BT
        seen = _applied(model, key, "features", params, read_BT, *beside)
        costs = _token_costs(seen.x_BTD, seen.output_VD, labels_BT, batch.counted_BT, shaping)
        tokens = _count(batch.counted_BT)
        loss = costs.loss + tokens * _penalty(seen.reports)
        for k, x_BTD in enumerate(seen.further, start=1):
            reached_BT = batch.counted_BT & _reaches(batch.segments_BT, batch.counted_BT, k)
            later = _token_costs(x_BTD, seen.output_VD, jnp.roll(labels_BT, -k, axis=1), reached_BT, shaping)
            loss = loss + further / len(seen.further) * later.loss
        loads = {path: report.load_E for path, report in seen.reports.items()}
        return Total(costs._replace(loss=loss), tokens, loads or None)

    return total


def masked(model: Encoder, z_weight: float = 0.0) -> Objective:
    """Every hidden token from all that are shown, before it and after it.

    A batch has inputs_BT int32 [B, T], and places_BM, labels_BM int32 and counted_BM bool [B, M]: where a token is to
    be guessed, what stood there, and False where that costs nothing. Source: Devlin et al. 2019, §3.1.
    """

    def total(params: Any, batch: Any, key: Array | None) -> Total:
        x_BMD, w_VD, bias_V = _applied(model, key, "masked_features", params, batch.inputs_BT, batch.places_BM)
        shaping = Shaping(z_weight=z_weight)
        costs = _token_costs(x_BMD, w_VD, batch.labels_BM, batch.counted_BM, shaping, bias_V)
        return Total(costs, _count(batch.counted_BM))

    return total


def classification(model: Classifier, consistency: float = 0.0) -> Objective:
    """The class of each text.

    A batch has tokens_BT and types_BT int32 [B, T], and labels_B int32, -1 for a row that costs nothing; what counts as
    a token of the total is a text. Source: Devlin et al. 2019, §4.1; consistency as in `translation`.
    """
    shaping = Shaping(consistency=consistency)

    def total(params: Any, batch: Any, key: Array | None) -> Total:
        read = _readings(consistency > 0 and key is not None, batch.tokens_BT, batch.types_BT)
        logits_RC = _applied(model, key, "__call__", params, *read)
        counted_B = batch.labels_B >= 0
        return Total(summed(shaped_cross_entropy(logits_RC, batch.labels_B, shaping), counted_B), _count(counted_B))

    return total


def answer_log_probabilities(model: Decoder) -> Callable[[Any, Any, Array | None], Array]:
    """(params, batch, key) → log p of both answers of each pair, float32 [B, 2]: the sum over the tokens that count.

    A batch has tokens_B2T [B, 2, T+1] and counted_B2T [B, 2, T].
    """

    def log_p(params: Any, batch: Any, key: Array | None) -> Array:
        tokens_RT, counted_RT = (x.reshape(-1, x.shape[-1]) for x in (batch.tokens_B2T, batch.counted_B2T))
        seen = _applied(model, key, "features", params, tokens_RT[:, :-1], None, None, counted_RT)
        x_ND, labels_N = seen.x_BTD.reshape(-1, seen.x_BTD.shape[-1]), tokens_RT[:, 1:].reshape(-1)
        log_p_N = log_probabilities(x_ND, seen.output_VD, labels_N, model.config.softcap)
        return jnp.sum(jnp.where(batch.counted_B2T, log_p_N.reshape(batch.counted_B2T.shape), 0.0), axis=-1)

    return log_p


def preference(model: Decoder, beta: float, smoothing: float = 0.0, imitation: float = 0.0) -> Objective:
    """The first of two answers is better than the second (Rafailov et al. 2023).

    A batch is one of `answer_log_probabilities` with reference_B2 float32, what that gave for the reference; a row
    without tokens that count is filling. Sums are over pairs: `tokens` counts them, `correct` those of which the better
    has gained more, and `nll` is that of the better answer, the mean of its tokens, which `imitation` weighs in the
    loss (Pang et al. 2024, eq. 1). Experts have no penalties.
    """
    log_p = answer_log_probabilities(model)

    def total(params: Any, batch: Any, key: Array | None) -> Total:
        log_p_B2, count_B2 = log_p(params, batch, key), jnp.sum(batch.counted_B2T, axis=-1)
        real_B, margin_B = jnp.any(count_B2 > 0, axis=1), margin(log_p_B2, batch.reference_B2)
        nll_B = -log_p_B2[:, 0] / jnp.maximum(count_B2[:, 0], 1)
        loss_B = preference_loss(margin_B, beta, smoothing) + imitation * nll_B
        costs = TokenLoss(loss_B, nll_B, (margin_B > 0).astype(jnp.float32))
        return Total(summed(costs, real_B), _count(real_B))

    return total


def _applied(model: nn.Module, key: Array | None, method: str, *arguments: Any) -> Any:
    """What a method of the model gives, with dropout exactly when a key is given."""
    return model.apply(*arguments, method=method, rngs=None if key is None else {"dropout": key})


def _readings(twice: bool, *rows: Array) -> list[Array]:
    """What a model reads of a batch: every row, or every row twice, side by side, so that both lie on one device."""
    return [jnp.repeat(each_B, 2, axis=0) if twice else each_B for each_B in rows]


def _token_costs(
    x_BTD: Array, w_VD: Array, labels_BT: Array, counted_BT: Array, shaping: Shaping, bias_V: Array | None = None
) -> TokenLoss:
    """The costs of predicting all labels that count, summed."""
    x_ND, labels_N, counted_N = x_BTD.reshape(-1, *x_BTD.shape[2:]), labels_BT.reshape(-1), counted_BT.reshape(-1)
    costs: Any = linear_cross_entropy(x_ND, w_VD, labels_N, counted_N, shaping, bias_V=bias_V)
    return costs


def _count(counted: Array) -> Array:
    return jnp.sum(counted, dtype=jnp.float32)


def _penalty(reports: Mapping[str, Any]) -> Array:
    """What all mixtures of experts ask for, over all layers."""
    return jnp.asarray(sum(jnp.sum(report.penalty) for report in reports.values()), jnp.float32)


def _reaches(segments_BT: Array | None, counted_BT: Array, k: int) -> Array:
    """Where the k-th token after the next lies in the same row and is predicted from the same document."""
    inside_T = jnp.arange(counted_BT.shape[1]) < counted_BT.shape[1] - k
    counted_BT = inside_T & jnp.roll(counted_BT, -k, axis=1)
    return counted_BT if segments_BT is None else counted_BT & (jnp.roll(segments_BT, -k, axis=1) == segments_BT)
