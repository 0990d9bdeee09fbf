"""A recurrence that looks at a memory between its steps: attention as it was before the Transformer, for one sequence.

Letters: T steps, S places of the memory, D input width, M memory width, H hidden width, A scoring width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.additive import additive_weights
from jaxformer.ops.linear import project
from jaxformer.ops.recurrence import Cell, Recurrent, State, step


class Scoring(NamedTuple):
    """The parameters of the network that scores each place of the memory: v · tanh(h W + m U)."""

    state_HA: Array
    memory_MA: Array
    score_A: Array


def attentive_scan(
    cell: Cell, parameters: Recurrent, scoring: Scoring, x_TD: Array, state: State, memory_SM: Array, valid_S: Array
) -> tuple[Array, Array, Array, State]:
    """Before each step the state decides what is read of the memory; the cell takes it in beside its input.

        seen_t = Σ_s softmax_s(v · tanh(h_{t-1} W + m_s U)) m_s
        state_t = cell([x_t, seen_t], state_{t-1})

    x_TD and memory_SM share one floating type, to which weights are rounded and in which the results come; sums, the
    softmax and the state are float32 or wider. `parameters` read inputs of width D + M. valid_S is True for the places
    that may be read; at least one should be, or all are read alike. Returns the outputs h_TH, what was read seen_TM,
    its weights float32 [T, S] and the final state. Source: Bahdanau et al. 2015, §3.1 and appendix A.1.2.
    """
    # The memory's part of the scores does not depend on the step.
    keys_SA = project("sm,ma->sa", memory_SM, scoring.memory_MA)

    def body(state: State, x_D: Array) -> tuple[State, tuple[Array, Array, Array]]:
        query_A = project("h,ha->a", state[0].astype(x_D.dtype), scoring.state_HA)
        weights_S = additive_weights(query_A, keys_SA, scoring.score_A, valid_S)
        seen_M = project("s,sm->m", weights_S.astype(x_D.dtype), memory_SM)
        h_H, state = step(cell, parameters, jnp.concatenate([x_D, seen_M]), state)
        return state, (h_H, seen_M, weights_S)

    state, (h_TH, seen_TM, weights_TS) = jax.lax.scan(body, state, x_TD)
    return h_TH, seen_TM, weights_TS, state
