"""Products of matrices by oneDNN are those of torch, whatever the layout, and torch's switch turns them off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from luthier.kernels import onednn_matmul as products
from luthier.kernels.onednn_matmul import addmm, bmm, mm, multiplying_by_onednn

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")

N, K, M = 300, 200, 260
LAYOUTS: dict[str, Callable[[int, int], Tensor]] = {
    "whole": lambda rows, columns: torch.randn(rows, columns),
    "transposed": lambda rows, columns: torch.randn(columns, rows).t(),
    "every other row": lambda rows, columns: torch.randn(2 * rows, columns)[::2],
    "every other column": lambda rows, columns: torch.randn(rows, 2 * columns)[:, ::2],
    "one column, repeated": lambda rows, columns: torch.randn(rows, 1).expand(rows, columns),
    "from an odd place": lambda rows, columns: torch.randn(rows * columns + 1)[1:].view(rows, columns),
}


@pytest.fixture(autouse=True)
def _inside() -> Iterator[None]:
    torch.manual_seed(0)
    with multiplying_by_onednn():
        yield


def assert_precise(found: Tensor, exact: Tensor) -> None:
    """As precise as float32 is: sums of 200 products of about 1."""
    assert found.dtype is torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_layouts_do_not_matter(first: str, second: str) -> None:
    a, b = LAYOUTS[first](N, K), LAYOUTS[second](K, M)
    assert_precise(mm(a, b), a.double() @ b.double())


@pytest.mark.parametrize(
    "addend",
    [torch.ones(M), torch.arange(2.0 * M)[::2], torch.tensor([3.0]).expand(M), torch.tensor(5.0), torch.ones(N, M)],
    ids=["bias", "bias with gaps", "bias repeated", "number", "matrix"],
)
@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0.5, 1), (1, 2)])
def test_whatever_is_added_is_added(addend: Tensor, beta: float, alpha: float) -> None:
    a, b = torch.randn(N, K), torch.randn(K, M)
    exact = beta * addend.double() + alpha * (a.double() @ b.double())
    found = addmm(addend, a, b, beta=beta, alpha=alpha)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=2e-4)


MANY: dict[str, Callable[[int, int], Tensor]] = {
    "whole": lambda rows, columns: torch.randn(3, rows, columns),
    "transposed": lambda rows, columns: torch.randn(3, columns, rows).mT,
    "every other": lambda rows, columns: torch.randn(6, rows, columns)[::2],
    "every other row": lambda rows, columns: torch.randn(3, 2 * rows, columns)[:, ::2],
    "one, repeated": lambda rows, columns: torch.randn(1, rows, columns).expand(3, -1, -1),
    "from an odd place": lambda rows, columns: torch.randn(3 * rows * columns + 1)[1:].view(3, rows, columns),
}


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch before 2.9")
@pytest.mark.parametrize("second", MANY)
@pytest.mark.parametrize("first", MANY)
def test_layouts_of_many_products_do_not_matter(first: str, second: str) -> None:
    a, b = MANY[first](N, K), MANY[second](K, M)
    with torch.backends.mkldnn.flags(enabled=True, allow_tf32=None):
        assert_precise(bmm(a, b), a.double() @ b.double())
        assert "bf16" not in torch._C._get_fp32_precision_getter("mkldnn", "matmul")


@pytest.mark.parametrize("rounding", [False, True])
@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch before 2.9")
def test_many_products_that_round_are_found_out(monkeypatch: pytest.MonkeyPatch, rounding: bool) -> None:
    def product(first: Tensor, second: Tensor) -> Tensor:
        return torch.bmm(first.bfloat16(), second.bfloat16()).float() if rounding else torch.bmm(first, second)

    monkeypatch.setattr(products, "bmm", product)
    assert products._keeps_float32() is not rounding


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_other_precisions_are_left_to_torch(dtype: torch.dtype) -> None:
    a, b = (torch.randint(-3, 4, shape).to(dtype) for shape in ((N, K), (K, M)))
    assert torch.equal(mm(a, b), torch.mm(a, b))
    assert torch.equal(addmm(b[0], a, b), torch.addmm(b[0], a, b))
    assert torch.equal(bmm(a[None], b[None]), torch.bmm(a[None], b[None]))


def test_empty_and_small_matrices() -> None:
    assert mm(torch.ones(0, 4), torch.ones(4, 3)).shape == (0, 3)
    assert torch.equal(mm(torch.ones(2, 0), torch.ones(0, 3)), torch.zeros(2, 3))
    assert torch.equal(mm(torch.ones(2, 4), torch.ones(4, 3)), torch.full((2, 3), 4.0))
    assert torch.equal(bmm(torch.ones(2, 1, 4), torch.ones(2, 4, 3)), torch.full((2, 1, 3), 4.0))
    assert bmm(torch.ones(0, 5, 4), torch.ones(0, 4, 3)).shape == (0, 5, 3)


def test_wrong_shapes_are_refused_in_torchs_words() -> None:
    with pytest.raises(RuntimeError, match=r"cannot be multiplied \(300x200 and 300x200\)"):
        mm(torch.ones(N, K), torch.ones(N, K))
    with pytest.raises(RuntimeError, match="must be a matrix"):
        mm(torch.ones(N, K), torch.ones(K))
    with pytest.raises(RuntimeError, match="first two dimensions of batch2"):
        bmm(torch.ones(2, N, K), torch.ones(2, N, K))


SCRIPT = """
import warnings
warnings.simplefilter("error")
import torch
torch.set_num_threads(1)
from torch import nn
from torch.profiler import profile
from luthier.kernels.onednn_matmul import multiplying_by_onednn

