"""The pair objectives give the losses, gradients and weights of ``trl``'s DPOTrainer.

``pytest -m slow -s tests/training/test_trl_dpo.py`` prints the greatest relative differences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trl_reference import RECOMPUTING, loss_and_gradient, weights_after, weights_of

from luthier.objectives.registry import find_objective
from preferences import begin, gradient, ids, moved, pairs, references, trained, worst
from tiny_models import tiny_folder

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.slow

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dpo": ({"beta": 0.1}, {"loss_type": "sigmoid", "beta": 0.1}),
    "robust": ({"beta": 0.1, "label_noise": 0.2}, {"loss_type": "robust", "beta": 0.1, "label_smoothing": 0.2}),
    "ipo": ({"beta": 0.1}, {"loss_type": "ipo", "beta": 0.1}),
    "dpo_norm": ({"beta": 0.5}, {"loss_type": "sigmoid_norm", "beta": 0.5}),
    "hinge": ({"beta": 0.1}, {"loss_type": "hinge", "beta": 0.1}),
    "apo_zero": ({"beta": 0.1}, {"loss_type": "apo_zero", "beta": 0.1}),
    "apo_down": ({"beta": 0.1}, {"loss_type": "apo_down", "beta": 0.1}),
}
"""Our settings and theirs."""
STEPS, RATE = 10, 2e-3


def trainer(folder: Path, work: Path, **settings: Any) -> tuple[Any, Any]:
    """Return a DPOTrainer on a model of its own, and the batch of our pairs."""
    from datasets import Dataset

    model, reference = begin(folder)[0], begin(folder)[0]
    rows = Dataset.from_list([{"prompt": "a cat", "chosen": " sat", "rejected": " red"}] * 2)
    config = trl.DPOConfig(
        output_dir=str(work),
        use_cpu=True,
        bf16=False,
        report_to="none",
        max_length=None,
        **{RECOMPUTING: False},
        **settings,
    )
    made = trl.DPOTrainer(
        model=model.module,
        ref_model=reference.module,
        args=config,
        train_dataset=rows,
        processing_class=model.tokenizer,
    )
    made.model.eval()
    examples = []
    for pair in pairs():
        (prompt, chosen), (_, rejected) = ids(pair.chosen), ids(pair.rejected)
        examples.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return made, made.data_collator(examples)


@pytest.mark.parametrize("name", KINDS)
def test_loss_gradient_and_ten_steps_are_those_of_trl(name: str, tmp_path: Path) -> None:
    own, other = KINDS[name]
    folder, records = tiny_folder("llama"), pairs()
    made, batch = trainer(folder, tmp_path / "theirs", **other)
    model, attached = begin(folder)
    objective = find_objective(name, own, where="test")
    reference = references(objective, model, records)
    moved(model, attached)
    loss, found = gradient(objective, model, attached, records, reference)
    start = weights_of(made)
    expected, grads = loss_and_gradient(made, batch, attached.trainable())
    difference = worst(found, grads)
    print(f"\n{name}: loss {loss:.6f}, of trl {expected:.6f}, gradient {difference:.1e}")
    assert loss == pytest.approx(expected, rel=1e-6)
    assert difference < 1e-5

    ends = weights_after(made, batch, start, found, rate=RATE, steps=STEPS)
    ours = trained(name, own, folder, records, tmp_path / "ours", rate=RATE, steps=STEPS)
    print(f"{name}: weights after {STEPS} steps {worst(ours, ends):.1e}")
    assert worst(ours, {key: start[key] for key in ours}) > 1e-3, "they did move"
    assert worst(ours, ends) < 1e-5
