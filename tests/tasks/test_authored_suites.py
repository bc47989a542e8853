"""Benchmark tasks whose files are not at hand: rows of ours, in the original layouts, ask what lm-eval asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.tasks.loader import load_examples, load_task

pytest.importorskip("lm_eval")

from lm_eval_local import LM_EVAL_TASKS

ARC = {
    "id": "Q1",
    "question": {
        "stem": "Which is a metal?",
        "choices": [{"text": "iron", "label": "A"}, {"text": "wood", "label": "B"}],
    },
    "answerKey": "A",
}
ARC_HUB = {
    "question": "Which is a metal?",
    "choices": {"text": ["iron", "wood"], "label": ["A", "B"]},
    "answerKey": "A",
}
SWAG = {
    "activity_label": "Baking bread",
    "ctx_a": " [header] How to bake [title] Mix [step] flour and water.",
    "ctx_b": "the baker",
    "endings": ["kneads  the dough. [substeps] Rest it.", "eats [title] it at once.", "sings [loud", "waits a day."],
    "label": 1,
}
FIVE = [("A", "a shop"), ("B", "a sea"), ("C", "a desert"), ("D", "a moon"), ("E", "a cave")]
PASSAGE = "Ann met Bob Lee in Oslo.\n@highlight\nThey sang\n@highlight\nIt rained"
ENTITIES = [("Ann", 0), ("Bob Lee", 8), ("Oslo", 19)]
PARAGRAPH = "Ann has a dog. Bob has a cat."
ROWS: dict[str, tuple[str, str, Any, list[dict[str, Any]]]] = {
    "copa": (
        "super_glue/copa/default.yaml",
        "superglue/COPA/val.jsonl",
        [{"premise": "It rained.", "choice1": "We got wet.", "choice2": "I slept.", "question": "effect", "label": 0}],
        [{"premise": "It rained.", "choice1": "We got wet.", "choice2": "I slept.", "question": "effect", "label": 0}],
    ),
    "multirc": (
        "super_glue/multirc/default.yaml",
        "superglue/MultiRC/val.jsonl",
        [
            {
                "idx": 0,
                "passage": {
                    "text": PARAGRAPH,
                    "questions": [
                        {
                            "question": "Who has a dog?",
                            "idx": 0,
                            "answers": [{"text": "Ann", "idx": 0, "label": 1}, {"text": "Bob", "idx": 1, "label": 0}],
                        }
                    ],
                },
            }
        ],
        [
            {"paragraph": PARAGRAPH, "question": "Who has a dog?", "answer": "Ann", "label": 1},
            {"paragraph": PARAGRAPH, "question": "Who has a dog?", "answer": "Bob", "label": 0},
        ],
    ),
    "arc_easy": ("arc/arc_easy.yaml", "arc/ARC-Easy/ARC-Easy-Test.jsonl", [ARC], [ARC_HUB]),
    "arc_challenge": ("arc/arc_challenge.yaml", "arc/ARC-Challenge/ARC-Challenge-Test.jsonl", [ARC], [ARC_HUB]),
    "openbookqa": (
        "openbookqa/openbookqa.yaml",
        "openbookqa/test.jsonl",
        [ARC],
        [{"question_stem": "Which is a metal?", "choices": ARC_HUB["choices"], "answerKey": "A"}],
    ),
    "commonsense_qa": (
        "commonsense_qa/default.yaml",
        "commonsense_qa/dev_rand_split.jsonl",
        [
            {
                "id": "c",
                "answerKey": "C",
                "question": {
                    "stem": "Where is sand?",
                    "choices": [{"label": label, "text": text} for label, text in FIVE],
                },
            }
        ],
        [
            {
                "question": "Where is sand?",
                "answerKey": "C",
                "choices": {"label": [label for label, _ in FIVE], "text": [text for _, text in FIVE]},
            }
        ],
    ),
    "hellaswag": (
        "hellaswag/hellaswag.yaml",
        "hellaswag/hellaswag_val.jsonl",
        [{"ind": "Q1", **SWAG}],
        [{**SWAG, "label": "1"}],
    ),
    "piqa": (
        "piqa/piqa.yaml",
        "piqa/dev.jsonl",
        [{"goal": "open a jar", "sol1": "turn the lid", "sol2": "sing to it", "label": 0}],
        [{"goal": "open a jar", "sol1": "turn the lid", "sol2": "sing to it", "label": 0}],
    ),
    "winogrande": (
        "winogrande/default.yaml",
        "winogrande/dev.jsonl",
        [{"sentence": "Ann thanked Bob because _ had helped.", "option1": "Ann", "option2": "Bob", "answer": "2"}],
        [{"sentence": "Ann thanked Bob because _ had helped.", "option1": "Ann", "option2": "Bob", "answer": "2"}],
    ),
    "mrpc": (
        "glue/mrpc/default.yaml",
        "glue/MRPC/dev.tsv",
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tIt rains.\tRain falls.\n",
        [{"sentence1": "It rains.", "sentence2": "Rain falls.", "label": 1}],
    ),
    "qqp": (
        "glue/qqp/default.yaml",
        "glue/QQP/dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tWho?\tWhat?\t0\n",
        [{"question1": "Who?", "question2": "What?", "label": 0}],
    ),
    "qnli": (
        "glue/qnli/default.yaml",
        "glue/QNLI/dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho sat?\tA cat sat.\tentailment\n",
        [{"question": "Who sat?", "sentence": "A cat sat.", "label": 0}],
    ),
    "mnli_matched": (
        "glue/mnli/default.yaml",
        "glue/MNLI/dev_matched.tsv",
        "sentence1\tsentence2\tgold_label\nA cat sat.\tAn animal sat\tneutral\nIt is.\tIt is.\tentailment\n",
        [
            {"premise": "A cat sat.", "hypothesis": "An animal sat", "label": 1},
            {"premise": "It is.", "hypothesis": "It is.", "label": 0},
        ],
    ),
}


def _theirs(path: str, rows: list[dict[str, Any]], folder: Path) -> list[Any]:
    """The requests of lm-eval's task over rows as the Hub has them."""
    from lm_eval.tasks import TaskManager

    files = {}
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[split] = str(folder / f"{split}.jsonl")
    own: dict[str, Any] = {
        "include": str(LM_EVAL_TASKS / path),
        "task": "local",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": "validation",
        "test_split": None,
    }
    if path.startswith("glue/mnli"):
        full_stop = "{{'' if hypothesis.strip().endswith('.') else '.'}}"  # their function, as a template
        prompt = "{{premise}}\nQuestion: {{hypothesis.strip()}}" + full_stop
        own["doc_to_text"] = prompt + " True, False or Neither?\nAnswer:"
    (folder / "local.yaml").write_text(yaml.safe_dump(own))
    task = TaskManager(include_path=str(folder), include_defaults=False).load(["local"])["tasks"]["local"]
    task.set_config(key="num_fewshot", value=0)
    task.build_all_requests()
    return [(request.args, task.doc_to_target(request.doc)) for request in task.instances]


