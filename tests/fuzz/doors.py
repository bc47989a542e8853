"""The doors by which other people's files and words come in, each with inputs that a stranger might send."""

from __future__ import annotations

import csv
import io
import json
import shutil
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import hostile
import pyarrow as pa
import pyarrow.parquet
import yaml
from fuzzing import Case, Door, raw_characters

from luthier.config.data import DataConfig
from luthier.config.layers import read_settings
from luthier.config.verbs import VERBS
from luthier.data.chat import read_format
from luthier.metrics.score_command import Output, ScoreSettings, run_score
from luthier.metrics.score_inputs import ScoreInputs
from luthier.models.load import load_model, load_reader
from luthier.tasks.loader import load_splits, load_task
from luthier.tasks.rows.templates import Template
from small_job import ECHO, luthier, rows, write_rows
from tiny_models import make_tokenizer, tiny_folder

COMPARE = next(verb for verb in VERBS if verb.name == "compare")
CONFIG: dict[str, Any] = {
    "model": "mini",
    "task": "dialogue_summary",
    "arms": ["zero_shot", {"name": "l", "method": "lora", "settings": {"rank": 4}, "training": {"epochs": 2}}],
    "retain": [],
    "seeds": [0, 1],
    "data": {"train": 5, "max_length": 64},
    "training": {"learning_rate": 1e-3, "betas": [0.9, 0.95]},
    "decoding": {"max_new_tokens": 4},
    "evaluation": {"resamples": 100},
}
_NAMES = ("text", "row", "items", "loop", "x", "_x", "self", "range", "lipsum", "cycler", "dict", "namespace")
_FILTERS = (
    *("upper", "length", "list", "join", "tojson", "sum(start=[])", "round(1000000000,'floor')", "center(100000000)"),
    *(
        "replace('a','aaaaaaaaaaaaaaaa')",
        "batch(3)",
        "map('upper')",
        "attr('__class__')",
        "format(1)",
        "indent(99999999)",
    ),
    *("default('x')", "int", "float", "sort", "unique", "wordwrap(1)", "xmlattr", "random", "groupby('x')", "slice(9)"),
)
_STATEMENTS = (
    "{% for x in range(9999999) %}{{ x }}{% endfor %}",
    "{% for x in range(3000) %}{{ text * 3000 }}{% endfor %}",
    "{% set x = [text] * 1000000 %}{{ x * 1000 }}",
    "{% set _luthier_budget = 10**9 %}{{ text }}",
    "{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}",
    "{% if text %}{{ text }}{% else %}no{% endif %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 'a' * 10 ** 10 }}",
    "{% include 'x' %}",
    "{% raw %}{{ x }}{% endraw %}",
    "{{ text",
    "{% endfor %}",
)


def _expression(draw: Random, depth: int = 0) -> str:
    kind = draw.random()
    if depth > 3 or kind < 0.3:
        return draw.choice((*_NAMES, "1", "'a'", "[1, 'b']", "{'a': 1}", "none", "9" * 400))
    if kind < 0.6:
        return f"({_expression(draw, depth + 1)})|{draw.choice(_FILTERS)}"
    if kind < 0.8:
        operator = draw.choice(("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or"))
        return f"{_expression(draw, depth + 1)} {operator} {_expression(draw, depth + 1)}"
    return f"{_expression(draw, depth + 1)}{draw.choice(('[0]', '.a', '.__class__', '()', '[1:]', '.format(1)'))}"


def _template(draw: Random) -> str:
    parts = []
    for _ in range(draw.randrange(1, 4)):
        kind = draw.random()
        if kind < 0.08:
            parts.append(draw.choice(_STATEMENTS))
        elif kind < 0.7:
            parts.append(f"{{{{ {_expression(draw)} }}}}")
        else:
            parts.append(draw.choice(hostile.WORDS))
    return "".join(parts)


def templates(draw: Random, folder: Path) -> Case:
    """A task's template on a row."""
    template = Template(_template(draw), "a.yaml, prompt")
    row = hostile.row(draw, ("text", "items", "x"))
    return lambda: template.render(row)


@cache
def _tokenizer() -> Any:
    return make_tokenizer()


