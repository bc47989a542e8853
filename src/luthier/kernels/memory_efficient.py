"""Memory-efficient layers: they save less for the backward pass, and pass over memory less often.

As Hugging Face models write them, a normalisation by the root mean square saves three tensors as large as the hidden
states, and a gated feed-forward layer four as wide as itself. Pointwise operations are cheaper to recompute: here the
first saves its input, the second its gate and what is gated. A layer is recognised by what it computes, not by its
name: a class is replaced where its own ``forward``, given weights and inputs, agrees with the formula here.

The gradient of an embedding is as large as the vocabulary, and zero except for the tokens of the batch. Where the
output layer shares the matrix, it is added sparsely to the output layer's gradient, which is dense anyway.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from luthier.kernels.verification import LAYER, verify

_aten: Any = torch.ops.aten


@contextlib.contextmanager
def memory_efficient_layers(module: Any) -> Iterator[None]:
    """Replace the layers of a model that are recognised here inside, and restore them afterwards."""
    changed: list[Any] = []
    tied = _tied_embeddings(module)
    try:
        for table in tied:
            table.sparse = True
        for part in module.modules():
            forward = _forward_of(part)
            if forward is not None:
                part.forward = forward
                changed.append(part)
        yield
    finally:
        for part in changed:
            del part.forward
        for table in tied:
            table.sparse = False


def _tied_embeddings(module: Any) -> list[nn.Embedding]:
    """Embeddings of tokens whose matrix is that of the output layer."""
    head = module.get_output_embeddings()
    tables = [part for part in module.modules() if type(part) is nn.Embedding and not part.sparse]
    return [table for table in tables if table.weight is getattr(head, "weight", None)]


def _forward_of(part: Any) -> Callable[[Tensor], Tensor] | None:
    if "forward" in vars(part):  # replaced already, here or by another
        return None
    kind: Hashable = part.__class__
    names = part._parameters.keys(), part._modules.keys()
    if names == ({"weight"}, set()) and _epsilon(part) is not None and _is_norm(kind):
        return functools.partial(_norm, part, type(part).forward)
    if names[1] >= {"gate_proj", "up_proj", "down_proj"} and _is_silu(part) and _is_gated(kind):
        return functools.partial(_gated, part)
    return None


def _epsilon(part: Any) -> float | None:
    found = getattr(part, "variance_epsilon", getattr(part, "eps", None))
    return found if isinstance(found, float) else None


def _is_silu(part: Any) -> bool:
    return type(getattr(part, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")


@functools.cache
@torch.no_grad()
def _is_norm(kind: Hashable) -> bool:
    """Whether a class of modules divides by the root mean square and multiplies by its weight."""
    probe: Any = _probe(kind)
    probe.weight = nn.Parameter(torch.linspace(0.5, 1.5, 6))
    probe.variance_epsilon = probe.eps = 0.1
    states = torch.linspace(-2, 1, 12).reshape(1, 2, 6).square()
    return _agrees(
        probe, states, lambda: states * (states.square().mean(-1, keepdim=True) + 0.1).rsqrt() * probe.weight
    )


@functools.cache
@torch.no_grad()
def _is_gated(kind: Hashable) -> bool:
    """Whether a class of modules is ``down_proj(silu(gate_proj(x)) * up_proj(x))``."""
    probe: Any = _probe(kind)
    with torch.random.fork_rng(devices=[]):
        probe.gate_proj, probe.up_proj, probe.down_proj = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 6)
    probe.act_fn = nn.SiLU()
    states = torch.linspace(-2, 1, 12).reshape(1, 2, 6).square()
    return _agrees(
        probe, states, lambda: probe.down_proj(functional.silu(probe.gate_proj(states)) * probe.up_proj(states))
    )


def _probe(kind: Any) -> nn.Module:
    """A module of a class, without its weights and children."""
    probe = kind.__new__(kind)
    nn.Module.__init__(probe)
    return probe  # type: ignore[no-any-return]


def _agrees(probe: nn.Module, states: Tensor, expected: Callable[[], Tensor]) -> bool:
    """Whether a class computes what is expected; in float32, wherever it is asked first."""
    with torch.autocast("cpu", enabled=False):
        return verify(lambda: type(probe).forward(probe, states), expected(), LAYER).agrees


def _norm(part: Any, otherwise: Callable[[Any, Tensor], Tensor], states: Tensor) -> Tensor:
    if states.dtype != torch.float32 or part.weight.dtype != torch.float32:
        return otherwise(part, states)
    found: Tensor = _Norm.apply(states, part.weight, _epsilon(part))  # type: ignore[no-untyped-call]
    return found


def _gated(part: Any, states: Tensor) -> Tensor:
    gate, up, down = part.gate_proj(states), part.up_proj(states), part.down_proj
    plain = type(down) is nn.Linear and not (down._forward_hooks or down._forward_pre_hooks)
    found: Tensor
    if plain and down.weight.requires_grad and not torch.is_autocast_enabled(states.device.type):
        found = _GatedDown.apply(gate, up, down.weight, down.bias)  # type: ignore[no-untyped-call]
    else:
        found = down(_Gated.apply(gate, up))  # type: ignore[no-untyped-call]
    return found


class _Norm(torch.autograd.Function):
    """``x / sqrt(mean(x^2) + epsilon) * weight`` of float32 ``(..., D)``."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        squares = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_()
        scale = squares.div_(states.shape[-1]).add_(epsilon).rsqrt_()  # (..., 1)
        ctx.save_for_backward(states, weight, scale)
        found: Tensor = (states * scale).mul_(weight)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        states, weight, scale = ctx.saved_tensors
        normed = states * scale
        product = gradient * normed
        of_weight = product.flatten(0, -2).sum(dim=0) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        along = (product @ weight / states.shape[-1])[..., None]
        of_states = torch.mul(gradient, weight, out=product).sub_(normed.mul_(along)).mul_(scale)
        return of_states, of_weight, None


class _Gated(torch.autograd.Function):
    """``silu(gate) * up``."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        gate, up = ctx.saved_tensors
        return _through_gate(gradient, gate, up)


class _GatedDown(torch.autograd.Function):
    """``(silu(gate) * up) weight' + bias``."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return functional.linear(functional.silu(gate).mul_(up), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        gate, up, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)  # (T, D)
        of_weight = rows.T @ functional.silu(gate).mul_(up).flatten(0, -2)
        of_bias = rows.sum(dim=0) if ctx.needs_input_grad[3] else None
        of_gate, of_up = _through_gate(gradient @ weight, gate, up)
        return of_gate, of_up, of_weight, of_bias


def _through_gate(change: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up, given that of their product."""
    of_gate: Tensor = _aten.silu_backward(change * up, gate)
    return of_gate, functional.silu(gate).mul_(change)
