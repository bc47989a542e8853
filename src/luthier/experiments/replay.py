"""What arms replay against forgetting: training examples of retained tasks, plain text, or the base's own answers.

Nothing of it is of a test split, and no text on which forgetting is measured is among it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from luthier.config.advice import how_to_set
from luthier.config.arms import Arm
from luthier.config.compare import CompareConfig
from luthier.config.replay import SELF, TASKS, TEXT, ReplayConfig
from luthier.data.text_windows import text_windows
from luthier.errors import ConfigError, DataError, LuthierError
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.continuations import base_continuations, placeholders
from luthier.evaluation.jobs import task_job
from luthier.evaluation.prepared_task import PreparedTask, make_encoder
from luthier.evaluation.run import read_log, run
from luthier.files.store import About
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.records import Encoded, Example
from luthier.tasks.held_out_text import load_texts
from luthier.tasks.loader import load_splits, load_task, with_data_settings
from luthier.tasks.rows.splits import draw_key
from luthier.training.stream import TrainingSet, prepare_records, training_set, with_quotas, with_replay

REPLAYED = "replayed"
"""The origin of replayed records."""


@dataclass(frozen=True)
class ReplaySources:
    """What can be replayed.

    Attributes:
        config: Of the comparison.
        model: The base.
        target: The task that is trained on.
        retained: The tasks on which forgetting is measured.
        texts: Plain text that is kept apart from what forgetting is measured on.
    """

    config: CompareConfig
    model: LanguageModel
    target: PreparedTask
    retained: Sequence[PreparedTask]
    texts: Sequence[str] = field(default=())


def with_replayed(
    target: TrainingSet[Encoded], arm: Arm, pools: Mapping[str, Sequence[Encoded]]
) -> TrainingSet[Encoded]:
    """Return what an arm learns from: the target's records, and those that it replays."""
    if arm.replay is None:
        return target
    wanted, pool = arm.replay.beside(len(target.records)), pools[arm.replay.source]
    if arm.replay.budget == "add":
        return with_replay(target, training_set(REPLAYED, pool[:wanted]))
    # Every epoch has other ones, as far as there are any.
    count = max(1, wanted)
    fresh = training_set(REPLAYED, pool[: math.ceil(count * max(1.0, arm.training.epochs))])
    return with_quotas(with_replay(target, fresh), (len(target.records) - count, count))


def replay_pools(arms: Sequence[Arm], sources: ReplaySources, examples: int) -> dict[str, tuple[Encoded, ...]]:
    """Prepare the records of every source from which an arm replays, as many as the arm that takes most.

    Args:
        arms: What is compared.
        sources: What can be replayed.
        examples: Training examples of the target.

    Raises:
        ConfigError: An arm replays from nothing.
        DataError: A source cannot be read, or none of its examples fits.
    """
    pools: dict[str, tuple[Encoded, ...]] = {}
    for arm in arms:
        if arm.replay is not None and arm.replay.source not in pools:
            source = arm.replay.source
            most = max(_most(other, examples) for other in arms if other.replay and other.replay.source == source)
            found = _pool(arm.name, arm.replay, sources, most)
            pools[source] = tuple(replace(record, origin=REPLAYED) for record in found)
    return pools


def _most(arm: Arm, examples: int) -> int:
    """Return how many different examples an arm can replay."""
    assert arm.replay is not None
    passes = max(1.0, arm.training.epochs) if arm.replay.budget == "replace" else 1.0
    return max(1, math.ceil(arm.replay.beside(examples) * passes))


def _pool(name: str, asked: ReplayConfig, sources: ReplaySources, count: int) -> Sequence[Encoded]:
    where = f"arm '{name}', replay"
    if asked.source == SELF and not sources.retained:
        return _continuations(sources, count)
    if asked.source in (TASKS, SELF):
        if not sources.retained:
            raise nothing_to_replay(name)
        examples = _of_tasks(sources, count)
        # A dry run asks the base nothing: the examples' own answers are about as long.
        own = asked.source == TASKS or sources.config.dry_run
        return _records(examples if own else _answered_by_base(examples, sources), where)
    if asked.source == TEXT:
        if not sources.texts:
            fix = f"Name a text with {how_to_set('retention_text', 'FILE')}, or replay from a file: `from: FILE`."
            raise ConfigError("no plain text is named that could be replayed", where=where, fix=fix)
        return _windows(sources.model, sources.texts, where)[:count]
    return _of_file(asked.source, sources, count, where)


def fisher_records(arms: Sequence[Arm], sources: ReplaySources) -> tuple[Encoded, ...]:
    """Prepare training examples of the retained tasks, in turns, for arms that measure Fisher information on them.

    Raises:
        ConfigError: There is no retained task, or an arm trains no weights of the base.
        DataError: A task cannot be read, or none of the examples fits.
    """
    asking = [arm for arm in arms if arm.anchor.ewc]
    if not asking:
        return ()
    where = f"arm '{asking[0].name}', anchor.ewc"
    if not sources.retained:
        fix = f"Name tasks with {how_to_set('retain', '[topic]')}, or leave `ewc` out of the arm."
        what = "no task is retained, on which the Fisher information could be measured"
        raise ConfigError(what, where=where, fix=fix)
    most = max(arm.anchor.fisher_examples for arm in asking)
    return tuple(_records(_of_tasks(sources, most), where))