def chat_templates(draw: Random, folder: Path) -> Case:
    """A model's own chat template."""
    body = _template(draw).replace("text", "messages")
    head = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n"
    tokenizer = _tokenizer()

    def call() -> object:
        tokenizer.chat_template = f"{head}{body}{{% endfor %}}" if draw.random() < 0.7 else body
        return read_format(tokenizer)

    return call


def yaml_files(draw: Random, folder: Path) -> Case:
    """A task's YAML, a configuration, or assignments of ``--set``."""
    kind = draw.randrange(3)
    if kind == 2:
        keys = ("seeds", "training.epochs", "arms", "data", "data.train", "a.b.c", "name", "", "training", "runs")
        values = (
            "1",
            "[",
            "{a: 1}",
            "!!int abc",
            "2024-01-01",
            "&a [*a]",
            "~",
            "9" * 5000,
            "'",
            "1e999",
            "\x1b",
            "!!python/x",
        )
        given = [f"{draw.choice(keys)}={draw.choice(values)}" for _ in range(2)]
        return lambda: read_settings(COMPARE, {}, assignments=given)
    write_rows(folder / "train.jsonl", rows("train", 6))
    whole = hostile.changed(draw, ECHO if kind else CONFIG, draw.randrange(0, 4))
    try:
        text = yaml.safe_dump(whole, allow_unicode=True)
    except Exception:
        text = "a: ["
    lines = (
        "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b]\n",
        "when: 2024-02-30\n",
        "n: !!int abc\n",
        "x: &x {y: *x}\n",
        "[" * 20000,
        "n: " + "9" * 5000 + "\n",
        "? [a]\n: b\n",
        "\t",
    )
    if draw.random() < 0.2:
        text += draw.choice(lines)
    path = folder / "a.yaml"
    content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(hostile.broken(draw, content, 3) if draw.random() < 0.3 else content)
    if kind:
        return lambda: _splits(str(path))
    return lambda: read_settings(COMPARE, {}, file=path)


def _splits(name: str) -> object:
    return load_splits(load_task(name), DataConfig(max_lost=1.0), 0)


def models(draw: Random, folder: Path) -> Case:
    """A model's folder; its weights are read now and then, because that takes longer."""
    place = folder / "model"
    shutil.copytree(tiny_folder(draw.choice(("llama", "gpt2", "t5"))), place)
    files = sorted(path for path in place.iterdir() if path.suffix == ".json")
    path = draw.choice(files)
    kind = draw.random()
    if kind < 0.75:
        content = json.loads(path.read_text())
        small = content if path.stat().st_size < 20_000 else {key: content[key] for key in list(content)[:3]}
        whole = hostile.changed(draw, small, draw.randrange(1, 4))
        path.write_text(json.dumps(content | whole if isinstance(whole, dict) and small is not content else whole))
    elif kind < 0.85:
        path.write_bytes(hostile.broken(draw, path.read_bytes(), 3))
    elif kind < 0.95:
        path.unlink()
        draw.choice((path.mkdir, lambda: path.symlink_to("nowhere"), path.touch))()
    else:
        weights = place / "model.safetensors"
        weights.write_bytes(hostile.broken(draw, weights.read_bytes(), 2))
    if draw.random() < 0.5 or kind >= 0.95:
        return lambda: load_model(str(place), device="cpu")
    return lambda: load_reader(str(place))


_ANSWERS = ("prediction", "reference", "id")


def score_inputs(draw: Random, folder: Path) -> Case:
    """Predictions and references, in every format."""
    made = [hostile.row(draw, _ANSWERS) for _ in range(draw.randrange(0, 6))]
    if draw.random() < 0.7:
        made = [one | {"id": f"row-{number}"} for number, one in enumerate(made)]
    path = folder / draw.choice(("a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.parquet"))
    path.write_bytes(_table(draw, made, path.suffix))
    settings = ScoreSettings((draw.choice(("rouge", "exact_match", "bleu", "token_f1", "accuracy")),), 0.95, 50, 0, "")
    output = Output(as_json=draw.random() < 0.5)
    inputs = ScoreInputs((path,), allow_empty=draw.random() < 0.5, size_limit=8)
    return lambda: run_score(inputs, settings, output)


