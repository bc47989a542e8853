"""Passes are as large as memory allows, and what is learned is the same: gradients are sums over a whole step."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import ROWS, losses, run, start
from torch import nn

import luthier.training.loop as loop
import luthier.training.memory_fit as memory_fit
from luthier.config.training import TrainingConfig
from luthier.config.validation import validate
from luthier.errors import ConfigError
from luthier.exhausted import memory_ran_out
from luthier.methods.base import Attached, snapshot
from luthier.models.kernel_choice import Kernels
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy, cross_entropy
from luthier.records import Encoded
from luthier.training.log import read_log
from luthier.training.memory_fit import kept_bytes
from luthier.training.optimizer import make_optimizer
from luthier.training.pass_size import planned_pass_size
from luthier.training.recipe import TrainingRecipe
from luthier.training.step import Training
from luthier.training.stream import shuffled_stream, training_set
from tiny_models import same_bits, write_folder

AUTO = TrainingConfig()
ON_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: not enough memory: you tried")
FAULTS = {"CPU": ON_CPU, "CUDA": torch.OutOfMemoryError("CUDA out of memory."), "Python": MemoryError()}


class Device:
    """A device that holds so many tokens, whose memory runs out in the backward pass of more."""

    def __init__(self, tokens: int, fault: Exception = ON_CPU) -> None:
        self.tokens, self.fault = tokens, fault
        self.passes: list[int] = []

    def loss(self, model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
        tokens = sum(len(item.prompt_ids) + len(item.target_ids) for item in batch)
        self.passes.append(tokens)
        found = cross_entropy(model, batch)
        if tokens > self.tokens and torch.is_grad_enabled():
            found.register_hook(self._fail)  # what was accumulated before it must not count
        return found

    def _fail(self, _: torch.Tensor) -> None:
        raise self.fault


def test_a_pass_is_planned_by_the_width_of_the_model_alone() -> None:
    """5 times 2^16 numbers in a hidden state, no fewer than 512 tokens, no more than 8,192; what is given stays."""
    model, _ = start("full")  # 32 wide
    assert planned_pass_size(model, AUTO) == 8192
    for width, tokens in ((192, 1706), (576, 568), (4096, 512)):
        model.module.config.hidden_size = width
        assert planned_pass_size(model, AUTO) == tokens
    assert planned_pass_size(model, TrainingConfig(micro_tokens=20_000)) == 20_000


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_where_memory_runs_out_the_step_is_made_again_with_the_same_result(
    method: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"dropout": 0.0} if method == "lora" else {}
    model, attached = start(method, **settings)
    run(model, attached, tmp_path / "enough", steps=4, batch_size=8, epsilon=1e-2)
    model, small = start(method, **settings)
    device = Device(30, FAULTS[fault])
    done = run(model, small, tmp_path / "short", steps=4, batch_size=8, epsilon=1e-2, objective=device.loss)

    # 89 tokens in one pass, in two, and in five: 17, 14, 10 + 11, 6 + 11, 10 + 10.
    assert device.passes == [89, 45, *[21, 20, 17, 17, 14] * 4]
    assert losses(tmp_path / "short") == pytest.approx(losses(tmp_path / "enough"), rel=1e-6)
    for key, weight in snapshot(attached).items():
        torch.testing.assert_close(snapshot(small)[key], weight, atol=1e-6, rtol=1e-5)

    assert done.micro_tokens == 23
    assert {line["micro_tokens"] for line in read_log(tmp_path / "short" / "log.jsonl")} == {23}
    said = capsys.readouterr().err
    for before, after in ((89, 45), (45, 23)):
        assert f"memory ran out in a pass of {before} tokens; step 1 is made again" in said
        assert f"in passes of at most {after}\n" in said
    assert not model.module.training


def test_a_step_is_made_again_from_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was accumulated counts, and dropout is drawn as if the step had been cut so from the beginning."""
    model, attached = start(dropout=0.5)
    device = Device(50)
    run(model, attached, tmp_path / "short", steps=3, batch_size=8, objective=device.loss)
    assert device.passes == [89, *[45, 44] * 3], "later steps begin with what fitted"
    monkeypatch.setattr(loop, "first_pass_size", lambda _: 45)
    again, other = start(dropout=0.5)
    run(again, other, tmp_path / "cut", steps=3, batch_size=8)
    assert losses(tmp_path / "short") == losses(tmp_path / "cut")
    assert same_bits(snapshot(attached), snapshot(other))


