"""The objectives on rewards give the advantages, losses, gradients and weights of ``trl``'s trainers.

GRPO is TRL's default, ``loss_type="dapo"``: the tokens of all answers of the step are the normaliser. TRL's RLOO takes
the divergence from the reward, so that both are compared without it.

``pytest -m slow -s tests/training/test_trl_policy.py`` prints the greatest relative differences.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attempts import REWARDS, SAMPLES, answers, drawn, logprobs
from trl_reference import RECOMPUTING, loss_and_gradient, weights_after, weights_of

from luthier.objectives.registry import find_objective
from preferences import begin, gradient, ids, moved, trained, worst
from tiny_models import tiny_folder

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.slow

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),
    "grpo, second update": ("grpo", {"updates": 2, "clip": 0.1}),
    "grpo, with divergence": ("grpo", {"updates": 2, "clip": 0.1, "beta": 0.3}),
    "rloo": ("rloo", {}),
    "rloo, second update": ("rloo", {"updates": 2, "clip": 0.1}),
}
STEPS, RATE = 10, 2e-3


def rewards_of(**given: Any) -> list[float | None]:
    """Stand for a reward function of TRL."""
    return [None if math.isnan(value) else value for row in REWARDS for value in row]


def trainer(name: str, folder: Path, work: Path, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a trainer on a model of its own, and what it makes of our answers and their rewards."""
    from datasets import Dataset

    config_class, trainer_class = {
        "grpo": (trl.GRPOConfig, trl.GRPOTrainer),
        "rloo": (trl.RLOOConfig, trl.RLOOTrainer),
    }[name]
    config = config_class(
        output_dir=str(work),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=2 * SAMPLES,
        num_generations=SAMPLES,
        num_iterations=settings.get("updates", 1),
        epsilon=settings.get("clip", 0.2),
        beta=settings.get("beta", 0.0),
        **{RECOMPUTING: False},
    )
    rows = Dataset.from_list([{"prompt": "a cat"}] * 2)
    model = begin(folder)[0]
    made = trainer_class(
        model=model.module,
        reward_funcs=rewards_of,
        args=config,
        train_dataset=rows,
        processing_class=model.tokenizer,
    )
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    pairs = [ids(item) for item in answers()]
    prompts, completions = [prompt for prompt, _ in pairs], [answer for _, answer in pairs]
    texts = ["x"] * len(pairs)
    more: tuple[Any, ...] = (None, texts, None, {}, None, None) if name == "grpo" else (texts,)
    made._generate = lambda _: (prompts, completions, *more)
    return made, made._generate_and_score_completions([{"prompt": "a cat"}] * len(pairs))


@pytest.mark.parametrize("case", CASES)
def test_advantages_loss_gradient_and_ten_steps_are_those_of_trl(case: str, tmp_path: Path) -> None:
    name, settings = CASES[case]
    settings = {"reward": "exact_match", "samples": SAMPLES, **settings}
    folder = tiny_folder("llama")
    made, batch = trainer(name, folder, tmp_path / "theirs", settings)
    objective: Any = find_objective(name, settings, where="test")
    advantages = objective.advantages(np.array(REWARDS)).ravel()
    assert advantages.tolist() == pytest.approx(batch["advantages"].tolist(), rel=1e-6, abs=1e-7)
    assert advantages[5] == 0, "the answer without a reward"

    model, attached = begin(folder)
    start = logprobs(model, drawn())
    updated = settings.get("updates", 1) > 1
    records = drawn(advantages.tolist(), [own.tolist() for own in start] if updated else None)
    if updated:
        moved(model, attached)
    loss, found = gradient(objective, model, attached, records, start if settings.get("beta") else [])
    begun = weights_of(made)
    expected, grads = loss_and_gradient(made, batch, attached.trainable())
    difference = worst(found, grads)
    print(f"\n{case}: loss {loss:.7f}, of trl {expected:.7f}, gradient {difference:.1e}")
    # Where each ratio is 1 the loss is a sum of advantages that are about 0 together; of log-probabilities of -10, the
    # logarithm of another ratio has six digits behind the point.
    assert loss == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert difference < 1e-5
    if settings.get("beta") or case == "rloo":
        return  # TRL's RLOO keeps the log-probabilities of a first update, which is the only one here

    ends = weights_after(made, batch, begun, found, rate=RATE, steps=STEPS)
    ours = trained(name, settings, folder, records, tmp_path / "ours", rate=RATE, steps=STEPS)
    print(f"{case}: weights after {STEPS} steps {worst(ours, ends):.1e}")
    assert worst(ours, {key: begun[key] for key in ours}) > 1e-3, "they did move"
    assert worst(ours, ends) < 1e-5
