"""Answer rows that nobody has labelled, in their order, with every column that they have."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from luthier.arguments import require_settings
from luthier.config.predict import STDIO, PredictConfig
from luthier.display import Displayed
from luthier.errors import ConfigError, DataError
from luthier.evaluation.adapter_task import task_of_adapter
from luthier.evaluation.answering import choice_probabilities
from luthier.evaluation.jobs import task_job
from luthier.evaluation.prepared_task import PreparedTask, make_encoder, with_exemplars
from luthier.evaluation.run import ensure_answered, read_log
from luthier.experiments.adapted_model import adapted_model, answering_context, encoding_as_trained
from luthier.files.answer_tables import WRITTEN, table_bytes, write_table, written_format
from luthier.files.store_contents import refuse_place_in_store, using_store
from luthier.files.tables import TableFormat, read_table, recognise_format
from luthier.models.language_model import LanguageModel
from luthier.records import Prediction, Row
from luthier.stdio import deliver
from luthier.tasks.loader import load_exemplar_pool, load_task, with_data_settings
from luthier.tasks.schema import Task
from luthier.tasks.unlabelled import unlabelled_examples

ANSWER, FINISH, PROBABILITY = "prediction", "finish", "probability"
DOES_NOT_FIT = "does not fit"
_PRINTED = tuple(name for name in WRITTEN if name != "parquet")


@dataclass(frozen=True, slots=True)
class AnsweredRows(Displayed):
    """Rows with their answers.

    Attributes:
        rows: In the order of the file: its columns, then ``prediction``, ``finish`` and, where the answer is one of a
            closed set, ``probability …`` of each choice.
        unanswered: How many have no answer, since they ask nothing or do not fit the model; ``finish`` says why.
        unparsed: In how many generated texts no answer was found.
    """

    view: ClassVar[str] = "answered rows"

    rows: tuple[Row, ...]
    unanswered: int
    unparsed: int

    def __repr__(self) -> str:
        return f"<AnsweredRows: {len(self.rows):,} rows, {self.unanswered:,} without an answer>"


def predict(config: PredictConfig) -> AnsweredRows:
    """Answer rows by the prompt of a task, and write them.

    Args:
        config: Names the rows, the model, the adapter and the task.

    Raises:
        ConfigError: When there is no task, or no place for the answers.
        DataError: When rows cannot be read or put into words.
        LuthierError: Whatever is wrong with task, model or adapter.
    """
    require_settings(config, PredictConfig, "predict")
    to_file = config.out != Path(STDIO)
    if to_file:
        _check_place(config)
    task = with_data_settings(_task(config), config.data)
    pool = load_exemplar_pool(task, limit=None, seed=config.seed) if config.shots else ()
    with _rows_file(config.rows) as path:
        table = _table_format(path, config)
        numbered = list(read_table(path, table))
    where = "standard input" if config.rows == Path(STDIO) else str(config.rows)
    if not numbered:
        raise DataError("there are no rows", where=where, fix="Give a file with one row or more.")
    rows = [row for _, row in numbered]
    _refuse_own_columns(rows, where)
    examples, silent = unlabelled_examples(task, enumerate(rows, 1), where)
    if not examples:
        raise DataError(f"no row asks anything ({silent['1']})", where=where, fix="Look at the rows and the template.")
    with adapted_model(config) as model:
        encoding = config.data if config.task is not None else encoding_as_trained(config)
        prepared = PreparedTask(task, make_encoder(model, task, encoding), examples)
        prepared, _ = with_exemplars(prepared, pool, config.shots, config.decoding, seed=config.seed)
        predictions = _answers(model, prepared, config)
    answered = _with_answers(rows, predictions, silent, task)
    if to_file:
        write_table(config.out, answered.rows)
    else:
        deliver(table_bytes(answered.rows, table.name if table.name in _PRINTED else "jsonl"))
    return answered


def _check_place(config: PredictConfig) -> None:
    """Refuse a file of answers that cannot be written, before anything is answered."""
    written_format(config.out)
    refuse_place_in_store(config.out, "out")
    if config.out.absolute() == config.rows.absolute():
        raise ConfigError("the rows would be replaced", where="out", fix="Give --out another file.")


def _task(config: PredictConfig) -> Task:
    if config.task is not None:
        return load_task(config.task)
    if config.shots:
        what = "exemplars are rows of a task, and an adapter holds none"
        raise ConfigError(what, where="shots", fix="Name the task with --task, or leave --shots out.")
    if config.adapter is None:
        what = "nothing says how a row is put into words"
        fix = "Name a task with --task, or an adapter that `luthier tune` wrote with --adapter."
        raise ConfigError(what, where="task", fix=fix)
    return task_of_adapter(config.adapter)


@contextmanager
def _rows_file(rows: Path) -> Iterator[Path]:
    """Give the file of rows; standard input is copied into one."""
    if rows != Path(STDIO):
        yield rows
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "rows"
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield copy


def _table_format(path: Path, config: PredictConfig) -> TableFormat:
    """Return the format of the rows; on standard input, what begins neither as JSON nor as Parquet is CSV."""
    if config.format is not None:
        return TableFormat(config.format)
    try:
        return TableFormat(recognise_format(path))
    except DataError:
        if config.rows != Path(STDIO):
            raise
        return TableFormat("csv")


def _refuse_own_columns(rows: Sequence[Row], where: str) -> None:
    """Refuse rows that have a column of the name of one that is added: neither would be what it says."""
    taken = sorted({name for row in rows for name in row if name in (ANSWER, FINISH) or _is_probability(str(name))})
    if taken:
        what = f"there is a column '{taken[0]}' already, and the answers would stand under that name"
        raise DataError(what, where=where, fix="Rename it in the rows.")


def _is_probability(name: str) -> bool:
    return name == PROBABILITY or name.startswith(f"{PROBABILITY} ")


def _answers(model: LanguageModel, prepared: PreparedTask, config: PredictConfig) -> dict[str, Prediction]:
    """Return the answers by the ids of the rows, as `luthier eval` computes and stores them."""
    context = answering_context(config, "predict")
    with using_store(config.runs, remake_damaged=False):
        log = read_log(ensure_answered(task_job(model, prepared, context, label=config.rows.name)))
        return {own.id: own for own in log.predictions}


def _with_answers(
    rows: Sequence[Row], answers: Mapping[str, Prediction], silent: Mapping[str, str], task: Task
) -> AnsweredRows:
    found = []
    for number, row in enumerate(rows, 1):
        own, reason = answers.get(str(number)), silent.get(str(number), DOES_NOT_FIT)
        added = {ANSWER: own.text, FINISH: own.finish} if own else {ANSWER: "", FINISH: reason}
        found.append({**row, **added, **_probabilities(own, task)})
    unparsed = sum(own.unparsed for own in answers.values())
    return AnsweredRows(tuple(found), len(rows) - len(answers), unparsed)


def _probabilities(prediction: Prediction | None, task: Task) -> Row:
    """Return a column for each choice where all rows have the same, else one column that holds them by choice."""
    if not task.has_choices:
        return {}
    known = choice_probabilities(prediction) if prediction is not None else {}
    if task.choices:
        return {f"{PROBABILITY} {choice}": known.get(choice) for choice in task.choices}
    return {PROBABILITY: known or None}
