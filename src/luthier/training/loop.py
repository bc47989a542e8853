"""The training loop: one function whose moving parts are its arguments."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from luthier.config.training import TrainingConfig
from luthier.data.batching import ENOUGH, ENOUGH_ON_ACCELERATOR, StepPlan, micro_batches
from luthier.errors import TrainingError
from luthier.files.atomic import writing
from luthier.kernels.peak_memory import peak_bytes
from luthier.kernels.variable_length import as_now
from luthier.methods.base import Attached, load_weights, read_tensors, snapshot
from luthier.models.frozen_activations import reuse_frozen_activations
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import Objective, cross_entropy, supervised_tokens
from luthier.progress import progress as show_progress
from luthier.progress import say
from luthier.records import Encoded
from luthier.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from luthier.training.log import TrainingLog
from luthier.training.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from luthier.training.trackers import tracking


@dataclass(frozen=True, slots=True)
class Validation:
    """What one look at the validation split found.

    Attributes:
        loss: Nats per supervised token.
        metric: Name of the number that chooses the best weights.
        value: That number.
        higher_is_better: Its direction.
    """

    loss: float
    metric: str
    value: float
    higher_is_better: bool

    @property
    def score(self) -> float:
        """The value, turned so that higher is better."""
        return self.value if self.higher_is_better else -self.value


Validate = Callable[[], Validation]

_NUMBERS = 2**19
"""Numbers in one hidden state of a forward pass that keep a CPU's cores busy: twice as many gave a Llama 256 wide
nothing, half as many cost one 576 wide a tenth of its speed, and memory grows with them."""

_PRECISIONS: dict[str, torch.dtype | Literal["auto"] | None] = {
    "auto": "auto",
    "float32": None,
    "bf16": torch.bfloat16,
}


def train(
    model: LanguageModel,
    attached: Attached,
    examples: Sequence[Encoded],
    plan: StepPlan,
    config: TrainingConfig,
    *,
    peak_learning_rate: float,
    seed: int,
    folder: Path,
    validate: Validate | None = None,
    objective: Objective = cross_entropy,
    label: str = "training",
) -> Progress:
    """Train an attached method, and leave its best weights on the model.

    Args:
        model: The model that the method is attached to.
        attached: Names the parameters that are trained.
        examples: Encoded training examples.
        plan: Which of them make each step.
        config: Everything else.
        peak_learning_rate: Greatest learning rate.
        seed: Of dropout.
        folder: Checkpoints and ``log.jsonl`` go there; a killed run goes on from it to the same bits.
        validate: Looks at the validation split; the last weights are kept when not given.
        objective: Sum of the loss over a batch.
        label: What the progress bar says.

    Raises:
        ConfigError: When the package of a tracker is not installed.
        TrainingError: When the loss or the gradient is not finite; names the examples of the batch.
        StoreError: When the folder cannot be written.
    """
    parameters = attached.trainable()
    optimizer = make_optimizer(parameters, config)
    torch.manual_seed(seed)
    done = _resume(folder, attached, optimizer)
    looks = validation_steps(plan.steps, config.validations if validate else 0)
    padded = model.why_padded()
    if padded is not None and done.step < plan.steps:
        say(f"{label}: batches of this model are padded: {padded}")
    saved = time.monotonic()
    with (
        show_progress(label, plan.steps, "steps", done=done.step) as advance,
        _logging(folder, label, config, done) as log,
        _training_mode(model, config),
        reuse_frozen_activations(model, examples if _reads_again(plan) else (), config.frozen_cache_mib * 2**20),
    ):
        while done.step < plan.steps and not _exhausted(done, config):
            rate = learning_rate(done.step, plan.steps, peak_learning_rate, config)
            batch = [examples[index] for index in plan.indices(done.step)]
            started = time.monotonic()
            loss, norm = _step(model, optimizer, batch, rate, objective, config, done.step)
            seconds = time.monotonic() - started
            tokens = supervised_tokens(batch)
            done = replace(
                done,
                step=done.step + 1,
                seconds=done.seconds + seconds,
                supervised_tokens=done.supervised_tokens + tokens,
            )
            with writing(folder):
                log.append(
                    {
                        "step": done.step,
                        "loss": loss,
                        "learning_rate": rate,
                        "gradient_norm": norm,
                        "tokens_per_second": tokens / max(seconds, 1e-9),
                        "memory_bytes": peak_bytes(model.device),
                    }
                )
            if validate is not None and done.step in looks:
                done = _look(model, attached, validate, done, folder, log)
            with writing(folder):
                if done.step in looks or time.monotonic() - saved >= config.checkpoint_seconds:
                    save_checkpoint(folder, done, snapshot(attached), optimizer_tensors(optimizer, parameters))
                    saved = time.monotonic()
            advance(1, f"loss {loss:.3f}")
    if done.best_step is not None and done.best_step != done.step:
        load_weights(attached, read_tensors(_best(folder, done.best_step)), where=str(folder))
    return done


def _reads_again(plan: StepPlan) -> bool:
    """Whether most examples are read twice or more: by the plan alone, that a run that goes on decides as before."""
    return plan.steps * plan.batch_size >= 1.5 * plan.examples


@contextlib.contextmanager
def _logging(folder: Path, label: str, config: TrainingConfig, done: Progress) -> Iterator[TrainingLog]:
    """Open ``log.jsonl`` and the trackers beside it."""
    settings = config.model_dump(mode="json", exclude_none=True)
    with tracking(config.trackers, run=label, folder=folder, settings=settings) as also:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            log = TrainingLog(folder / "log.jsonl", step=done.step, also=also)
        yield log


def validation_steps(steps: int, looks: int) -> frozenset[int]:
    """Return the steps after which validation is measured, evenly spread, the last step among them."""
    return frozenset(max(1, round(steps * look / looks)) for look in range(1, looks + 1))


def _step(
    model: LanguageModel,
    optimizer: torch.optim.AdamW,
    batch: Sequence[Encoded],
    rate: float,
    objective: Objective,
    config: TrainingConfig,
    step: int,
) -> tuple[float, float]:
    """Take one optimizer step; return the loss per supervised token and the norm of its gradient."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    tokens = supervised_tokens(batch)
    loss = 0.0
    for micro in micro_batches(batch, config.micro_tokens, enough=_enough(model)):
        # The sum over this part, divided by the tokens of the whole step: 8 x 1 is 1 x 8.
        part = objective(model, micro) / tokens
        part.backward()
        loss += float(part.detach())
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    limit = config.clip_norm if config.clip_norm is not None else float("inf")
    norm = float(torch.nn.utils.clip_grad_norm_(weights, limit, foreach=True))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        names = ", ".join(item.id for item in batch)
        raise TrainingError(
            f"the loss ({loss}) or its gradient ({norm}) is not finite; the batch held {names}",
            where=f"step {step + 1}",
            fix="Lower training.learning_rate, or look at these examples; the last checkpoint is kept.",
        )
    optimizer.step()
    return loss, norm