def nothing_to_replay(name: str) -> LuthierError:
    """Return the error for an arm that needs retained tasks where there is none."""
    tasks = how_to_set("retain", "[topic]")
    fix = f"Name tasks with {tasks} (tasks of lm-eval have no training examples), or leave `replay` out of the arm."
    return ConfigError("no task is retained, so there is nothing to replay", where=f"arm '{name}'", fix=fix)


def _of_tasks(sources: ReplaySources, count: int) -> list[PreparedTask]:
    """Return the retained tasks with training examples, in equal parts."""
    config, each = sources.config, math.ceil(count / len(sources.retained))
    few = config.data.model_copy(update={"train": each})
    return [replace(other, examples=load_splits(other.task, few, config.seed).train) for other in sources.retained]


def _answered_by_base(tasks: Sequence[PreparedTask], sources: ReplaySources) -> list[PreparedTask]:
    """Return the same examples with the base's answers as their targets; what it leaves empty is left out."""
    context = _base_context(sources.config)
    answered: list[PreparedTask] = []
    for other in tasks:
        job = task_job(sources.model, other, context, label=f"base's answers to replay: {other.task.name}")
        run(job)
        texts = {item.id: item.generated or item.text for item in read_log(job).predictions}
        own = [_answered(example, texts[example.id]) for example in other.examples if texts.get(example.id)]
        answered.append(replace(other, examples=tuple(own)))
    return answered


def _base_context(config: CompareConfig) -> EvaluationContext:
    evaluation = config.evaluation
    return EvaluationContext(
        config.runs,
        "",
        config.decoding,
        evaluation.batch_tokens,
        cache=evaluation.cache,
        about=About(arm="base"),
    )


def _continuations(sources: ReplaySources, count: int) -> list[Encoded]:
    """Return what the base writes by itself, where no task gives prompts."""
    config = sources.config
    if config.dry_run:
        return placeholders(sources.model, count)
    return base_continuations(sources.model, count, _base_context(config), seed=config.seed)


def _answered(example: Example, text: str) -> Example:
    return replace(example, targets=(text,), answer=None)


def _records(tasks: Sequence[PreparedTask], where: str) -> list[Encoded]:
    """Return the records of several tasks, in turns."""
    prepared = [prepare_records(CrossEntropy(), other.examples, other.encoder).records for other in tasks]
    found = [record for turn in itertools.zip_longest(*prepared) for record in turn if record is not None]
    if not found:
        what = "none of the examples that would be replayed fits the model"
        raise DataError(what, where=where, fix="Replay from other tasks, or use a model that holds longer texts.")
    return found


def _windows(model: LanguageModel, texts: Sequence[str], where: str) -> list[Encoded]:
    """Return the windows of documents, the first window of each of them first."""
    cut = [
        text_windows(
            model.tokenizer,
            text,
            encoder_decoder=model.encoder_decoder,
            max_length=model.max_length,
            name=f"text-{number}",
        )
        for number, text in enumerate(texts)
    ]
    found = [window for turn in itertools.zip_longest(*cut) for window in turn if window is not None]
    if not found:
        raise DataError("no text is long enough to predict anything", where=where, fix="Give longer documents.")
    return found


def _of_file(name: str, sources: ReplaySources, count: int, where: str) -> Sequence[Encoded]:
    """Return records of a task or a file that the user names: its training split, or its documents."""
    config = sources.config
    if is_text(name):
        return _windows(sources.model, load_texts(name), where)[:count]
    if name == config.task:
        raise ConfigError("the target would be replayed to itself", where=where, fix="Name another task or file.")
    task = with_data_settings(load_task(name, config.data.folder), config.data)
    train = load_splits(task, config.data.model_copy(update={"train": count}), config.seed).train
    if not train:
        fix = "Name a task with training rows, or a file of rows."
        raise ConfigError(f"the task '{task.name}' has no training split to replay", where=where, fix=fix)
    return _records([PreparedTask(task, make_encoder(sources.model, task, config.data), train)], where)


REPLAYED_WORDS = {
    TASKS: "{} training examples of the retained tasks were replayed",
    TEXT: "{} passages of plain text, on which nothing is measured, were replayed",
    SELF: "{} of the base's own answers (to training prompts of the retained tasks, if any is retained) were replayed",
}


def replay_in_words(replay: ReplayConfig, records: int, target: int) -> str:
    """Say what an arm replayed beside so many examples of the target."""
    said = REPLAYED_WORDS.get(replay.source, "{} examples of " + replay.source + " were replayed").format(records)
    if replay.budget == "add":
        return said
    share = replay.beside(target)
    return f"{said}, {share} of the {target} examples of each epoch: it has as many steps as without"


def is_text(name: str) -> bool:
    """Whether a file is plain text rather than rows of a task: documents between blank lines."""
    return name.endswith(".txt")


def apart_from_measured(texts: Sequence[str], arms: Sequence[Arm]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts on which forgetting is measured, and those that arms may replay.

    Where an arm replays text, each half is drawn by a hash of the documents; else all of them are measured on.
    """
    if not any(arm.replay and arm.replay.source == TEXT for arm in arms):
        return tuple(texts), ()
    ordered = sorted(texts, key=lambda text: draw_key(text, 0))
    replayed = set(ordered[: len(ordered) // 2])
    return tuple(text for text in texts if text not in replayed), tuple(text for text in texts if text in replayed)
