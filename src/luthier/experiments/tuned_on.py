"""What a tuned model was trained on, as far as its adapter says, and how much of an evaluation stands in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.config.data import EncodingConfig
from luthier.config.evaluation import ScoringConfig
from luthier.errors import LuthierError
from luthier.evaluation.adapter_task import task_of_adapter
from luthier.evaluation.contamination import Verdict, item_text, overlap, training_text
from luthier.evaluation.prepared_task import PreparedTask
from luthier.metrics.seed_runs import Log
from luthier.records import Score
from luthier.results.contamination import Contamination
from luthier.results.scores import score
from luthier.tasks.loader import load_examples, load_task
from luthier.tasks.names import library_names
from luthier.tasks.schema import Task
from luthier.tasks.suites import suite_tasks


@dataclass(frozen=True)
class TunedOn:
    """What a model was tuned on.

    Attributes:
        name: The training data, in words; "" where its rows cannot be read.
        why: Why they cannot; "" where they can.
        texts: Of its training split.
    """

    name: str = ""
    why: str = ""
    texts: tuple[str, ...] = ()

    def measure(
        self, prepared: PreparedTask, log: Log, scoring: ScoringConfig, signature: Mapping[str, str]
    ) -> Contamination:
        """Hold a task's items against the training data, and score clean and contaminated ones apart."""
        if self.why:
            return Contamination("", why=self.why)
        examples = prepared.examples
        found = overlap([item_text(example) for example in examples], self.texts)
        verdicts = {example.id: verdict for example, verdict in zip(examples, found.verdicts, strict=True)}

        def part(verdict: Verdict) -> Score | None:
            own = [prediction for prediction in log if verdicts[prediction.id] == verdict]
            context = {**signature, "items": verdict}
            return score(own, prepared.metrics, scoring, context)[0] if own else None

        return Contamination(
            training=self.name,
            dirty=found.dirty,
            clean=len(examples) - found.dirty - found.unknown,
            unknown=found.unknown,
            on_clean=part("clean"),
            on_dirty=part("dirty"),
        )


def tuned_on(adapter: Path, evaluated: Sequence[Task], data: EncodingConfig) -> TunedOn:
    """Find the rows that an adapter was trained on.

    Its folder holds the task without rows. They are those of an evaluated task that is the same, or of the built-in or
    published task of that name where that is the same; all of its training split counts, whatever part was used.

    Args:
        adapter: The folder.
        evaluated: Tasks that are evaluated now, whose files are known.
        data: Says where the original files of benchmarks are.
    """
    try:
        task = task_of_adapter(adapter)
    except LuthierError as fault:
        return TunedOn(why=fault.what)
    try:
        source = _same_task(task, evaluated, data)
        if source is None:
            return TunedOn(why=f"the adapter names its task '{task.name}', and not where its rows are")
        examples = load_examples(source, "train")
    except LuthierError as fault:
        return TunedOn(why=f"the rows of '{task.name}' cannot be read: {fault.what}")
    name = f"the training split of {task.name}, {len(examples):,} examples"
    return TunedOn(name, texts=tuple(map(training_text, examples)))


def _same_task(task: Task, evaluated: Sequence[Task], data: EncodingConfig) -> Task | None:
    """Return a task of the same name and content that has its rows; None where there is none."""
    for other in evaluated:
        if (other.name, other.digest) == (task.name, task.digest):
            return other
    if task.name in library_names() or task.name in suite_tasks():
        known = load_task(task.name, data.folder)
        return known if known.digest == task.digest else None
    return None
