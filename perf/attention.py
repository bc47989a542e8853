"""Measure attention in pieces against torch's fused kernel on the CPU, forward and backward, in one run.

    python perf/attention.py          # a minute

Both compute causal attention within the same examples. The fused kernel gets them padded to the longest example, as
``scaled_dot_product_attention`` requires; attention in pieces gets them end to end and rearranges them itself, which is
part of its time. Times are CPU seconds, the minimum of several passes that alternate between the two. The table is
written to ``perf/attention.md`` as well.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from luthier.kernels.attention import attend_end_to_end
from luthier.kernels.cpu_attention import ExampleLengths
from luthier.kernels.onednn_matmul import has_onednn, multiplying_by_onednn

HERE = Path(__file__).parent
SHAPES = {  # heads, key heads, head size, lengths of the examples
    "135M Llama, one long": (9, 3, 64, [600]),
    "135M Llama, six alike": (9, 3, 64, [150] * 6),
    "135M Llama, uneven": (9, 3, 64, [320, 210, 160, 120, 70, 30]),
    "mini, thirty": (6, 2, 32, [116] * 30),
    "mini, uneven": (6, 2, 32, [200, 180, 150, 120, 90, 90, 60, 60, 40, 40, 30, 20] * 2),
}
TURNS = 12


def pieces(heads: int, key_heads: int, size: int, lengths: list[int]) -> Callable[[], None]:
    """Return a pass of attention over the examples end to end, with its gradients."""
    tokens, known = sum(lengths), np.array(lengths)
    q, k, v = (torch.randn(tokens, own, size, requires_grad=True) for own in (heads, key_heads, key_heads))
    change = torch.randn(tokens, heads, size)

    def turn() -> None:
        found = attend_end_to_end(
            q, k, v, None, lengths=ExampleLengths(known, known), causal=True, scaling=None, dropout=0.0
        )
        torch.autograd.grad(found, (q, k, v), change)

    return turn


def fused(heads: int, key_heads: int, size: int, lengths: list[int]) -> Callable[[], None]:
    """Return the same pass by torch's fused kernel, on rows padded to the longest example."""

    def draw(own: int) -> Tensor:
        return torch.randn(len(lengths), max(lengths), own, size).transpose(1, 2).requires_grad_()

    q, k, v, change = draw(heads), draw(key_heads), draw(key_heads), draw(heads).detach()

    def turn() -> None:
        found = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        torch.autograd.grad(found, (q, k, v), change)

    return turn


def seconds(passes: list[Callable[[], None]]) -> list[float]:
    """Return the minimum CPU seconds of each pass; they are run in alternation."""
    least = [float("inf")] * len(passes)
    for turn in range(TURNS + 2):
        for place, one_pass in enumerate(passes):
            began = time.process_time()
            one_pass()
            if turn >= 2:  # the first passes allocate memory and compile kernels
                least[place] = min(least[place], time.process_time() - began)
    return least


def main() -> None:
    """Measure, print and write the table."""
    torch.set_num_threads(1)
    before = {name: seconds([fused(*shape), pieces(*shape)]) for name, shape in SHAPES.items()}
    lines = [
        "# Attention on the CPU, side by side",
        "",
        f"`python perf/attention.py`: forward and backward, milliseconds of the processor, one thread, torch "
        f"{torch.__version__}, Python {platform.python_version()}.",
        "",
        "| shape | torch's kernel | in pieces, products by MKL | ratio | products by oneDNN | ratio |",
        "|---|---|---|---|---|---|",
    ]
    wide = has_onednn()
    for name, shape in SHAPES.items():
        kernel, by_mkl = before[name]
        cells = [f"{kernel * 1e3:.1f}", f"{by_mkl * 1e3:.1f}", f"{kernel / by_mkl:.2f}"]
        if wide:
            with multiplying_by_onednn():
                again, by_onednn = seconds([fused(*shape), pieces(*shape)])
            cells += [f"{by_onednn * 1e3:.1f}", f"{again / by_onednn:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells if wide else [*cells, '–', '–'])} |")
    print("\n".join(lines))
    (HERE / "attention.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
