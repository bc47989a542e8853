"""``report.html``: a whole run in one offline file, and ``report.md`` beside it.

The page holds its scripts, charts and data and loads nothing; its content security policy forbids the browser to load
anything, or to run any script that was not written here, whatever a prediction says.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vl_convert
import yaml
from markupsafe import Markup

from luthier.arguments import as_path
from luthier.errors import LuthierError
from luthier.files.atomic import write_atomically
from luthier.report import derived, formatting
from luthier.report.answers import SideBySide, read_logs, side_by_side
from luthier.report.calibration import calibrations
from luthier.report.charts.parts import MULTIPLE
from luthier.report.citing import bibtex, repeating
from luthier.report.contents import all_tables
from luthier.report.curve_page import write_curve_report
from luthier.report.curves import Curve, RunKey, read_curve
from luthier.report.environment import environment_rows
from luthier.report.explanations import correction_words, signatures_once
from luthier.report.exports import FORMATS, exported, write_exports
from luthier.report.figures import VEGA_LITE, Figure, figures, png
from luthier.report.html import resource, template
from luthier.report.markdown import markdown
from luthier.report.palette import arm_styles, theme
from luthier.report.plain import flattened, plain
from luthier.report.sequence_page import write_sequence_report
from luthier.report.tables import Table
from luthier.report.words import arm_in_words, settings_in_words
from luthier.results.kinds import CURVE, SEQUENCE, kind_of_run
from luthier.results.records import RunCosts, RunResults, read_costs, read_results
from luthier.visible import visible

_OTHER_KINDS = {CURVE: write_curve_report, SEQUENCE: write_sequence_report}
"""What writes the report of a run that is no comparison."""


def write_report(run: str | Path) -> Path:
    """Write ``report.html``, ``report.md``, ``charts/*.png`` and ``tables/*`` into the folder of a comparison or curve.

    Reads ``results.json``, ``costs.json``, the prediction logs and the training logs; needs no model. The same inputs
    give the same bytes. A log that is missing or damaged is named in the report and left out.

    Args:
        run: The run's folder.

    Returns:
        The path of ``report.html``.

    Raises:
        StoreError: When the results are missing or damaged, or the folder cannot be written.
    """
    run = as_path(run, where="write_report(run)")
    if (kind := kind_of_run(run)) in _OTHER_KINDS:
        return _OTHER_KINDS[kind](run)
    results, costs = read_results(run), read_costs(run)
    curves, gaps = _read_curves(run, results)
    logs = read_logs(run, results)
    answers = side_by_side(run, logs)
    measured, unmeasured = calibrations(logs.arms)
    missing = (*gaps, *answers.gaps, *unmeasured)
    pictures = figures(results, costs, curves, measured, legend=True)
    for figure in pictures:
        write_atomically(run / "charts" / f"{figure.key}.png", png(figure))
    made = all_tables(results, costs)
    write_exports(run / "tables", made)
    text = markdown(results, costs, made, pictures, missing)
    write_atomically(run / "report.md", _utf8(text))
    page = render(results, costs, figures(results, costs, curves, measured, legend=False), answers, missing)
    write_atomically(run / "report.html", _utf8(page))
    return run / "report.html"


def _utf8(text: str) -> bytes:
    # A model can emit half of a surrogate pair, which has no UTF-8; its JSON escape stands for it.
    return text.encode("utf-8", "backslashreplace")


def _read_curves(run: Path, results: RunResults) -> tuple[dict[RunKey, Curve], tuple[str, ...]]:
    """Read the training log of every run of every arm, by arm and seed."""
    curves: dict[RunKey, Curve] = {}
    gaps = []
    for arm in results.arms:
        logs = [(one.seed, one.curve) for one in arm.per_seed] or [(arm.seed, arm.curve)]
        for seed, place in logs:
            if not place:
                continue
            try:
                curves[arm.name, seed] = read_curve(run / place)
            except LuthierError as fault:
                which = f", seed {seed}," if len(logs) > 1 else ""
                gaps.append(f"The learning curve of {arm.name}{which} is left out. {fault}")
    return curves, tuple(gaps)


def render(
    results: RunResults, costs: RunCosts, drawn: Sequence[Figure], answers: SideBySide, gaps: Sequence[str]
) -> str:
    """Return the page's HTML; the arms' names stand beside the charts, so these need no legend."""
    bundle, script = _bundle(), resource("page.js")
    made = all_tables(results, costs)
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {_source_hash(bundle)} {_source_hash(script)}"
    )
    page: str = template("page.html.j2").render(
        results=results,
        costs=costs,
        policy=policy,
        style=Markup(resource("page.css")),  # our own file
        bundle=Markup(bundle),  # the charting libraries
        script=Markup(script),  # our own file
        data=Markup(_json_for_html(_page_data(results, drawn, answers, made))),
        styles=arm_styles([arm.name for arm in results.arms]),
        settings_of=settings_in_words,
        arm_in_words=arm_in_words,
        shown=_shown_first(results),
        tables={table.key: table for table in made},
        formats=FORMATS,
        signatures=signatures_once(results),
        correction=correction_words(results),
        repeating=[(name, visible(value)) for name, value in repeating(results, costs)],
        bibtex=visible(bibtex(results)),
        headline=results.recommendation.headline
        or ("Recommendation" if results.recommendation.decided else "No clear winner"),
        figures=drawn,
        run_labels=_run_labels(results),
        answers=answers,
        gaps=gaps,
        summary_line=_summary_line(results, costs),
        data_rows=list(flattened(asdict(results.data))),
        task_rows=list(flattened(asdict(results.task))),
        model_rows=list(flattened(asdict(results.model))),
        environment_rows=environment_rows(results, costs),
        config=yaml.safe_dump(plain(results.config), sort_keys=True, allow_unicode=True),
    )
    return page


def _summary_line(results: RunResults, costs: RunCosts) -> list[str]:
    n = max((score.n for arm in results.arms if (score := derived.primary(results, arm))), default=0)
    arms = f"{len(results.arms)} arm" + ("s" if len(results.arms) != 1 else "")
    parameters = results.model.parameters
    size = [f"{formatting.count(parameters)} parameters"] if parameters else []
    seeds = max((len(arm.seeds) for arm in results.arms), default=0)
    runs = [f"{seeds} seeds"] if seeds > 1 else []
    known = results.threads or costs.threads
    threads = [f"{known} thread" + ("s" if known != 1 else "")] if known else []
    return [arms, *runs, f"{n:,} test examples", *size, costs.device, *threads]


def _run_labels(results: RunResults) -> list[str]:
    """Return what each training run is called, by its place among the runs of an arm."""
    longest = max((arm.per_seed for arm in results.arms), key=len, default=())
    return [f"seed {run.seed}" for run in longest]


def _shown_first(results: RunResults, most: int = 4) -> list[int]:
    """Return which arms' answers are seen at first: the first arm, the recommended one, then the best by score."""
    better = 1 if results.task.higher_is_better else -1

    def rank(index: int) -> tuple[bool, bool, float]:
        score = derived.primary(results, results.arms[index])
        known = score is not None and math.isfinite(score.value)
        value = better * score.value if score is not None and known else -math.inf
        return index == 0, results.arms[index].name == results.recommendation.arm, value

    return sorted(range(len(results.arms)), key=rank, reverse=True)[:most]


def _page_data(
    results: RunResults, drawn: Sequence[Figure], answers: SideBySide, made: Sequence[Table]
) -> dict[str, Any]:
    styles = arm_styles([arm.name for arm in results.arms])
    return {
        "arms": [{"name": name, "colour": style.colour} for name, style in styles.items()],
        "specs": {figure.key: _responsive(figure.spec) for figure in drawn},
        "multiple": MULTIPLE,
        "light": theme(),
        "dark": theme(dark=True),
        "rows": answers.rows,
        "exports": {table.key: exported(table) for table in made},
    }


def _responsive(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Let the page give the width, and its own words the title; small multiples are laid in rows by the script."""
    rest = {key: value for key, value in spec.items() if key != "title"}
    return rest if "concat" in spec else rest | {"width": "container"}


def _json_for_html(value: Any) -> str:
    """Return JSON that no HTML parser can mistake for markup, and that every browser reads; NaN becomes null."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@functools.cache
def _bundle() -> str:
    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    assert "</script" not in text.lower(), "the libraries can stand inside a script element"
    assert "<!--" not in text, "the libraries can stand inside a script element"
    return text


def _source_hash(script: str) -> str:
    """Return a script's name in a content security policy (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
