"""KTO gives the loss, the gradient and the weights of ``trl``'s KTOTrainer, whose batch is the whole step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trl_reference import RECOMPUTING, loss_and_gradient, weights_after, weights_of

from luthier.objectives.registry import find_objective
from preferences import begin, gradient, ids, judged, moved, references, trained, worst
from tiny_models import tiny_folder

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.slow

OWN = {"beta": 0.3, "good_weight": 1.0, "bad_weight": 1.6}
OTHER = {"beta": 0.3, "desirable_weight": 1.0, "undesirable_weight": 1.6}
STEPS, RATE = 10, 2e-3


def trainer(folder: Path, work: Path) -> tuple[Any, Any]:
    """Return a KTOTrainer on a model of its own, and the batch of our answers."""
    from datasets import Dataset

    model, reference = begin(folder)[0], begin(folder)[0]
    rows = Dataset.from_list([{"prompt": "a cat", "completion": " sat", "label": bool(k % 2)} for k in range(4)])
    config = trl.KTOConfig(
        output_dir=str(work),
        use_cpu=True,
        bf16=False,
        report_to="none",
        max_length=None,
        per_device_train_batch_size=4,
        **{RECOMPUTING: False},
        **OTHER,
    )
    made = trl.KTOTrainer(
        model=model.module,
        ref_model=reference.module,
        args=config,
        train_dataset=rows,
        processing_class=model.tokenizer,
    )
    made.model.eval()
    examples = []
    for record in judged():
        prompt, answer = ids(record.answer)
        other = record.mismatched.target_ids.tolist()
        item = {"prompt_ids": prompt, "completion_ids": answer, "KL_completion_ids": other, "label": record.good}
        examples.append(item)
    return made, made.data_collator(examples)


def test_loss_gradient_and_ten_steps_are_those_of_trl(tmp_path: Path) -> None:
    folder, records = tiny_folder("llama"), judged()
    made, batch = trainer(folder, tmp_path / "theirs")
    model, attached = begin(folder)
    objective = find_objective("kto", OWN, where="test")
    reference = references(objective, model, records)
    moved(model, attached)
    loss, found = gradient(objective, model, attached, records, reference, passes=4)
    start = weights_of(made)
    expected, grads = loss_and_gradient(made, batch, attached.trainable())
    assert loss == pytest.approx(expected, rel=1e-6)
    assert worst(found, grads) < 1e-5

    ends = weights_after(made, batch, start, found, rate=RATE, steps=STEPS)
    ours = trained("kto", OWN, folder, records, tmp_path / "ours", rate=RATE, steps=STEPS)
    assert worst(ours, {key: start[key] for key in ours}) > 1e-3, "they did move"
    assert worst(ours, ends) < 1e-5
