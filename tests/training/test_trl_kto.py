"""KTO gives the loss, the gradient and the weights of ``trl``'s KTOTrainer, whose batch is the whole step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from luthier.objectives.registry import find_objective
from preferences import begin, gradient, ids, judged, moved, references, trained, worst
from tiny_models import tiny_folder

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.slow

# TRL recomputes activations unless told otherwise; transformers has renamed the setting within version 5.
RECOMPUTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if name in transformers.TrainingArguments.__dataclass_fields__
)

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
    theirs = dict(made.model.named_parameters())
    start = {key: weight.detach().clone() for key, weight in theirs.items()}
    with torch.no_grad():
        for key, weight in attached.trainable().items():
            theirs[key].copy_(weight)
    expected = made.compute_loss(made.model, batch)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert worst(found, {key: theirs[key].grad for key in found}) < 1e-5

    with torch.no_grad():
        for key, weight in theirs.items():
            weight.copy_(start[key])
    optimizer = torch.optim.AdamW([theirs[key] for key in found], lr=RATE, eps=1e-2, weight_decay=0.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        made.compute_loss(made.model, batch).backward()
        optimizer.step()
    ours = trained("kto", OWN, folder, records, tmp_path / "ours", rate=RATE, steps=STEPS)
    assert worst(ours, {key: start[key] for key in ours}) > 1e-3, "they did move"
    assert worst(ours, {key: theirs[key].detach() for key in ours}) < 1e-5