def test_a_run_that_goes_on_cuts_its_steps_as_before(tmp_path: Path) -> None:
    model, attached = start(dropout=0.5)
    run(model, attached, tmp_path / "whole", steps=4, batch_size=8, objective=Device(50).loss)

    device = Device(50)

    def broken_off(model: LanguageModel, batch: Sequence[Encoded]) -> torch.Tensor:
        if len(device.passes) == 6:
            raise KeyboardInterrupt
        return device.loss(model, batch)

    other, again = start(dropout=0.5)
    with pytest.raises(KeyboardInterrupt):
        run(other, again, tmp_path / "broken", steps=4, batch_size=8, objective=broken_off, checkpoint_seconds=0)
    other, again = start(dropout=0.5)
    roomy = Device(1000)
    run(other, again, tmp_path / "broken", steps=4, batch_size=8, objective=roomy.loss, checkpoint_seconds=0)
    assert roomy.passes == [45, 44] * 2, "though there is room for all at once now"
    assert same_bits(snapshot(attached), snapshot(again))


def test_a_single_record_that_does_not_fit_is_a_message(tmp_path: Path) -> None:
    model, attached = start()
    device = Device(15)  # the longest has 17
    with pytest.raises(RuntimeError, match="not enough memory") as caught:
        run(model, attached, tmp_path, steps=1, batch_size=8, objective=device.loss)
    assert memory_ran_out(caught.value)
    assert device.passes[-1] == 17


def test_a_number_that_was_given_stays(tmp_path: Path) -> None:
    model, attached = start()
    device = Device(50)
    with pytest.raises(RuntimeError, match="not enough memory"):
        run(model, attached, tmp_path, steps=1, batch_size=8, objective=device.loss, micro_tokens=8192)
    assert len(device.passes) == 1


