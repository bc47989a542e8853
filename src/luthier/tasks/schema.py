"""What a task is: a frozen record, made from a YAML file or from the columns of a data file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from luthier.data.joint import Joint
from luthier.display import Displayed
from luthier.metrics.extraction import Extraction
from luthier.records import Row
from luthier.tasks.rows.row_formats import RowFormat
from luthier.tasks.rows.sources import Source
from luthier.tasks.rows.splits import Fractions
from luthier.tasks.rows.templates import Template


@dataclass(frozen=True, slots=True)
class TargetSource:
    """Where the targets come from: templates, lines of a template, or a column that holds a list of them."""

    templates: tuple[Template, ...] = ()
    column: str | None = None
    lines: bool = False


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One way to put the task into words.

    Attributes:
        name: Unique in the task.
        prompt: Renders the prompt.
        targets: Renders the targets of this template; None for the task's own.
        held_out: Never used in training.
        prompts: Renders a prompt for each choice, where the choice stands in the prompt; ``prompt`` is then the first.
        ending: Renders what follows each of them.
    """

    name: str
    prompt: Template
    targets: TargetSource | None = None
    held_out: bool = False
    prompts: tuple[Template, ...] = ()
    ending: Template | None = None


@dataclass(frozen=True, slots=True)
class ExemplarSource:
    """Where the exemplars of a task come from.

    Attributes:
        split: ``train`` or ``validation``: the split that they are taken from.
        order: ``drawn`` by the seed, or the ``first`` rows of the split.
        rows: Fixed rows, rendered by the evaluation template, instead of a split; all of them in order.
        where: File and line of each fixed row, for messages.
    """

    split: str = "train"
    order: Literal["drawn", "first"] = "drawn"
    rows: tuple[Row, ...] = ()
    where: tuple[str, ...] = ()

    @property
    def signature(self) -> str:
        """What a score's signature says of it; "" for the default."""
        if self.rows:
            return "fixed"
        return "" if self == ExemplarSource() else f"{self.order}-{self.split}"


