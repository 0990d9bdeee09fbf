"""What a run trains, whatever it is: a model, the batches that it learns from, and its compiled step."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from jaxformer.config.errors import UserError
from jaxformer.data.buckets import Shape
from jaxformer.objectives import Objective
from jaxformer.parallel.gather import gathered
from jaxformer.parallel.mesh import batch_shardings, make_mesh, place, replicated, state_shardings
from jaxformer.text.tokenizer import Tokenizer
from jaxformer.training.diagnosis import first_unsound
from jaxformer.training.given import check_given, over
from jaxformer.training.guard import remembering
from jaxformer.training.loop import Validation
from jaxformer.training.optimizers import optimizer
from jaxformer.training.run import RunFolder, warn, write_whole
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import Metrics, ShapedStep, make_step, micro_batches


class Job(ABC):
    """A model, the batches that it learns from, and what it learns: all that a run needs but its folder.

    Args:
        config: a `TrainingConfig` that has a `model`.
        model: the module.
        tokenizer: what the run keeps beside its weights.
        batches: `batches[i]` for any i ≥ 0 is a NamedTuple of arrays of one of `shapes`, which have `rows`; besides
            `per_epoch` and a `fingerprint`.
        objective: what is learned.
        given: weights to begin with, a part of the parameters' tree; the others are drawn.
    """

    unit = "token"
    """What is predicted."""

    frozen: Any = None
    """Arrays on their devices that every step is given and none changes; see `objective_with`."""

    def __init__(
        self,
        config: Any,
        model: Any,
        tokenizer: Tokenizer,
        batches: Any,
        objective: Objective,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.model, self.tokenizer, self.batches = config, model, tokenizer, batches
        self.objective, self._given = objective, given
        self.mesh = make_mesh(config.mesh)
        self.place = partial(place, mesh=self.mesh)
        rule = optimizer(config.optimization, config.steps, config.model.width)
        self._optimizer = remembering(rule, config.optimization.spikes)
        boxed = jax.eval_shape(self._boxed_state)
        self._boxed_params = boxed.params
        self.shardings = state_shardings(boxed, self.mesh)
        self.abstract = _laid_out(nn.unbox(boxed), self.shardings)
        check_given(given, self.abstract.params)
        self._samples: Path | None = None
        self._check_accumulation()

    @abstractmethod
    def inputs(self) -> tuple[Any, ...]:
        """What the model is called with, as small as can be."""

    @abstractmethod
    def abstract_batch(self, shape: Shape) -> Any:
        """A batch of this shape, with `jax.ShapeDtypeStruct` for arrays."""

    @abstractmethod
    def validate(self, step: int, params: Any) -> Validation:
        """How well the parameters do on the valid split."""

    @abstractmethod
    def flops_per_token(self) -> float:
        """Operations of training per predicted token."""

    @abstractmethod
    def about(self) -> dict[str, str]:
        """What the data and the batches are, a line each, by its first word."""

    def notes(self) -> Iterable[str | None]:
        """What a person should know of the data before the run."""
        return ()

    def bias_rates(self) -> dict[str, float]:
        """How fast the biases of experts move, as `balance.bias_rates` has them."""
        return {}

    def drawn(self, key: Any) -> Any:
        """The parameters before training, in Flax's boxes."""
        return self.model.init(key, *self.inputs())

    def objective_with(self, frozen: Any) -> Objective:
        """What is learned, over the mesh, while what is frozen is at hand."""
        return gathered(self.objective, self._boxed_params, self.mesh)

    def new_state(self) -> TrainState:
        """The state before the first step, on its devices."""
        # As an argument, for a constant of a program is compiled with it.
        return jax.jit(self._new_state, out_shardings=self.shardings)(self._given)

    def compile(self) -> None:
        """Compile the step for every shape of batch."""
        batches = [self.abstract_batch(shape) for shape in self.batches.shapes]
        batches = [_laid_out(batch, batch_shardings(batch, self.mesh)) for batch in batches]
        self._step = ShapedStep(self.sharded_step(), self.abstract, batches, self.frozen)

    def sharded_step(self) -> Any:
        """The step over the mesh, jitted, of (state, batch, what is frozen); the state is donated and comes back laid
        out as it was.
        """
        o, biases = self.config.optimization, self.bias_rates()

        def step(state: TrainState, batch: Any, frozen: Any = None) -> tuple[TrainState, Metrics]:
            objective = self.objective_with(frozen)
            return make_step(objective, self._optimizer, o.average, o.accumulate, biases, o.spikes)(state, batch)

        return jax.jit(step, out_shardings=(self.shardings, replicated(self.mesh)), donate_argnums=0)

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of the compiled step, as `ShapedStep.memory`."""
        return self._step.memory

    def step(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """One update."""
        return self._step(state, batch, self.frozen)

    def where_unsound(self, state: TrainState, batch: Any, step: int) -> str | None:
        """Where the numbers of a step that begins with this state first are not finite, in words; None where all are.

        `step` is its number. Dropout is as it was in the step.
        """
        batch, key = self.place(batch), jax.random.fold_in(state.key, step - 1)
        count, parts = self.config.optimization.accumulate, [(batch, key)]
        if count > 1:
            stacked = micro_batches(batch, key, count)
            parts = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]
        objective = self.objective_with(self.frozen)
        places = (first_unsound(objective, state.params, *part) for part in parts)
        return next(filter(None, places), None)

    def write_samples_to(self, run: RunFolder) -> None:
        """Let every validation leave its samples in the run."""
        run.samples_path.mkdir(exist_ok=True)
        self._samples = run.samples_path

    def keep_sample(self, step: int, text: str) -> None:
        """Write what a validation gave a person to read, where samples are kept."""
        if self._samples is not None:
            try:
                write_whole(self._samples / f"{step:07}.txt", text)
            except OSError as error:
                warn(f"the samples of step {step} could not be written to {self._samples}: {error.strerror}")

    def _boxed_state(self) -> TrainState:
        init, run = jax.random.split(jax.random.key(self.config.seed))
        return self._state_of(self.drawn(init), run)

    def _new_state(self, given: Mapping[str, Any] | None) -> TrainState:
        init, run = jax.random.split(jax.random.key(self.config.seed))
        return self._state_of(over(nn.unbox(self.drawn(init)), given or {}), run)

    def _state_of(self, params: Any, key: Any) -> TrainState:
        return new_state(params, self._optimizer, self.config.optimization.average, key)

    def _check_accumulation(self) -> None:
        """Raises UserError where a batch cannot be cut into so many parts."""
        parts = self.config.optimization.accumulate
        rows = sorted({shape.rows for shape in self.batches.shapes if shape.rows % parts})
        if rows:
            raise UserError(
                f"optimization.accumulate must divide the rows of every batch, got accumulate={parts} for batches of "
                f"{' and '.join(map(str, rows))} rows; lower it, or make the batches larger"
            )


def _laid_out(abstract: Any, shardings: Any) -> Any:
    """Shapes with the places where they are to lie."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, shardings
    )
