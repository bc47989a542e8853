"""What to cite when a run's numbers are published, and the command that repeats them."""

from __future__ import annotations

import re

from luthier.results.records import RunCosts, RunResults

_SOFTWARE = """@software{{luthier,
  title = {{Luthier: fine-tune a language model, and know what was gained, what it cost, and what was forgotten}},
  author = {{{{The Luthier authors}}}},
  year = {{2026}},
  version = {{{version}}},
  note = {{{note}}}
}}"""
_LATEX = re.compile(r"([#$%&_{}])")


def bibtex(results: RunResults) -> str:
    """Return a BibTeX entry for the version of Luthier that made a run, with its commit where that is known."""
    commit = results.environment.commit if results.environment else None
    note = f"Commit {commit}, run {results.run}" if commit else f"Run {results.run}"
    return _SOFTWARE.format(version=results.luthier, note=_LATEX.sub(r"\\\1", " ".join(note.split())))


def repeating(results: RunResults, costs: RunCosts) -> list[tuple[str, str]]:
    """Return what somebody needs to repeat a run, as far as it was recorded: name and value of each."""
    environment, execution = results.environment, costs.execution
    versions = environment.versions if environment else {}
    shown = [f"{name} {versions[name]}" for name in ("torch", "transformers", "peft") if name in versions]
    model, data, task = results.model, results.data, results.task
    weights = f"dequantised from {model.quantisation} ({model.file})" if model.quantisation else ""
    threads = results.threads or costs.threads
    machine = [environment.processor, environment.system] if environment else [costs.device]
    named = [
        ("Command", execution.command if execution else ""),
        ("Finished", execution.finished if execution else ""),
        ("Versions", _joined(f"Luthier {results.luthier}", *shown)),
        ("Machine", _joined(*machine, f"{threads} threads" if threads else "", results.precision)),
        ("Model", _joined(model.name, weights, f"digest {model.digest}" if model.digest else "")),
        ("Licence of the model", model.licence),
        ("Data", _joined(f"{task.name} {task.version}".strip(), f"digest {data.digest}" if data.digest else "")),
        ("Licence of the data", task.licence),
        ("Source of the data", task.citation),
    ]
    return [(name, value) for name, value in named if value]


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