def test_other_faults_are_not_retried(tmp_path: Path) -> None:
    model, attached = start()
    device = Device(50, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(model, attached, tmp_path, steps=1, batch_size=8, objective=device.loss)
    assert len(device.passes) == 1


def test_padded_batches_are_cut_by_what_they_are_padded_to(tmp_path: Path) -> None:
    """Bloom's rows are padded: eight rows, of which the longest has 17 tokens, take 136."""
    model, attached = start("full", "bloom")
    assert model.why_padded() is not None
    device = Device(60)
    run(model, attached, tmp_path, steps=1, batch_size=8, objective=device.loss)
    assert device.passes[0] == 89
    assert max(device.passes[1:]) <= 60


def training(model: LanguageModel, method: Attached) -> Training[Encoded]:
    config = AUTO.model_copy(update={"learning_rate": 0.1})
    stream = shuffled_stream(training_set("rows", ROWS), config, seed=0)
    optimizer = make_optimizer(method.trainable(), config)
    return Training(model, method, stream, TrainingRecipe(CrossEntropy(), config, 0), (), optimizer, "lora")


def test_what_a_pass_keeps_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that keeps 3 numbers of float32 for each token, and 5 for each pass; its weights do not count."""
    model, attached = start()
    own, made = nn.Parameter(torch.ones(100)), torch.ones(5, requires_grad=True)
    model.module.register_parameter("own", own)

    def target_logprobs(batch: Sequence[Encoded]) -> torch.Tensor:
        tokens = sum(len(item.prompt_ids) + len(item.target_ids) for item in batch)
        kept = torch.ones(3 * tokens, requires_grad=True)
        return (kept.exp().sum() + made.exp().sum() + (own * 2.0).sum())[None]

    monkeypatch.setattr(model, "target_logprobs", target_logprobs)
    found = kept_bytes(training(model, attached))
    assert (found.each, found.fixed) == (12, 20)


def test_what_a_pass_keeps_is_what_a_real_model_keeps_and_draws_nothing() -> None:
    model, attached = start(dropout=0.5)
    state = torch.get_rng_state()
    found = kept_bytes(training(model, attached))
    assert torch.equal(torch.get_rng_state(), state)
    # Two blocks, 32 wide, with LoRA on seven layers each: more than the input of every layer, less than forty of them.
    assert 4 * 32 * 2 * 7 < found.each < 4 * 32 * 2 * 40


@pytest.mark.parametrize(("spare", "tokens"), [(10_000, 8192), (100, 4096), (0.001, 1)])
def test_where_memory_is_short_passes_are_halved_before_they_run_out_of_it(
    spare: float, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """8,192 tokens at 10 kB each, 2.2 times as much with the heap's holes, are 180 MB; and 134 MB in any case."""
    monkeypatch.setattr(memory_fit, "free_bytes", lambda _: int((134e6 + spare * 1e6) / 0.9))
    monkeypatch.setattr(memory_fit, "kept_bytes", lambda _: memory_fit.KeptBytes(0, 10_000))
    model, attached = start()
    done = run(model, attached, tmp_path, steps=1)
    assert done.micro_tokens == tokens
    said = capsys.readouterr().err
    assert ("memory is short" in said) is (tokens < 8192)
    if tokens < 8192:
        assert f"passes take at most {tokens:,} tokens, not 8,192" in said


@pytest.mark.parametrize("given", [0, -1, "many", True, 1.5, None])
def test_what_is_neither_a_number_nor_auto_is_one_message(given: object) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(TrainingConfig, {"micro_tokens": given}, source="x")
    assert "x: key 'micro_tokens': a whole number of at least 1, or auto" in str(caught.value)


@pytest.mark.parametrize("given", [1, 4096, "512", "auto"])
def test_a_number_and_auto_are_taken(given: object) -> None:
    found = validate(TrainingConfig, {"micro_tokens": given}, source="x").micro_tokens
    assert found == (given if given == "auto" else int(str(given)))


@pytest.mark.parametrize("attention", ["pieces", "fused"])
def test_what_is_measured_is_let_go(attention: str) -> None:
    """Torch's fused kernel keeps its own result: handed on as it is, it would hold itself, for each training anew."""
    model, attached = start("lora")
    model.kernels = Kernels(attention=attention)
    kept_bytes(training(model, attached))
    before = _tensors()
    kept_bytes(training(model, attached))
    assert _tensors() == before


def _tensors() -> int:
    gc.collect()
    return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())  # what only seems one is left alone


REAL = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import luthier.training.memory_fit as memory_fit
from luthier.config.computing import KernelsConfig
from luthier.config.training import TrainingConfig
from luthier.methods.registry import find_method, read_settings
from luthier.models.load import load_model
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.training.loop import train
from luthier.training.recipe import TrainingRecipe
from luthier.training.stream import shuffled_stream, training_set
from tiny_models import encoded

# The same kernels everywhere: what a pass takes depends on them.
model = load_model(sys.argv[1], device="cpu", kernels=KernelsConfig(matmul="torch", attention="pieces"))
method = find_method("lora")
rows = encoded(5, [(100, 20)] * 8)
config = TrainingConfig(steps=2, batch_size=8, learning_rate=1e-2)
def run(part, folder):
    attached = method.attach(model, read_settings(method, {}, where="test"), seed=0)
    stream = shuffled_stream(training_set("rows", part), config, seed=0)
    done = train(model, attached, stream, TrainingRecipe(CrossEntropy(), config, 0), folder=Path(sys.argv[2]) / folder)
    attached.detach()
    return done
memory_fit.free_bytes = lambda device: None  # nothing warns before: the pass is tried
run(rows[:1], "one")  # what libraries load at first use
used = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize"))) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 24 * 2**20, used + 24 * 2**20))
print(run(rows, "all").micro_tokens)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_a_real_allocation_that_fails_is_recovered_from(tmp_path: Path) -> None:
    """Passes of 120 tokens fit beside what is there, and passes of 960 do not."""
    model = write_folder(tmp_path / "model", "llama", hidden_size=128, intermediate_size=4096)
    command = [sys.executable, "-c", REAL, str(model), str(tmp_path)]
    own = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "memory ran out in a pass of 960 tokens; step 1 is made again" in done.stderr
    assert 120 <= int(done.stdout) <= 480
