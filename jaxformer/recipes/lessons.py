"""What a decoder learns from chats: batches, an objective, and how well it does on chats that were held out."""

from abc import ABC, abstractmethod
from functools import singledispatch
from typing import Any

import jax

from jaxformer.analysis.flops import training_flops
from jaxformer.config.instruct import Imitation, InstructConfig
from jaxformer.data.buckets import Shape
from jaxformer.data.chat_rows import ChatRows, ShuffledRows, every_row, short_enough
from jaxformer.data.chats import Chat, load_chats
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import Objective, causal
from jaxformer.recipes.causal_lm import abstract_rows
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.turns import encode_chat
from jaxformer.training.evaluation import evaluate_loss, perplexity


class Lesson(ABC):
    """One thing to learn, and the data that teach it."""

    batches: ShuffledRows
    objective: Objective
    notes: tuple[str | None, ...]
    """What a person should know of the data."""
    flops_per_token: float
    """Operations of training per prediction that counts, what is only read included."""

    @abstractmethod
    def abstract_batch(self, shape: Shape) -> Any:
        """A batch of this shape, with `jax.ShapeDtypeStruct` for arrays."""

    @abstractmethod
    def validate(self, params: Any) -> dict[str, float]:
        """Figures of the valid split by name; the lower the loss, the better."""

    @abstractmethod
    def about(self) -> str:
        """How much there is to learn from, in a line."""


@singledispatch
def lesson(learning: Any, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer) -> Lesson:
    """What a config of learning asks for, from the data of a run. A new way is a config class registered here."""
    raise TypeError(f"no lesson for {type(learning).__name__}")


class Imitating(Lesson):
    """Every answer of the assistant, token by token, from all that was said before it."""

    def __init__(self, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer) -> None:
        chats = load_chats(config.data)
        longest = config.batches.max_length
        encoded = [[encode_chat(tokenizer, chat) for chat in split] for split in (chats.train, chats.valid)]
        train, valid = (
            short_enough(split, [len(chat.ids) for chat in split], longest, f"{name} chats")
            for name, split in zip(("train", "valid"), encoded, strict=True)
        )
        self._train, self._valid = (ChatRows(kept.examples, model.vocabulary) for kept in (train, valid))
        self.batches = ShuffledRows(self._train, config.batches, config.seed, "chats")
        self.objective = causal(model)
        self.notes = train.notice, valid.notice
        self.flops_per_token = flops(model, self._train) / self._train.counted
        self._loss = jax.jit(self.objective)
        self._held_out = every_row(self._valid, self.batches.bounds, config.batches.tokens)

    def abstract_batch(self, shape: Shape) -> Any:
        return abstract_rows(shape.rows, shape.length - 1, packed=False)

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
def _(learning: Imitation, config: InstructConfig, model: Decoder, tokenizer: PretrainedTokenizer) -> Lesson:
    return Imitating(config, model, tokenizer)


def flops(model: Decoder, rows: ChatRows) -> float:
    """Operations of training on every row once, as if all were of the mean length."""
    count = len(rows.lengths)
    return count * sum(training_flops(model.config, model.vocabulary, 0, rows.read / count).values())


@singledispatch
def held_out_prompt(learning: Any, data: str) -> Chat:
    """A chat of the valid split up to where the assistant is to speak. A new way to learn registers itself here."""
    raise TypeError(f"no prompt for {type(learning).__name__}")


@held_out_prompt.register
def _(learning: Imitation, data: str) -> Chat:
    chat = load_chats(data).valid[0]
    return chat[: next((n for n, message in enumerate(chat) if n and message["role"] == "assistant"), len(chat))]