@pytest.mark.parametrize("name", ROWS)
def test_prompts_and_answers_are_those_of_lm_eval(name: str, tmp_path: Path) -> None:
    path, place, content, hub = ROWS[name]
    train = tmp_path / place
    train.parent.mkdir(parents=True)
    train.write_text(content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content))
    others = [
        "train.tsv",
        "train_xl.jsonl",
        "train_rand_split.jsonl",
        "dev.jsonl",
        "train.jsonl",
        "hellaswag_train.jsonl",
    ]
    others += [train.name.replace("Test", kind) for kind in ("Train", "Dev")]
    for number, other in enumerate(others):
        if not (train.parent / other).exists():
            again = train.read_text().replace('"Q1"', f'"Q1.{number}"').replace('"c"', f'"c.{number}"')
            (train.parent / other).write_text(again)
    task = load_task(name, tmp_path)
    assert task.joint is not None
    examples = load_examples(task, "test", evaluation=True)
    asked = []
    for example in sorted(examples, key=lambda one: [one.prompt for one in examples].index(one.prompt)):
        ways = example.choice_prompts or (example.prompt,) * len(example.choices)
        answers = (example.ending,) * len(ways) if example.choice_prompts else example.choices
        asked += [(prompt, task.joint.answer + answer) for prompt, answer in zip(ways, answers, strict=True)]
    (tmp_path / "hub").mkdir()
    theirs = _theirs(path, hub, tmp_path / "hub")
    assert sorted(asked) == sorted(args for args, _ in theirs)
    for example in examples:
        assert example.targets[0] in example.choices


def test_a_blank_of_an_article_is_filled_with_each_of_its_names(tmp_path: Path) -> None:
    """As lm-eval's `record/util.py` lays it out, which cannot be imported with transformers 5."""
    row = {
        "passage": {"text": PASSAGE, "entities": [{"start": at, "end": at + len(name) - 1} for name, at in ENTITIES]},
        "qas": [{"query": "@placeholder is a town", "answers": [{"start": 19, "end": 22, "text": "Oslo"}]}],
    }
    path = tmp_path / "superglue" / "ReCoRD" / "val.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(row))
    (example,) = load_examples(load_task("record", tmp_path), "test", evaluation=True)
    assert example.prompt == "Ann met Bob Lee in Oslo.\n\n  - They sang.\n  - It rained.\n"
    assert example.choices == ("  - Ann is a town", "  - Bob Lee is a town", "  - Oslo is a town")
    assert example.targets == ("  - Oslo is a town",)
