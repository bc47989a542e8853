"""What a run says of its model, task, data and training settings: frozen records of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.shares import Share


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The pretrained model.

    Attributes:
        name: Hugging Face id, folder or ``mini``.
        digest: Of its weights and tokenizer; "" where it is not known.
        kind: ``"decoder"`` or ``"encoder-decoder"``.
        parameters: Number of its weights; None where it is not known.
        vocabulary: Token ids that it knows.
        max_length: Tokens that its context holds.
        file: The GGUF file that it was read from; "" for other models.
        quantisation: Types of that file's tensors from which the weights were dequantised, e.g. ``Q4_1``.
        licence: As the file states it; "" where it does not.
    """

    name: str = "the model"
    digest: str = ""
    kind: str = ""
    parameters: int | None = None
    vocabulary: int | None = None
    max_length: int | None = None
    file: str = ""
    quantisation: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What an arm was trained on.

    Attributes:
        examples: Examples read, each as often as it was read; the first seed's where there are several.
        supervised_tokens: Target tokens of these.
        shares: Of the sources of a mixture, or of target and replay; empty where there is the target alone.
    """

    examples: int
    supervised_tokens: int
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class Majority:
    """The baseline that always gives the most frequent answer.

    Attributes:
        answer: The most frequent label.
        value: The primary output of always answering it, on the test split.
        split: The split in which it is the most frequent: ``"train"``, or ``"test"`` where nothing is trained on.
    """

    answer: str
    value: float
    split: str


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """The target task.

    Attributes:
        name: Its name.
        version: Changes whenever its numbers would.
        description: What the model must do.
        primary: The output that the task is judged by; "" where it is not known.
        metrics: Names of its metrics, as they were asked for.
        higher_is_better: Direction of the primary output.
        chance: The primary output of guessing, where that is known.
        splits: Examples of each split that are used.
        citation: Whom to cite.
        licence: Licence of the data.
        majority: What one and the same answer scores, where the answers are classes.
    """

    name: str = "Target task"
    version: str = ""
    description: str = ""
    primary: str = ""
    metrics: tuple[str, ...] = ()
    higher_is_better: bool = True
    chance: float | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    citation: str = ""
    licence: str = ""
    majority: Majority | None = None


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What became of the task's rows before they were encoded.

    Attributes:
        rows: Rows read.
        given: Splits that the source has itself.
        found: Examples of each split, before anything is removed or drawn.
        used: Examples of each split that are used.
        duplicates: Removed from training: the same prompt and target stands elsewhere.
        overlaps: Removed from training: the prompt stands in validation or test.
        held_out_overlaps: Validation prompts that stand in test; not removed.
        repeated: Validation and test examples that repeat one of their split; not removed.
        left_out: Rows from which nothing can be learned.
        left_out_rows: The first of them, with the reason.
        left_out_why: What they have in common.
        sources: What was read.
        sentences: All of this in words.
    """

    rows: int = 0
    given: tuple[str, ...] = ()
    found: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    overlaps: int = 0
    held_out_overlaps: int = 0
    repeated: int = 0
    left_out: int = 0
    left_out_rows: tuple[str, ...] = ()
    left_out_why: str = ""
    sources: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What was counted while the data was read and encoded.

    Attributes:
        train_cut: Training examples whose input text was cut to fit.
        train_dropped: Training examples that do not fit.
        validation_cut: The same for validation.
        validation_dropped: The same for validation.
        report: What became of the rows before that; None where it was not recorded.
        digest: Of all examples of the three splits, as they were rendered; "" where it was not recorded.
    """

    train_cut: int = 0
    train_dropped: int = 0
    validation_cut: int = 0
    validation_dropped: int = 0
    report: RowCounts | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How an arm was trained. A setting that is None was not given, or not recorded.

    Attributes:
        learning_rate: Peak learning rate, the method's own default where none was given.
        epochs: Passes over the training examples.
        steps: Optimizer steps, where they were given instead of epochs.
        batch_size: Examples in one optimizer step.
        micro_tokens: Tokens in one forward pass at most, as given or as chosen; of the first seed.
        schedule: How the learning rate falls after the warm-up.
        warmup: Share of the steps over which it rises from 0.
        final_learning_rate_fraction: Share of the peak that is left at the last step.
        weight_decay: AdamW's decoupled weight decay.
        betas: AdamW's averaging coefficients.
        epsilon: AdamW's denominator term.
        clip_norm: Greatest norm of the gradient.
        validations: How many times the validation split is measured.
        validation_examples: Examples on which validation generates answers.
        patience: Validations without a gain after which training stops early.
        activation_checkpointing: Whether activations are computed anew in the backward pass.
        frozen_cache_mib: Memory for the states of examples below the first trained block.
    """

    learning_rate: float | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    micro_tokens: int | None = None
    schedule: str | None = None
    warmup: float | None = None
    final_learning_rate_fraction: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] | None = None
    epsilon: float | None = None
    clip_norm: float | None = None
    validations: int | None = None
    validation_examples: int | None = None
    patience: int | None = None
    activation_checkpointing: bool | None = None
    frozen_cache_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What a search on the validation split tried and chose.

    Attributes:
        trials: Trainings that were begun.
        pruned: Those that were stopped early.
        failed: Those whose loss, weights or score were not finite.
        space: What was searched, in words.
        chosen: What is used.
        score: Its validation score.
        default_score: That of the defaults, which were the first trial.
        failures: Which trials failed, and why.
    """

    trials: int
    pruned: int
    failed: int
    space: dict[str, str]
    chosen: dict[str, float]
    score: float
    default_score: float | None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a run was computed: what its numbers can depend on, and the same when it is repeated there.

    Attributes:
        system: Operating system and architecture.
        processor: Name of the processor; "" where it is not known.
        cores: Of the machine; None where it is not known.
        device: Name of the accelerator, or ``"cpu"``.
        python: Version of Python.
        versions: Version of each package that numbers can depend on.
        commit: Luthier's git commit, ``+`` where files differed from it; "" where it was installed from a release.
    """

    system: str = ""
    processor: str = ""
    cores: int | None = None
    device: str = ""
    python: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """The last execution of a run, which wrote its results; work that earlier ones finished was not done again.

    Attributes:
        command: As it was typed.
        started: Date and time (ISO 8601, UTC).
        finished: Likewise.
    """

    command: str = ""
    started: str = ""
    finished: str = ""
