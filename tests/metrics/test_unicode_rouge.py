"""ROUGE of scripts that the reference tokeniser does not read, and the warning where it is used for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from metric_rows import answered

from luthier.errors import ConfigError
from luthier.metrics import rouge
from luthier.metrics.overlap.unicode_words import unread_references, words
from luthier.metrics.registry import get_metric
from luthier.metrics.score_command import Output, ScoreSettings, run_score
from luthier.metrics.score_inputs import ScoreInputs
from luthier.metrics.scoring import score_predictions

PAIRS = {
    "Chinese": ("外面很冷", "外面冷"),
    "Japanese": ("外はとても寒い", "外は寒い"),
    "Korean": ("밖은 매우 춥다", "밖은 춥다"),
    "Arabic": ("الجو بارد جدا في الخارج", "الجو بارد في الخارج"),
    "Thai": ("ข้างนอกหนาวมาก", "ข้างนอกหนาว"),
    "Hindi": ("बाहर बहुत ठंड है", "बाहर ठंड है"),
    "Greek": ("Έξω κάνει πολύ κρύο", "Έξω κάνει κρύο"),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is COLD, outside!", ["it", "is", "cold", "outside"]),
        ("外面很冷。", ["外", "面", "很", "冷"]),
        ("2020年5月", ["2020", "年", "5", "月"]),
        ("밖은 춥다", ["밖은", "춥다"]),
        ("कि है", ["कि", "है"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("Cafe\u0301 \ufb01n", ["café", "fin"]),
        ("", []),
        ("—", []),
    ],
)
def test_words_of_every_script(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize("language", PAIRS)
def test_texts_of_other_scripts_have_a_rouge(language: str) -> None:
    got, wanted = PAIRS[language]
    assert rouge([got], [wanted])[0].max() == 0
    table = rouge([got], [wanted], tokenize="unicode")[0]
    assert table[2, 1] == 1.0  # all of the reference stands in the prediction, in order
    assert 0.5 < table[2, 0] < 1.0


def test_english_is_read_alike() -> None:
    texts = ["It is very cold outside", "outside cold it is\ncold"], ["It is cold outside", "it is cold\noutside it is"]
    assert (rouge(*texts) == rouge(*texts, tokenize="unicode")).all()


def test_lines_count_for_rouge_lsum() -> None:
    got, wanted = "天冷\n外面", "外面\n天冷"
    table = rouge([got, "外"], [wanted, ["外", "x"]], tokenize="unicode")
    assert table[0, 3, 2] == 1.0
    assert table[0, 2, 2] == 0.5
    assert table[1, 0, 2] == 1.0


def test_the_tokeniser_stands_in_the_signature() -> None:
    rows = answered(["外面很冷"], ["外面冷"])
    (score, *_) = score_predictions(rows, ["rouge:tokenize=unicode"], resamples=0)
    assert "stem:no|tok:unicode-" in score.signature
    (score, *_) = score_predictions(rows, ["rouge"], resamples=0)
    assert score.signature == "metric:rouge|nrefs:1|stem:no|reference:rouge-score-0.1.2|ci:none"
    with pytest.raises(ConfigError, match="Stems are those of English words"):
        get_metric("rouge:stemmer=yes:tokenize=unicode")


def test_references_that_rouge_does_not_read_are_told() -> None:
    rows = answered(["a", "b", "c"], ["外面冷 2020", "It is déjà vu", "الجو بارد"])
    said = unread_references(rows, ["exact_match", "rouge"])
    assert "the references of 2 of 3 examples" in said
    assert "rouge:tokenize=unicode" in said
    assert not unread_references(rows, ["exact_match", "rouge:tokenize=unicode"])
    assert not unread_references(rows[1:2], ["rouge"])


def test_functions_stand_where_users_look_for_them() -> None:
    from luthier.metrics import bleu, chrf, rouge, sentence_bleu

    assert rouge(["a b"], ["a b"]).shape == (1, 4, 3)
    assert bleu(["a b c d"], ["a b c d"]) == pytest.approx(100)
    assert chrf(["a b c d"], ["a b c d"]) == pytest.approx(100)
    assert sentence_bleu(["a b c d"], ["a b c d"])[0] == pytest.approx(100)


def test_the_verb_warns_of_references_that_rouge_does_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zh.jsonl"
    path.write_text('{"prediction": "外面很冷", "target": "外面冷"}\n')
    run_score(ScoreInputs((path,)), ScoreSettings(("rouge",)), Output(as_json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["rouge1"]["value"] == 0
    assert "take the metric rouge:tokenize=unicode" in found["notes"][0]
    run_score(ScoreInputs((path,)), ScoreSettings(("rouge:tokenize=unicode",)), Output(as_json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["rouge1"]["value"] > 0.8
    assert "notes" not in found