@dataclass(frozen=True, slots=True)
class Task(Displayed):
    """A task, whose rows can be read.

    Attributes:
        name: Unique name.
        version: Changes whenever the numbers would.
        description: What the model must do.
        sources: By split; ``{"all": source}`` where one source holds them all.
        templates: Ways to put it into words; empty where ``row_format`` is a conversation.
        targets: Accepted answers, for templates that have none of their own.
        split_targets: The same for splits where they are written differently.
        choices: The closed set of answers where it is the same for every row.
        choice_templates: Renders each choice of a row; empty for free text.
        choices_column: Column that holds a row's choices, or None.
        id_column: Column with a unique id, or None for a digest of the row.
        group_column: Column that rows sharing a passage have in common, or None.
        part: Renders the part of its split that a row belongs to, or None.
        input_column: Column of the input text, or None for the longest.
        fractions: Shares of the splits that the sources do not have.
        metrics: Names of metrics.
        primary: The number that decides.
        chance: Its value by guessing, or None.
        stop: Texts that end a generated answer.
        special_tokens: Special tokens that are meant where they stand in prompts and targets.
        max_new_tokens: Tokens of a generated answer at most.
        few_shot: Number of exemplars of the few-shot arm.
        exemplars: Where exemplars come from.
        preamble: Renders what stands before everything else, exemplars included; None for nothing.
        extraction: How an answer is taken out of generated text; None where the whole text is the answer.
        chat: Whether the model's chat template is used.
        citation: Whom to cite.
        licence: Licence of the data.
        language: Language of the data.
        overlaps: ``remove`` a prompt from training that stands in validation or test, or ``keep`` it.
        reasoning: What becomes of reasoning that rows of a known format hold apart from an answer: ``learn``,
            ``leave_out``, or ``refuse`` such rows.
        row_format: The recognised format of a data file, or None for a task from YAML.
        where: The file that the task comes from.
        digest: Of everything above that decides what is rendered and measured; not of the rows.
        joint: What stands between prompts and answers where they are tokenised as one text; None where apart.
        other_extractions: Further ways to take out an answer, by name; each is scored.
        choices_lines: Renders a row's choices, one a line; None where they are given otherwise.
        wrong_lines: Renders a row's wrong answers, one a line, for metrics that compare with them; or None.
        group_template: Renders what rows that share a passage have in common, or None.
        constants: Columns that every row has beside its own: the value for which one file's task was made.
        protocol: The published way of measuring that it equals; "" for none.
        bad_answers: Whether an answer that a row says is bad makes an example without a target, or none.
    """

    view: ClassVar[str] = "task"

    name: str
    version: str
    description: str
    sources: Mapping[str, Source]
    templates: tuple[PromptTemplate, ...]
    targets: TargetSource
    split_targets: Mapping[str, TargetSource]
    choices: tuple[str, ...]
    choice_templates: tuple[Template, ...]
    choices_column: str | None
    id_column: str | None
    group_column: str | None
    part: Template | None
    input_column: str | None
    fractions: Fractions
    metrics: tuple[str, ...]
    primary: str
    chance: float | None
    stop: tuple[str, ...]
    special_tokens: tuple[str, ...]
    max_new_tokens: int
    few_shot: int
    exemplars: ExemplarSource
    preamble: Template | None
    extraction: Extraction | None
    chat: bool
    citation: str
    licence: str
    language: str
    overlaps: Literal["remove", "keep"]
    reasoning: Literal["learn", "leave_out", "refuse"]
    row_format: RowFormat | None
    where: str
    digest: str
    joint: Joint | None = None
    other_extractions: Mapping[str, Extraction] = field(default_factory=dict)
    choices_lines: Template | None = None
    wrong_lines: Template | None = None
    group_template: Template | None = None
    constants: Row = field(default_factory=dict)
    protocol: str = ""
    bad_answers: bool = False

    def __repr__(self) -> str:
        return f"<Task {self.name}, version {self.version}: {self.description}>"

    @property
    def has_choices(self) -> bool:
        """Whether the answer is one of a closed set."""
        return bool(self.choice_templates) or self.choices_column is not None or self.choices_lines is not None

    @property
    def training_templates(self) -> tuple[PromptTemplate, ...]:
        """Templates that training may use."""
        return tuple(template for template in self.templates if not template.held_out)

    @property
    def evaluation_template(self) -> PromptTemplate:
        """The one template of every evaluation: the first that is held out, else the first."""
        return next((template for template in self.templates if template.held_out), self.templates[0])

    def facts(self) -> dict[str, str]:
        """Return what the task says beside its templates, each under a short name."""
        choices = (
            ", ".join(self.choices) if self.choices else ("of each row" if self.has_choices else "none: free text")
        )
        beside = f"{Path(self.where).parent}/"
        facts = {
            "what": self.description,
            # What lies beside the task is named as the task names it.
            "sources": ", ".join(f"{split}: {source}".replace(beside, "") for split, source in self.sources.items()),
            "choices": choices,
            "metrics": f"{', '.join(self.metrics)}; decided by {self.primary}",
            "chance": "" if self.chance is None else f"{self.chance:g}",
            "answer": f"at most {self.max_new_tokens} tokens"
            + (f", ends at {', '.join(map(repr, self.stop))}" if self.stop else ""),
            "extract": ""
            if self.extraction is None
            else f"the {self.extraction.which} match of {self.extraction.find}",
            "few-shot": self._exemplars(),
            "protocol": self.protocol,
            "chat template": "used where the model has one" if self.chat else "not used",
            "language": self.language,
            "licence": self.licence,
            "citation": self.citation,
            "digest": self.digest,
        }
        return {name: value for name, value in facts.items() if value}

    def wordings(self) -> dict[str, str]:
        """Return the preamble, if there is one, and the templates under their names, that of evaluations first."""
        written = "" if self.preamble is None else self.preamble.source.removesuffix("\n")
        shown = written.removeprefix("{% raw %}").removesuffix("{% endraw %}")  # the text of a file
        preamble = {"preamble": shown} if shown else {}
        evaluation = self.evaluation_template if self.templates else None
        ordered = sorted(self.templates, key=lambda item: item is not evaluation)
        uses = {item.name: ["evaluation"] * (item is evaluation) + ["held out"] * item.held_out for item in ordered}
        titles = {name: f"{name} ({', '.join(use)})" if use else name for name, use in uses.items()}
        return preamble | {titles[item.name]: item.prompt.source for item in ordered}

    def _exemplars(self) -> str:
        source = self.exemplars
        if source.rows:
            return f"{self.few_shot} of {len(source.rows)} fixed exemplars"
        how = "the first of" if source.order == "first" else "drawn from"
        return f"{self.few_shot} exemplars, {how} the {source.split} split"
