"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) and its learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from luthier.config.training import TrainingConfig


def make_optimizer(parameters: Mapping[str, nn.Parameter], config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters only; weight decay acts on matrices, not on gains and biases."""
    matrices = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.epsilon, fused=True)


def learning_rate(step: int, steps: int, peak: float, config: TrainingConfig) -> float:
    """Return the learning rate of a step.

    It rises linearly over ``warmup * steps`` steps, then falls to ``final_learning_rate_fraction * peak`` at the last
    step.

    Args:
        step: From 0.
        steps: Steps in all.
        peak: Greatest learning rate.
        config: Schedule, warm-up and final share.
    """
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - 1 - warmup)
    fall = {"constant": 0.0, "linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2}[config.schedule]
    return peak * (1 - fall * (1 - config.final_learning_rate_fraction))


def optimizer_tensors(optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors; empty before the first step."""
    return {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the state of :func:`optimizer_tensors` back, bit for bit."""
    for path, value in tensors.items():
        name, key = path.rsplit("/", 1)
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU.
        optimizer.state[parameter][key] = value.clone() if key == "step" else value.to(parameter.device, copy=True)
