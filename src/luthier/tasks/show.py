"""``luthier tasks list | show | preview``: what there is, what a task says, and what its prompts look like."""

from __future__ import annotations

from itertools import islice

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from luthier.errors import DataError, did_you_mean
from luthier.records import Example, Row
from luthier.tasks.loader import load_task
from luthier.tasks.names import library_names
from luthier.tasks.rendering import render, render_with
from luthier.tasks.row_keys import row_id, split_key
from luthier.tasks.rows.notes import RowNotes
from luthier.tasks.rows.sources import read_rows
from luthier.tasks.rows.splits import NAMES
from luthier.tasks.schema import Task
from luthier.tasks.suites import library_suites, suite_tasks
from luthier.tasks.task_rows import source_parts


def list_all() -> RenderableType:
    """Return the tables of built-in tasks and of suites."""
    return Group(list_tasks(), list_suites())


def list_tasks() -> Table:
    """Return a table of the built-in tasks."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("task", "what the model must do", "answer", "decided by", "chance", "licence"):
        table.add_column(column, no_wrap=column in ("task", "decided by"))  # a name that is cut cannot be typed
    for name in library_names():
        task = load_task(name)
        kind = "choice" if task.has_choices else "text"
        table.add_row(*_texts(name, task.description, kind, task.primary, _chance(task), task.licence))
    return table


def list_suites() -> Table:
    """Return a table of the benchmark suites, and of the benchmark tasks that are in none."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("suite", "what it measures", "tasks", "groups"):
        table.add_column(column, no_wrap=column == "suite")
    suites = library_suites()
    for name, suite in suites.items():
        groups = ", ".join(group for group in suite.averages if group != name)
        table.add_row(*_texts(name, suite.description, str(len(suite.tasks)), groups))
    held = {task for suite in suites.values() for task in suite.tasks}
    for name in suite_tasks():
        if name not in held:
            table.add_row(*_texts(name, load_task(name, rows=False).description, "1", ""))
    return table


def show_task(task: Task) -> RenderableType:
    """Return everything that a task says."""
    table = Table(show_header=False, title=Text(f"{task.name}, version {task.version}"))
    for name, value in task.facts().items():
        table.add_row(*_texts(name, value))
    panels = [Panel(Text(source), title=Text(name)) for name, source in task.wordings().items()]
    return Group(table, *panels)


def preview(task: Task, *, split: str = "train", rows: int = 1, template: str | None = None) -> RenderableType:
    """Return the prompts and targets of the first rows of a split, rendered by every template.

    Args:
        task: The task.
        split: Whose source is read; ignored where one source holds all splits.
        rows: How many.
        template: Only this one.

    Raises:
        DataError: When there is no such split or template, or a row cannot be rendered.
    """
    names = [item.name for item in task.templates]
    if template is not None and template not in names:
        raise DataError(f"no template is called '{template}'", where=task.where, fix=did_you_mean(template, names))
    parts = source_parts(task)
    known = NAMES if "all" in parts else tuple(parts)
    if split not in known:
        raise DataError(f"no {split} split", where=task.where, fix=did_you_mean(split, known))
    source = parts.get("all") or parts[split]
    panels: list[RenderableType] = []
    for number, own in enumerate(islice(read_rows(source), rows), 1):
        row = {**task.constants, **own}
        panels += [_panel(number, example) for example in _examples(task, row, split, template, f"row {number}")]
    return Group(*panels)


def _examples(task: Task, row: Row, split: str, template: str | None, where: str) -> list[Example]:
    key = row_id(task, row, where)
    group, _ = split_key(task, row, key, where)
    if not task.templates:
        return list(
            render(task, row, key=key, group=group, split=split, evaluation=True, where=where, notes=RowNotes())
        )
    chosen = [item for item in task.templates if template in (None, item.name)]
    return [render_with(task, item, row, key=key, group=group, split=split, where=where) for item in chosen]


def _panel(number: int, example: Example) -> Panel:
    text = Text(example.preamble, style="italic")
    if example.system:
        text.append(f"{example.system}\n\n", style="italic")
    for turn in example.turns:
        text.append(f"{turn.prompt}\n", style="dim")
        text.append(f"{turn.reply}\n\n", style="dim green")
    start, end = example.input_span or (0, 0)
    text.append(example.prompt[:start])
    text.append(example.prompt[start:end], style="cyan")
    text.append(example.prompt[end:])
    for target in example.targets:
        text.append(f"\n→ {target}", style="bold green")
    if example.choices:
        text.append(f"\nchoices: {', '.join(example.choices)}", style="dim")
    return Panel(text, title=Text(f"row {number} · {example.template}"), title_align="left")


def _chance(task: Task) -> str:
    return "" if task.chance is None else f"{task.chance:g}"


def _texts(*cells: str) -> list[Text]:
    # Rows and YAML are other people's text: never read as rich's markup.
    return [Text(cell) for cell in cells]