def _enough(model: LanguageModel) -> int:
    """Tokens of a forward pass that keep the device busy: the narrower the model, the more of them."""
    if model.device.type != "cpu":
        return ENOUGH_ON_ACCELERATOR
    width: int = getattr(model.module.config.get_text_config(), "hidden_size", ENOUGH)
    return max(ENOUGH, _NUMBERS // width) if model.why_padded() is None else ENOUGH


def _look(
    model: LanguageModel, attached: Attached, validate: Validate, done: Progress, folder: Path, log: TrainingLog
) -> Progress:
    """Measure validation, log it, and keep the weights if they are the best so far."""
    model.module.eval()
    found = validate()
    model.module.train()
    with writing(folder):
        log.append(
            {
                "step": done.step,
                "validation_loss": found.loss,
                "validation_metric": found.metric,
                "validation_score": found.value,
            }
        )
        done = replace(done, validation_loss=found.loss)
        if not _better(found.score, done.best_score):
            return replace(done, evaluations_without_gain=done.evaluations_without_gain + 1)
        save_file(snapshot(attached), _best(folder, done.step))
        for old in folder.glob("best-*.safetensors"):
            # The best that an older checkpoint names must outlive it.
            if old not in (_best(folder, done.step), _best(folder, done.best_step or 0)):
                old.unlink()
    return replace(done, best_step=done.step, best_score=found.score, evaluations_without_gain=0)


def _better(score: float, best: float | None) -> bool:
    """Whether a score beats the best so far; one that could not be measured beats nothing, and is beaten by any."""
    return best is None or score > best or (math.isnan(best) and not math.isnan(score))


def _best(folder: Path, step: int) -> Path:
    return folder / f"best-{step:08d}.safetensors"


def _exhausted(done: Progress, config: TrainingConfig) -> bool:
    return config.patience is not None and done.evaluations_without_gain >= config.patience


def _resume(folder: Path, attached: Attached, optimizer: torch.optim.AdamW) -> Progress:
    """Put the newest checkpoint in place, if there is one."""
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return Progress()
    load_weights(attached, checkpoint.weights, where=str(folder))
    restore_optimizer(optimizer, attached.trainable(), checkpoint.optimizer)
    return checkpoint.progress


@contextlib.contextmanager
def _training_mode(model: LanguageModel, config: TrainingConfig) -> Iterator[None]:
    """Dropout on (and activations recomputed, if asked) inside; off again after, whatever happens."""
    model.module.train()
    if config.activation_checkpointing:
        model.module.gradient_checkpointing_enable(
            {"use_reentrant": False, "context_fn": partial(as_now, model.module)}
        )
    try:
        with model.in_precision(_PRECISIONS[config.precision]):
            yield
    finally:
        model.module.eval()
        if config.activation_checkpointing:
            model.module.gradient_checkpointing_disable()