def _table(draw: Random, made: list[dict[str, Any]], suffix: str) -> bytes:
    columns = list(dict.fromkeys(name for one in made for name in one)) or ["prediction"]
    if suffix == ".parquet":
        content = _parquet(draw, made, columns)
    elif suffix in (".csv", ".tsv"):
        sink = io.StringIO()
        writer = csv.writer(sink, delimiter="," if suffix == ".csv" else "\t", lineterminator="\n")
        writer.writerows([columns, *([one.get(name, "") for name in columns] for one in made)])
        content = sink.getvalue().encode("utf-8", "surrogatepass")
    elif suffix == ".json":
        content = json.dumps(made).encode()
    else:
        content = hostile.as_lines(made)
    often = 0.1 if suffix == ".parquet" else 0.25
    return hostile.broken(draw, content, draw.randrange(1, 4)) if draw.random() < often else content


def _parquet(draw: Random, made: list[dict[str, Any]], columns: list[str]) -> bytes:
    """Columns of their own types where they are all alike, else as texts."""
    arrays = []
    for name in columns:
        values = [one.get(name) for one in made]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowException, OverflowError, UnicodeError):
            arrays.append(pa.array([str(each).encode("utf-8", "replace").decode() for each in values]))
    sink = pa.BufferOutputStream()
    names = [name.encode("utf-8", "replace").decode() for name in columns]
    try:
        pyarrow.parquet.write_table(pa.Table.from_arrays(arrays, names=names), sink)
    except pa.ArrowException:  # what Parquet cannot hold: objects without keys
        return b"PAR1"
    content: bytes = sink.getvalue().to_pybytes()
    return content


_FORMATS: tuple[tuple[str, ...], ...] = (
    *(("prompt", "completion"), ("instruction", "input", "output"), ("messages",), ("question", "answer")),
    *(("text", "label"), ("prompt", "chosen", "rejected"), ("conversations",), ("text",), ("query", "choices", "gold")),
)


def data_rows(draw: Random, folder: Path) -> Case:
    """A data file given as a task."""
    columns = draw.choice(_FORMATS)
    made = [hostile.row(draw, columns) for _ in range(draw.randrange(0, 12))]
    for one in made:
        for name in ("messages", "conversations"):
            if name in one and draw.random() < 0.8:
                turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
                one[name] = hostile.changed(draw, turns, draw.randrange(0, 3))
    path = folder / draw.choice(("a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"))
    path.write_bytes(_table(draw, made, path.suffix))
    return lambda: _splits(str(path))


_CONTROLS = ("\x1b]0;owned\x07", "\x1b[2J", "\u202eabc", "\x08\x08", "\x9b31m", "[red]x[/red]", ":smile:", "\x7f", "\r")


def terminal(draw: Random, folder: Path) -> Case:
    """Words with control characters in names, settings and rows, and what the command line prints of them."""
    word = f"a{draw.choice(_CONTROLS)}b{draw.choice(_CONTROLS)}"
    file = folder / f"{word.replace('/', '')}.jsonl"
    write_rows(file, [{"prompt": f"{word} {number}", "completion": word} for number in range(8)])
    scored = write_rows(folder / "s.jsonl", [{"prediction": word, "reference": word, word: word, "id": word}])
    commands: tuple[tuple[object, ...], ...] = (
        ("tasks", "show", word),
        ("tasks", "preview", file),
        ("tasks", "show", file),
        ("compare", "--task", word),
        ("compare", "--arms", word),
        ("compare", "--set", f"{word}=1"),
        ("compare", "--set", f"training.epochs={word}"),
        ("compare", folder / f"{word}.yaml"),
        ("eval", "--model", folder / word),
        ("score", "-p", folder / word),
        ("score", "-p", scored, "--metric", word),
        ("score", "-p", scored, "--by", word),
        ("report", folder / word),
        (word,),
        ("compare", f"--{word}"),
    )
    command = draw.choice(commands)

    def call() -> None:
        ran = luthier(*command)
        raw = raw_characters(ran.out + ran.err)
        assert not raw, f"{command[:2]} prints {raw[:3]!a}"
        assert "Traceback" not in ran.err, ran.err[-300:]

    return call


DOORS: dict[str, Door] = {
    "templates": templates,
    "chat templates": chat_templates,
    "YAML": yaml_files,
    "models": models,
    "score": score_inputs,
    "data": data_rows,
    "terminal": terminal,
}
