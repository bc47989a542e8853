"""The page: offline, safe with what a model wrote, complete, and the same every time."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import example_run
from luthier.errors import StoreError
from luthier.report.answers import read_logs, side_by_side
from luthier.report.page import write_report
from luthier.results.records import Recommendation
from luthier.results.summaries import TaskSummary


class _Elements(HTMLParser):
    """Collects what a browser would find."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def _parsed(page: str) -> _Elements:
    elements = _Elements()
    elements.feed(page)
    return elements


def _data(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_parsed(page).scripts[0])
    return found


def test_the_page_loads_nothing(reported: example_run.Reported) -> None:
    elements = _parsed(reported.html)
    for tag, attributes in elements.tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    style = reported.html[reported.html.index("<style>") : reported.html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    specs = json.dumps(_data(reported.html)["specs"])
    assert "http" not in specs
    assert '"url"' not in specs


def test_the_browser_may_load_nothing_and_run_only_our_scripts(reported: example_run.Reported) -> None:
    elements = _parsed(reported.html)
    policy = next(a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    run = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in elements.scripts[1:]}
    assert allowed == run
    assert len(run) == 2


def test_what_a_model_wrote_is_text(reported: example_run.Reported) -> None:
    elements = _parsed(reported.html)
    assert [tag for tag, _ in elements.tags].count("script") == 3
    assert not any("onerror" in attributes for _, attributes in elements.tags)
    row = next(row for row in _data(reported.html)["rows"] if row["id"] == "dialogue-0003")
    assert row["answers"][0] == example_run.NASTY


def test_hostile_names_and_sentences_are_text(tmp_path: Path) -> None:
    nasty = '"><script>alert(1)</script>{{7*7}}'
    verdict = Recommendation(nasty, None, False)
    example_run.build(
        tmp_path,
        example_run.SKETCHES[3:5],
        rows=3,
        recommendation=verdict,
        run=nasty,
        task=TaskSummary(name=nasty, licence=nasty),
    )
    elements = _parsed(write_report(tmp_path).read_text(encoding="utf-8"))
    assert [tag for tag, _ in elements.tags].count("script") == 3
    assert elements.text.count(nasty) >= 4
    assert "\\<script" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_every_arm_task_score_and_count_is_told(reported: example_run.Reported) -> None:
    text = _parsed(reported.html).text.replace("\n", " ")
    for arm in reported.results.arms:
        assert arm.name in text
        assert arm.scores[0].signature in text
        assert all(note in text for note in arm.notes)
        for item in arm.retained:
            assert item.task in text
    for words in (
        "report › overlaps",
        "train cut",
        "report › found › train",
        "duplicates",
        "learning rate 0.0003",
        "plain_text",
    ):
        assert words in text
    assert html.unescape(reported.results.recommendation.sentence) in text
    assert "Recommendation" in text


def test_the_same_run_gives_the_same_bytes(reported: example_run.Reported, tmp_path: Path) -> None:
    example_run.build(tmp_path / "run")
    page = write_report(tmp_path / "run")
    assert page.read_text(encoding="utf-8") == reported.html
    assert (tmp_path / "run" / "report.md").read_text(encoding="utf-8") == reported.markdown
    for picture in (reported.run / "charts").iterdir():
        assert (tmp_path / "run" / "charts" / picture.name).read_bytes() == picture.read_bytes()
    again = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    write_report(tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == again


def test_markdown_has_the_tables_and_pictures_that_exist(reported: example_run.Reported) -> None:
    assert (
        "| full | 0.331 [0.315, 0.347] | +0.189 [+0.170, +0.208] ▲ | −5.2 −8.6 sst2 ▼ | +0.227 ▼ |" in reported.markdown
    )
    costs = "| lora | 32.8 k 2.13 % | 131 kB | 403 MB | 149 s | 2,410 | 1,873 | 412 ms (297 ms) | 148 |"
    assert costs in reported.markdown
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", reported.markdown)
    assert len(linked) == 9
    for place in linked:
        assert (reported.run / place).read_bytes().startswith(b"\x89PNG")
    for block in re.findall(r"(?:^\|.*\n)+", reported.markdown, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_a_lost_log_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    example_run.build(tmp_path, example_run.SKETCHES[3:6], rows=4)
    (tmp_path / "predictions" / "full.jsonl").unlink()
    (tmp_path / "predictions" / "examples.jsonl").write_text("{broken\n")
    (tmp_path / "curves" / "lora.jsonl").write_text('{"step": 1, "loss": 2.0}\nnot json\n')
    page = write_report(tmp_path).read_text(encoding="utf-8")
    text = _parsed(page).text
    assert "Predictions of full are left out." in text
    assert "Prompts are left out: examples.jsonl is damaged." in text
    assert "The learning curve of lora is left out." in text
    assert "lora.jsonl, line 2" in text
    rows = _data(page)["rows"]
    assert [row["answers"][0] for row in rows] == [None] * 4
    assert all(row["answers"][1] is not None for row in rows)
    assert "Predictions of full are left out." in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_half_a_surrogate_pair_reaches_the_page(tmp_path: Path) -> None:
    sketches = example_run.SKETCHES[:1]
    example_run.build(tmp_path, sketches, rows=1)
    log = tmp_path / "predictions" / "zero_shot.jsonl"
    row = json.loads(log.read_text(encoding="utf-8")) | {"text": "broken \udc80 end"}
    log.write_text(json.dumps(row) + "\n", encoding="utf-8")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert _data(page)["rows"][0]["answers"] == ["broken \udc80 end"]


def test_a_page_stays_small_and_says_what_it_left_out(tmp_path: Path) -> None:
    results = example_run.build(tmp_path, example_run.SKETCHES[:2], rows=40)
    whole = side_by_side(tmp_path, read_logs(tmp_path, results))
    assert (len(whole.rows), whole.total) == (40, 40)
    few = side_by_side(tmp_path, read_logs(tmp_path, results), most_bytes=5_000)
    assert few.total == 40
    assert 0 < len(few.rows) < 40
    assert few.rows == whole.rows[: len(few.rows)]
    assert len(json.dumps(few.rows, ensure_ascii=False)) <= 5_000 + 200


@pytest.mark.slow
def test_fifteen_arms_of_two_thousand_long_answers_stay_under_ten_megabytes(tmp_path: Path) -> None:
    example_run.build(tmp_path, example_run.many(15), rows=2_000)
    for log in (tmp_path / "predictions").glob("a_*.jsonl"):
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        log.write_text("".join(json.dumps(x | {"text": x["text"] * 9 + "<é>"}) + "\n" for x in lines), encoding="utf-8")
    page = write_report(tmp_path)
    assert page.stat().st_size < 10_000_000
    assert re.search(r"The page holds the first [\d,]+ of 2,000 examples", page.read_text(encoding="utf-8"))


def test_a_folder_without_results_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"results\.json: no finished results here"):
        write_report(tmp_path)


def test_a_report_needs_no_model_library() -> None:
    code = (
        "import sys, luthier.report.page, luthier.report.terminal\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_says_where_by_which_command_and_when(reported: example_run.Reported) -> None:
    text = _parsed(reported.html).text
    for said in (
        *("Some processor at 2.4 GHz", "2.9.0", "0.19.1", "362f90b5a1c9", "luthier compare demo.yaml --seeds 3"),
        *("2026-11-26T22:09:55+00:00", "3.12.4", "rank 8", "alpha 16", "target modules q_proj, v_proj"),
    ):
        assert said in text, said


BIDIRECTIONAL = "".join(map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
CONTROLS = "\x00\x07\x1b]0;title\x07\x9b"


def test_no_control_character_passes_into_the_page(tmp_path: Path) -> None:
    """An override in a name or an answer would show the words after it backwards."""
    hostile = f"a{BIDIRECTIONAL}{CONTROLS}z"
    arms = tuple(replace(arm, notes=(hostile,)) for arm in example_run.results(example_run.SKETCHES[:2]).arms)
    example_run.build(
        tmp_path,
        example_run.SKETCHES[:2],
        rows=3,
        arms=arms,
        run=hostile,
        config={hostile: hostile},
        task=TaskSummary(name=hostile, licence=hostile, citation="شكرا"),
        recommendation=Recommendation(hostile, None, False),
    )
    path = tmp_path / "predictions" / "zero_shot.jsonl"
    lines = [json.loads(line) | {"text": hostile} for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    own = page.split("<script>")[0]  # before the charting libraries
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for character in (*BIDIRECTIONAL, "\x00", "\x07", "\x1b", "\x9b"):
        assert character not in own, hex(ord(character))
        assert character not in text, hex(ord(character))
    assert "a\\u061c\\u200e" in own
    assert "شكرا" in own, "letters of right-to-left scripts stay"
    data = json.dumps(_data(page), ensure_ascii=False)
    assert not set(BIDIRECTIONAL) & set(data)
    assert _data(page)["rows"][0]["answers"][0].startswith("a\\u061c")


def test_every_signature_stands_once_with_what_it_belongs_to(reported: example_run.Reported) -> None:
    signature = reported.results.arms[0].scores[0].signature
    shown = reported.html[reported.html.index("Signatures of the scores") :].split('<script type="application/json"')[0]
    assert shown.count(html.escape(signature)) == 1
    assert "<p>rougeL: every arm<br>" in shown


def test_the_correction_is_explained_with_the_numbers_of_the_run(reported: example_run.Reported) -> None:
    text = " ".join(_parsed(reported.html).text.split())
    assert "The 21 pairs of arms are tested together." in text
    assert "multiplies the smallest p-value by 21, the next by 20" in text
    assert "The 3 retained tasks of an arm are corrected together in the same way." in text
    assert "It may exclude 0 where no mark stands" in text


_BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@pytest.mark.slow
@pytest.mark.skipif(not _BROWSER, reason="no browser is installed")
def test_a_browser_shows_hostile_data_as_text(tmp_path: Path) -> None:
    """The page's own scripts run: charts are drawn, answers listed. What stands in the data does not."""
    hostile = (
        "<img src=x onerror=\"document.body.dataset.harmed='yes'\"><script>document.body.dataset.harmed='yes'</script>"
    )
    example_run.build(tmp_path, example_run.SKETCHES[:2], rows=3, task=TaskSummary(name=hostile))
    path = tmp_path / "predictions" / "zero_shot.jsonl"
    lines = [json.loads(line) | {"text": hostile} for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    page = write_report(tmp_path)
    command = [_BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=6000", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, check=True, timeout=120)
    elements = _parsed(shown.stdout.decode("utf-8"))
    tags = [tag for tag, _ in elements.tags]
    (root,) = (attributes for tag, attributes in elements.tags if tag == "html")
    (body,) = (attributes for tag, attributes in elements.tags if tag == "body")
    assert root.get("data-drawn") == "yes", "the charts are drawn"
    assert "article" in tags, "the answers are listed"
    assert "data-harmed" not in body
    assert "img" not in tags
    assert tags.count("script") == 3
