"""What the results say of a plan's model, task and data, and of an arm's training settings."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.config.training import TrainingConfig
from luthier.experiments.plan import Plan
from luthier.metrics.chance import chance_level
from luthier.models.gguf import read_record
from luthier.models.language_model import LanguageModel
from luthier.records import Prediction
from luthier.results.guessing import majority_baseline
from luthier.results.summaries import DataSummary, ModelSummary, RowCounts, TaskSummary, TrainingSummary


def model_summary(model: LanguageModel) -> ModelSummary:
    """Summarise the pretrained model."""
    record = read_record(model.folder)
    return ModelSummary(
        name=model.name,
        digest=model.digest,
        kind="encoder-decoder" if model.encoder_decoder else "decoder",
        parameters=model.parameters,
        vocabulary=model.vocabulary,
        max_length=model.max_length,
        file=record.file if record else "",
        quantisation=record.quantisation if record else "",
        licence=record.licence if record else "",
    )


def task_summary(plan: Plan, answers: Sequence[Prediction]) -> TaskSummary:
    """Summarise the target task and the splits that are used.

    Args:
        plan: What was read and checked.
        answers: Any arm's answers to the test split: what guessing scores follows from their targets and choices.
    """
    task = plan.target.task
    training = [example.targets[0] for example in plan.data.train if example.targets]
    return TaskSummary(
        name=task.name,
        version=task.version,
        description=task.description,
        primary=task.primary,
        metrics=task.metrics,
        higher_is_better=plan.target.metrics.higher_is_better,
        chance=chance_level(answers, plan.target.metrics),
        splits={"train": len(plan.data.train), "validation": len(plan.data.validation), "test": len(plan.data.test)},
        citation=task.citation,
        licence=task.licence,
        majority=majority_baseline(training, answers, plan.target.metrics),
    )


def data_summary(plan: Plan) -> DataSummary:
    """Summarise what was counted while the data was read and encoded."""
    report, counts = plan.data.report, plan.counts
    rows = RowCounts(
        rows=report.rows,
        given=report.given,
        found=report.found,
        used=report.used,
        duplicates=report.duplicates,
        overlaps=report.overlaps,
        held_out_overlaps=report.held_out_overlaps,
        repeated=report.repeated,
        left_out=report.left_out,
        left_out_rows=report.left_out_rows,
        left_out_why=report.left_out_why,
        sources=report.sources,
        sentences=report.sentences,
    )
    return DataSummary(
        train_cut=counts["train_cut"],
        train_dropped=counts["train_dropped"],
        validation_cut=counts["validation_cut"],
        validation_dropped=counts["validation_dropped"],
        report=rows,
        digest=plan.data.digest,
    )


def training_summary(config: TrainingConfig, learning_rate: float, micro_tokens: int | None = None) -> TrainingSummary:
    """Summarise how an arm was trained.

    Args:
        config: Its settings.
        learning_rate: The peak that was used.
        micro_tokens: The tokens of a pass that were used; None where that is not known.
    """
    given = None if config.micro_tokens == "auto" else config.micro_tokens
    return TrainingSummary(
        learning_rate=learning_rate,
        epochs=config.epochs,
        steps=config.steps,
        batch_size=config.batch_size,
        micro_tokens=micro_tokens or given,
        schedule=config.schedule,
        warmup=config.warmup,
        final_learning_rate_fraction=config.final_learning_rate_fraction,
        weight_decay=config.weight_decay,
        betas=config.betas,
        epsilon=config.epsilon,
        clip_norm=config.clip_norm,
        validations=config.validations,
        validation_examples=config.validation_examples,
        patience=config.patience,
        activation_checkpointing=config.activation_checkpointing,
        frozen_cache_mib=config.frozen_cache_mib,
    )
