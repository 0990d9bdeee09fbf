"""What a decoder learns from chats: an objective, batches, and how well it does on chats that were held out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import singledispatch
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.analysis.flops import training_flops
from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.instruct import Imitation, InstructConfig, Preference
from jaxformer.data import chats
from jaxformer.data.buckets import choose_bounds
from jaxformer.data.chat_rows import ChatRows, PreferenceBatch, PreferenceRows, ShuffledRows, every_row, short_enough
from jaxformer.data.chats import Chat, load_chats, load_preferences
from jaxformer.data.packing import TextBatch
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import Objective, answer_log_probabilities, causal, preference
from jaxformer.ops.preference import margin, preference_loss
from jaxformer.parallel.mesh import make_mesh, state_shardings
from jaxformer.recipes.causal_lm import abstract_rows
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.turns import Turns, encode_answer, encode_chat
from jaxformer.training.evaluation import evaluate_loss, perplexity


class Lesson(ABC):
    """One thing to learn, and the data that teach it."""

    unit = "token"
    """What is predicted, and counts."""
    batches: ShuffledRows
    notes: tuple[str | None, ...]
    """What a person should know of the data."""
    flops_per_token: float
    """Operations of training per prediction that counts, what is only read included."""

    @abstractmethod
    def validate(self, params: Any) -> dict[str, float]:
        """Figures of the valid split by name; the lower the loss, the better."""

    @abstractmethod
    def about(self) -> str:
        """How much there is to learn from, in a line."""


@singledispatch
def lesson(
    learning: Any, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer, weights: Any
) -> Lesson:
    """What a config of learning asks for, from the data of a run that begins with these weights. A new way to learn is
    a config class registered here.
    """
    raise TypeError(f"no lesson for {type(learning).__name__}")


class Imitating(Lesson):
    """Every answer of the assistant, token by token, from all that was said before it."""

    def __init__(self, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer) -> None:
        chats, longest = load_chats(config.data), config.batches.max_length
        train, valid = (
            short_enough([encode_chat(tokenizer, chat) for chat in split], _length, longest, f"{name} chats")
            for name, split in (("train", chats.train), ("valid", chats.valid))
        )
        self._train, self._valid = (ChatRows(kept.examples, model.vocabulary) for kept in (train, valid))
        self.batches = ShuffledRows(self._train, config.batches, config.seed, "chats")
        self.notes = train.notice, valid.notice
        self.flops_per_token = flops(model, self._train) / self._train.counted
        self._loss = jax.jit(causal(model))
        self._held_out = every_row(self._valid, self.batches.bounds, config.batches.tokens)

    def validate(self, params: Any) -> dict[str, float]:
        """Loss in nats a token, perplexity, and the part of the tokens that are the likeliest."""
        total = evaluate_loss(self._loss, params, (rows.batch for rows in self._held_out))
        nll = float(total.costs.nll / total.tokens)
        return {"loss": nll, "perplexity": perplexity(nll), "accuracy": float(total.costs.correct / total.tokens)}

    def about(self) -> str:
        train, valid = self._train, self._valid
        return (
            f"{len(train.lengths):,} / {len(valid.lengths):,} chats, of {train.read:,} tokens of training "
            f"{train.counted:,} are the assistant's"
        )


@lesson.register
def _(
    learning: Imitation, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer, weights: Any
) -> Lesson:
    return Imitating(config, model, tokenizer)


class Preferring(Lesson):
    """Of two answers to the same chat the chosen one is to gain more than the rejected one, measured by what the
    weights before training make of both, which is computed once.
    """

    unit = "pair"

    def __init__(
        self, learning: Preference, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer, weights: Any
    ) -> None:
        pairs, longest = load_preferences(config.data), config.batches.max_length
        train, valid = (
            short_enough([_encoded(tokenizer, pair) for pair in split], _longer, longest, f"{name} pairs")
            for name, split in (("train", pairs.train), ("valid", pairs.valid))
        )
        self._learning, self._tokens = learning, config.batches.tokens
        self._log_p = jax.jit(answer_log_probabilities(model))
        self._train, self._valid = (PreferenceRows(kept.examples, model.vocabulary) for kept in (train, valid))
        self._bounds = choose_bounds(self._train.lengths, config.batches.buckets)
        laid_out = state_shardings(abstract_parameters(model), make_mesh(config.mesh))
        reference = jax.device_put(weights, laid_out)
        of_train, self._of_valid = (self._log_probabilities(reference, rows) for rows in (self._train, self._valid))
        self.batches = ShuffledRows(self._train.referring(of_train), config.batches, config.seed, "pairs")
        self.notes = train.notice, valid.notice
        every = flops(model, self._train.chosen) + flops(model, self._train.rejected)
        self.flops_per_token = every / len(self._train.lengths)

    def validate(self, params: Any) -> dict[str, float]:
        """The loss, the part of the pairs whose better answer has gained more, and by how much, times beta."""
        learning, log_p_N2 = self._learning, jnp.asarray(self._log_probabilities(params, self._valid))
        margin_N, nll_N = margin(log_p_N2, jnp.asarray(self._of_valid)), -log_p_N2[:, 0] / self._valid.chosen.counts
        loss = preference_loss(margin_N, learning.beta, learning.smoothing) + learning.imitation * nll_N
        return {
            "loss": float(np.mean(loss)),
            "accuracy": float(np.mean(margin_N > 0)),
            "margin": learning.beta * float(np.mean(margin_N)),
        }

    def about(self) -> str:
        train, valid = self._train, self._valid
        counted, read = (getattr(train.chosen, name) + getattr(train.rejected, name) for name in ("counted", "read"))
        return (
            f"{len(train.lengths):,} / {len(valid.lengths):,} pairs, of {read:,} tokens of training {counted:,} are "
            "the assistant's"
        )

    def _log_probabilities(self, params: Any, rows: PreferenceRows) -> np.ndarray:
        """Of both answers of every pair, float32 [N, 2]."""
        log_p_N2 = np.zeros((len(rows.lengths), 2), np.float32)
        for rows_B, batch in every_row(rows, self._bounds, self._tokens):
            log_p_N2[rows_B[rows_B >= 0]] = np.asarray(self._log_p(params, batch, None))[rows_B >= 0]
        return log_p_N2


@lesson.register
def _(
    learning: Preference, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer, weights: Any
) -> Lesson:
    return Preferring(learning, config, model, tokenizer, weights)


def _encoded(tokenizer: PretrainedTokenizer, pair: chats.Preference) -> tuple[Turns, Turns]:
    """The whole chat with either answer."""
    chosen, rejected = (encode_answer(tokenizer, pair.messages, answer) for answer in (pair.chosen, pair.rejected))
    return chosen, rejected


def _length(turns: Turns) -> int:
    return len(turns.ids)


def _longer(pair: tuple[Turns, Turns]) -> int:
    return max(map(_length, pair))


@singledispatch
def objective(learning: Any, model: Decoder) -> Objective:
    """What a step lowers. A new way to learn registers itself here."""
    raise TypeError(f"no objective for {type(learning).__name__}")


@objective.register
def _(learning: Imitation, model: Decoder) -> Objective:
    return causal(model)


@objective.register
def _(learning: Preference, model: Decoder) -> Objective:
    return preference(model, learning.beta, learning.smoothing, learning.imitation)


@singledispatch
def abstract_batch(learning: Any, rows: int, length: int) -> Any:
    """The shapes of a batch of so many rows, of which a step reads so many tokens. A new way to learn registers itself
    here.
    """
    raise TypeError(f"no batches for {type(learning).__name__}")


@abstract_batch.register
def _(learning: Imitation, rows: int, length: int) -> TextBatch:
    return abstract_rows(rows, length, packed=False)


@abstract_batch.register
def _(learning: Preference, rows: int, length: int) -> PreferenceBatch:
    of, two = cast(Any, jax.ShapeDtypeStruct), (rows, 2)
    tokens, counted = of((*two, length + 1), jnp.int32), of((*two, length), bool)
    return PreferenceBatch(tokens, counted, of(two, jnp.float32))


def flops(model: Decoder, rows: ChatRows) -> float:
    """Operations of training on every row once, as if all were of the mean length."""
    count = len(rows.lengths)
    return count * sum(training_flops(model.config, model.vocabulary, 0, rows.read / count).values())


@singledispatch
def held_out_prompts(learning: Any, data: str) -> Iterator[Chat]:
    """The chats of the valid split up to where the assistant is to speak. A new way to learn registers itself here."""
    raise TypeError(f"no prompts for {type(learning).__name__}")


@held_out_prompts.register
def _(learning: Imitation, data: str) -> Iterator[Chat]:
    for chat in load_chats(data).valid:
        yield chat[: next((n for n, message in enumerate(chat) if n and message["role"] == "assistant"), len(chat))]


@held_out_prompts.register
def _(learning: Preference, data: str) -> Iterator[Chat]:
    return (pair.messages for pair in load_preferences(data).valid)