def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 260), nn.SiLU(), nn.Linear(260, 200, bias=False))
    with profile() as seen:
        loss = model(torch.randn(7, 50, 200)).square().mean()
        loss.backward()
    products = sum(event.count for event in seen.key_averages() if event.key == "mkldnn::_linear_pointwise")
    return products, [loss.detach(), *(weight.grad for weight in model.parameters())]

none, expected = trained()
with multiplying_by_onednn(), multiplying_by_onednn():
    some, found = trained()
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        off, again = trained()
outside, own = trained()
print(none, some, off, outside)
for one, other, switched_off, left_alone in zip(found, expected, again, own, strict=True):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(switched_off, other) and torch.equal(left_alone, other)
"""


def test_a_training_step_is_the_same_and_what_is_outside_is_torchs_own() -> None:
    """Of two layers, two products forward and three backward: the input needs no gradient."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "5", "0", "0"]


MANY_SHAPES = """
import torch
torch.set_num_threads(1)
from luthier.kernels.onednn_matmul import multiplying_by_onednn
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
states, weight = torch.randn(3000, 192), torch.randn(192, 512)
with multiplying_by_onednn():
    states[:2999] @ weight
    before = resident()
    for rows in torch.randperm(2000, generator=torch.Generator().manual_seed(0))[:400].tolist():
        states[: 1000 + rows] @ weight
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is not told here")
def test_batches_of_ever_new_shapes_do_not_fill_the_memory() -> None:
    """Bounded, both caches take 20 MiB here; unbounded, torch's would take 120 MiB and that of oneDNN 220 MiB.

    The limits are read from the environment at the first product of a process, and this process has set them already:
    the one that is measured gets neither. Its freed blocks go back to the system at once, as resident memory would
    otherwise depend on how the allocator has placed them.
    """
    limits = {"LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    environment = {key: value for key, value in os.environ.items() if key not in limits}
    environment["MALLOC_MMAP_THRESHOLD_"] = str(2**17)  # fixed, glibc no longer raises it
    done = subprocess.run(
        [sys.executable, "-c", MANY_SHAPES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 60


def test_the_bits_do_not_depend_on_whether_a_weight_asks_for_a_gradient() -> None:
    """Torch folds the product of a slice, such as the last token's, for a weight that does, else not."""
    draw = torch.Generator().manual_seed(5)
    states = torch.randn(2, 9, 600, generator=draw)[:, -1:]
    layer = torch.nn.Linear(600, 6000, bias=False)
    found = []
    for asks in (True, False):
        layer.weight.requires_grad_(asks)
        with multiplying_by_onednn(), torch.no_grad():
            found.append((layer(states), layer(states[:1])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
