"""What a run says about how to repeat and to cite it."""

from __future__ import annotations

from dataclasses import replace

import example_run
from luthier.report.citing import bibtex, repeating
from luthier.report.tables import quality_table
from luthier.results.summaries import DataSummary, Environment, Execution, ModelSummary

RUN = replace(
    example_run.results(),
    run="a_run",
    luthier="0.1.0",
    threads=2,
    model=ModelSummary("tiny.gguf", "9f2c", file="tiny.gguf", quantisation="Q4_1 + Q8_0", licence="apache-2.0"),
    data=DataSummary(digest="41aa"),
    environment=Environment(
        system="Linux x86_64", processor="AMD EPYC", versions={"torch": "2.13.0", "numpy": "2.4.6"}, commit="4117a6c"
    ),
)
COSTS = replace(
    example_run.costs(), execution=Execution("luthier compare --name a_run", finished="2026-11-27T06:44:00+00:00")
)


def test_what_is_needed_to_repeat_a_run_stands_together() -> None:
    assert dict(repeating(RUN, COSTS)) == {
        "Command": "luthier compare --name a_run",
        "Finished": "2026-11-27T06:44:00+00:00",
        "Versions": "Luthier 0.1.0, torch 2.13.0",
        "Machine": "AMD EPYC, Linux x86_64, 2 threads",
        "Model": "tiny.gguf, dequantised from Q4_1 + Q8_0 (tiny.gguf), digest 9f2c",
        "Licence of the model": "apache-2.0",
        "Data": f"{RUN.task.name} {RUN.task.version}".strip() + ", digest 41aa",
    } | {
        name: value
        for name, value in (("Licence of the data", RUN.task.licence), ("Source of the data", RUN.task.citation))
        if value
    }


def test_an_entry_for_bibtex_names_version_commit_and_run() -> None:
    entry = bibtex(RUN)
    assert entry.startswith("@software{luthier,\n")
    assert entry.endswith("\n}")
    assert "  version = {0.1.0},\n  note = {Commit 4117a6c, run a\\_run}\n" in entry
    assert entry.count("{") == entry.count("}")


def test_the_page_and_its_markdown_have_both(reported: example_run.Reported) -> None:
    for text in (reported.html, reported.markdown):
        assert "Repeat it, and cite it" in text
        assert "@software{luthier," in text
        assert "Versions" in text


def test_the_caption_says_what_the_weights_were_dequantised_from() -> None:
    assert "Weights: tiny.gguf, dequantised from Q4_1 + Q8_0." in quality_table(RUN).note
    assert "Weights:" not in quality_table(example_run.results()).note
