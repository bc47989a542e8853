"""Tasks of lm-eval that ask about one document in several ways, as SQuAD 2.0 does: written and scored answers."""

from __future__ import annotations

import pytest

pytest.importorskip("lm_eval")

from lm_eval_both import Both, run_both
from tiny_models import tiny_folder

CODE = '''
import numpy as np
from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.tasks.squadv2.task import SQuAD2

CONTEXTS = ["the cat sat on the red dog.", "a cat sat.", "stop! the dog, the cat:", "0123 the red cat sat."]


class Local(SQuAD2):
    """SQuAD 2.0 over four documents, with numbers that need no other package."""

    def download(self, dataset_kwargs=None, **kwargs):
        docs = [
            {"id": str(n), "title": "the cat", "context": context, "question": "who sat", "answers": {"text": ["cat"]}}
            for n, context in enumerate(CONTEXTS)
        ]
        self.dataset = {split: Dataset.from_list(docs) for split in ("train", "validation")}

    def doc_to_text(self, doc):
        return doc["context"] + " who"

    def construct_requests(self, doc, ctx, **kwargs):
        written, scored = super().construct_requests(doc, ctx, **kwargs)
        written.arguments[1]["max_gen_toks"] = 12
        return [written, scored]

    def process_results(self, doc, results):
        found = super().process_results(doc, results)["exact"][0]
        return {"length": len(found["prediction_text"]), "no_answer": found["no_answer_probability"]}

    def aggregation(self):
        return {"length": np.mean, "no_answer": np.mean}

    def higher_is_better(self):
        return {"length": True, "no_answer": True}


class Twice(Local):
    """Two written answers, and the text itself."""

    def construct_requests(self, doc, ctx, **kwargs):
        kwargs = {"metadata": kwargs["metadata"]}
        return [
            Instance("generate_until", doc, (ctx, {"until": ["."], "max_gen_toks": 12}), 0, **kwargs),
            Instance("generate_until", doc, (doc["context"], {"until": ["the"], "max_gen_toks": 12}), 1, **kwargs),
            Instance("loglikelihood_rolling", doc, (doc["context"],), 2, **kwargs),
        ]

    def process_results(self, doc, results):
        first, second, text = results
        return {"length": len(first) - 2 * len(second), "no_answer": text}
'''


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed.py").write_text(CODE)
    for name, kind in (("squad", "Local"), ("twice", "Twice")):
        (folder / f"{name}.yaml").write_text(f"task: {name}\nclass: !function mixed.{kind}\n")
    return run_both(["squad", "twice"], folder, tiny_folder("llama"), folder / "runs")


@pytest.mark.parametrize("name", ["squad", "twice"])
def test_the_answers_and_the_numbers_are_those_of_lm_eval(both: Both, name: str) -> None:
    task, log = both.tasks[name], both.ours[name].log.predictions
    assert len(log) == 4
    assert not any(own.choices for own in log)
    for kind in ("length", "no_answer"):
        own = next(score for score in both.ours[name].scores if score.metric == kind)
        assert own.value == pytest.approx(both.theirs["results"][name][f"{kind},none"], abs=1e-4)
        assert own.n == 4
    judged = [own.numbers for own in task.judge.judged(log)]
    samples = sorted(both.theirs["samples"][name], key=lambda sample: sample["doc_id"])
    for numbers, sample in zip(judged, samples, strict=True):
        assert numbers["length", "none"] == sample["length"], "the written answers are equal"
        assert numbers["no_answer", "none"] == pytest.approx(sample["no_answer"], abs=1e-4)


def test_each_part_is_asked_by_itself(both: Both) -> None:
    asked = both.tasks["twice"].requests[0]
    assert [part.document.kind for part in asked.parts] == ["generate_until", "generate_until", "loglikelihood_rolling"]
    limits = [part.writing is not None for part in asked.parts]
    assert limits == [True, True, False]
    assert len({part.key for part in asked.parts} | {asked.key}) == 4
