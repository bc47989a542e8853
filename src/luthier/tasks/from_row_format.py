"""The task of a data file whose columns have a known format: no YAML is needed."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path

from luthier.tasks.rows.row_formats import RowFormat
from luthier.tasks.rows.sources import Source
from luthier.tasks.rows.splits import Fractions
from luthier.tasks.rows.templates import Template
from luthier.tasks.schema import ExemplarSource, PromptTemplate, TargetSource, Task
from luthier.tasks.spec_parts import SHOTS


def task_name(path: str) -> str:
    """Return a task name made of a path or a hub id."""
    stem = re.sub(r"(\.(jsonl|ndjson|json|csv|tsv|parquet|txt|gz))+$", "", Path(path).name or "data")
    return re.sub(r"[^a-z0-9_.-]+", "_", stem.lower()).strip("_.-") or "data"


def task_from_row_format(source: Source, row_format: RowFormat) -> Task:
    """Return the task of a data file whose columns have a known format."""
    where = f"the {row_format.name} template"
    prompt, target = (Template(text, where, trusted=True) for text in (row_format.prompt, row_format.target))
    templates = () if row_format.conversation else (PromptTemplate(row_format.name, prompt, TargetSource((target,))),)
    content = repr((row_format, source.format, source.field))
    return Task(
        name=task_name(source.path),
        version="1",
        description=row_format.sentence,
        sources={"all": source},
        templates=templates,
        targets=TargetSource(),
        split_targets={},
        choices=(),
        choice_templates=(),
        choices_column=None,
        id_column=None,
        group_column=None,
        part=None,
        input_column=row_format.input,
        fractions=Fractions(),
        metrics=("rouge", "exact_match"),
        primary="rougeL",
        chance=None,
        stop=(),
        special_tokens=(),
        max_new_tokens=128,
        few_shot=SHOTS,
        exemplars=ExemplarSource(),
        preamble=None,
        extraction=None,
        chat=row_format.chat,
        citation="",
        licence="",
        language="",
        overlaps="remove",
        reasoning="refuse",
        row_format=row_format,
        where=source.path,
        digest=blake2b(content.encode(), digest_size=16).hexdigest(),
    )
