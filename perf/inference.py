"""Measure scoring and generation against `transformers` and `lm-eval` in one run, on the shape of a 135M Llama.

    python perf/inference.py                   # all of it, on ../shared/data/mmlu
    python perf/inference.py --questions 8 --generations 16 --only a,b

The weights are random and the tokenizer is trained here on the questions, so that nothing is downloaded. Every line
gives the CPU seconds of one library, and how far its numbers differ. CPU time, unlike wall time, hardly depends on what
else the machine does.

The other libraries run with their defaults. Where Luthier multiplies by oneDNN instead of MKL
(``luthier.kernels.onednn_matmul``), it is measured without that, too, to separate the effect of avoided computation
from that of wider kernels.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from luthier.config.decoding import DecodingConfig
from luthier.inference.capabilities import capabilities_of
from luthier.inference.ct2_convert import open_converted
from luthier.inference.ct2_engine import Precision
from luthier.inference.engine import Engine, TorchEngine
from luthier.inference.generation import generate
from luthier.inference.scoring import answer_logprobs
from luthier.inference.stop_conditions import StopConditions
from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.records import Encoded

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mmlu"
SUBJECTS = ("anatomy", "high_school_biology")
LETTERS = "ABCD"
Timed: TypeAlias = tuple[list[str], float, int]
"""Generated texts, their CPU seconds, and the batch size that was the fastest."""
SHAPE = {  # SmolLM2-135M's
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


@contextmanager
def as_torch_comes() -> Iterator[None]:
    """Inside, multiply matrices with torch's default library."""
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100, help="questions of each of the two subjects")
    parser.add_argument("--generations", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="batch size of the other libraries in scoring")
    parser.add_argument("--batches", type=int, nargs="+", default=(16, 32, 64), help="batch sizes in generation")
    parser.add_argument("--only", default="a,b,c,d", help="which measurements")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = made_model(Path(folder))
        capabilities_of(model)  # verified before anything is timed
        print(f"{model.parameters / 1e6:.0f}M weights, {options.threads} thread(s), CPU seconds")
        if "a" in options.only:
            few_shot(model, options.questions, options.batch)
        if "b" in options.only:
            endings(model, options.questions, options.batch)
        if "c" in options.only or "d" in options.only:
            asked = uneven(model, options.generations, options.new_tokens)
            theirs = best(lambda batch: by_transformers(model, asked, batch), options.batches)
        if "c" in options.only:
            continuous(model, asked, theirs, options.batches)
        if "d" in options.only:
            converted(model, asked, theirs, options.batches, Path(folder))


def made_model(folder: Path) -> LanguageModel:
    """Write and load a Llama with random weights and a tokenizer that is trained on the questions."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [path.read_text(encoding="utf-8") for path in sorted((DATA / "dev").glob("*.csv"))]
    texts += [(DATA / "test" / f"{subject}_test.csv").read_text(encoding="utf-8") for subject in SUBJECTS]
    backend.train_from_iterator(texts, trainer)
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end)
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SHAPE))
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder), device="cpu")


def rows_of(split: str, subject: str) -> list[list[str]]:
    with (DATA / split / f"{subject}_{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def shown(row: Sequence[str]) -> str:
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(LETTERS, row[1:5], strict=True))
    return f"{row[0].strip()}\n{options}Answer:"


def few_shot(model: LanguageModel, count: int, batch: int) -> None:
    """(a) MMLU with five exemplars: four one-token answers to each question."""
    prompts = []
    for subject in SUBJECTS:
        head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        head += "".join(f"{shown(row)} {row[5]}\n\n" for row in rows_of("dev", subject)[:5])
        prompts += [head + shown(row) for row in rows_of("test", subject)[:count]]
    answers = [f" {letter}" for letter in LETTERS]
    compare(model, "(a) five exemplars, four letters", [(prompt, answers) for prompt in prompts], batch)


def endings(model: LanguageModel, count: int, batch: int) -> None:
    """(b) Four endings of several tokens after each question, without exemplars."""
    asked = [
        (f"Question: {row[0].strip()}\nAnswer:", [f" {text}" for text in row[1:5]])
        for subject in SUBJECTS
        for row in rows_of("test", subject)[:count]
    ]
    compare(model, "(b) four endings", asked, batch)


def compare(model: LanguageModel, name: str, asked: Sequence[tuple[str, Sequence[str]]], batch: int) -> None:
    """Score all answers to all prompts: by Luthier, in padded batches, and by `lm-eval` if it is installed."""
    items = []
    for number, (prompt, answers) in enumerate(asked):
        prompt_ids = np.array(model.tokenizer(prompt).input_ids, dtype=np.int32)
        for answer in answers:
            ids = np.array(model.tokenizer(answer).input_ids, dtype=np.int32)
            items.append(Encoded(f"{number}", prompt_ids, ids))
    tokens = sum(len(item.prompt_ids) + len(item.target_ids) for item in items)
    print(f"\n{name}: {len(asked)} questions, {len(items)} requests, {tokens:,} tokens")
    ours, own = timed(lambda: answer_logprobs(model, items))
    line("Luthier", own, own, len(asked))
    with as_torch_comes():
        narrow, seconds = timed(lambda: answer_logprobs(model, items))
        line("Luthier, by MKL", seconds, own, len(asked), apart(ours, narrow))
    theirs, seconds = timed(lambda: padded(model, items, batch))
    line("transformers, sorted by length", seconds, own, len(asked), apart(ours, theirs))
    found = by_lm_eval(model, items, batch)
    if found is not None:
        line("lm-eval --model hf", found[1], own, len(asked), apart(ours, found[0]))


def apart(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"log-probabilities differ by {max(abs(a - b) for a, b in zip(ours, theirs, strict=True)):.1e} at most"


@as_torch_comes()
@torch.no_grad()
def padded(model: LanguageModel, items: Sequence[Encoded], batch: int) -> list[float]:
    """Score rows of similar length in a batch, each with its whole prompt."""
    order = sorted(range(len(items)), key=lambda index: -len(items[index].prompt_ids) - len(items[index].target_ids))
    found = [0.0] * len(items)
    for start in range(0, len(order), batch):
        rows = [np.concatenate([items[i].prompt_ids, items[i].target_ids])[:-1] for i in order[start : start + batch]]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.from_numpy(row.astype(np.int64))
        hidden = model.module.model(input_ids=ids, use_cache=False).last_hidden_state
        for place, index in enumerate(order[start : start + batch]):
            targets = torch.from_numpy(items[index].target_ids.astype(np.int64))
            end = len(rows[place])
            logits = model.module.lm_head(hidden[place, end - len(targets) : end])
            found[index] = float(logits.log_softmax(dim=1).gather(1, targets[:, None]).double().sum())
    return found


@as_torch_comes()
def by_lm_eval(model: LanguageModel, items: Sequence[Encoded], batch: int) -> tuple[list[float], float] | None:
    try:
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        print("  lm-eval is not installed")
        return None
    judge = HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=batch, device="cpu")
    requests = [
        (
            (str(item.prompt_ids.tobytes()), str(item.target_ids.tobytes())),
            item.prompt_ids.tolist(),
            item.target_ids.tolist(),
        )
        for item in items
    ]
    found, seconds = timed(lambda: judge._loglikelihood_tokens(requests, disable_tqdm=True))
    return [logprob for logprob, _ in found], seconds


@dataclass(frozen=True)
class GenerationWorkload:
    """Prompts of different lengths, and end tokens that stop the answers at different places."""

    prompts: list[Encoded]
    ends: list[int]
    new_tokens: int

    def held(self, batch: int) -> int:
        """Tokens in a padded batch of the other libraries."""
        return batch * (max(len(prompt.prompt_ids) for prompt in self.prompts) + self.new_tokens)

    def written_by(self, engine: Engine, batch: int) -> list[str]:
        """Tokens of the answers that an engine writes, as text."""
        ending = StopConditions(str, self.new_tokens, self.ends)
        found = engine.generate(self.prompts, DecodingConfig(), ending, budget=self.held(batch))
        return [answer.text for answer in found]


def uneven(model: LanguageModel, count: int, new_tokens: int) -> GenerationWorkload:
    rows = [row for subject in SUBJECTS for row in rows_of("test", subject)]
    texts = [shown(row) for row in rows[:count]]
    prompts = [
        Encoded(str(number), np.array(model.tokenizer(text).input_ids, dtype=np.int32), np.zeros(0, np.int32))
        for number, text in enumerate(texts)
    ]
    # With random weights no answer ends by itself, so tokens at random places of some answers become the end tokens.
    draw = np.random.default_rng(0)
    free = generate(model, prompts, DecodingConfig(), StopConditions(str, new_tokens))
    written = [json.loads(answer.text) for answer in free]
    ends = sorted({tokens[int(draw.integers(len(tokens)))] for tokens in written[:: max(1, count // 8)]})
    return GenerationWorkload(prompts, ends, new_tokens)


def describe(name: str, asked: GenerationWorkload) -> None:
    lengths = [len(prompt.prompt_ids) for prompt in asked.prompts]
    sizes = f"prompts of {min(lengths)} to {max(lengths)} tokens, {asked.new_tokens} new ones at most"
    print(f"\n{name}: {len(asked.prompts)} generations, {sizes}")


def continuous(model: LanguageModel, asked: GenerationWorkload, theirs: Timed, batches: Sequence[int]) -> None:
    """(c) Prompts of uneven length, answers that end at uneven places."""
    describe("(c)", asked)
    first, own, batch = best(lambda batch: asked.written_by(TorchEngine(model), batch), batches)
    line("Luthier", own, own, len(first), f"{batch} at a time")
    with as_torch_comes():
        narrow, seconds = timed(lambda: asked.written_by(TorchEngine(model), batch))
        line("Luthier, by MKL", seconds, own, len(first), agreement(first, narrow))
    beside(theirs, first, own)
    tokens = [len(json.loads(text)) for text in first]
    print(f"  answers of {min(tokens)} to {max(tokens)} tokens, {sum(tokens)} in all")


def converted(
    model: LanguageModel, asked: GenerationWorkload, theirs: Timed, batches: Sequence[int], folder: Path
) -> None:
    """(d) The same by the model converted for CTranslate2, in float32 and with 8-bit weights."""
    try:
        import ctranslate2
    except ImportError:
        print("\n(d) CTranslate2 is not installed")
        return
    describe(f"(d) CTranslate2 {ctranslate2.__version__}", asked)
    precisions: tuple[Precision, ...] = ("float32", "int8")
    for precision in precisions:
        engine, seconds = timed(partial(open_converted, model, folder, precision))
        print(f"  converted to {precision} and proved, once: {seconds:.1f} s")
        found, own, batch = best(partial(asked.written_by, engine), batches)
        line(f"Luthier, CTranslate2, {precision}", own, own, len(found), f"{batch} at a time")
        beside(theirs, found, own)


def beside(theirs: Timed, found: Sequence[str], own: float) -> None:
    """Print the line of `transformers`, compared with what Luthier generated in ``own`` seconds."""
    answers, seconds, batch = theirs
    note = f"{batch} at a time, {agreement(found, answers)}"
    line("transformers, sorted by length", seconds, own, len(found), note)


def agreement(first: Sequence[str], second: Sequence[str]) -> str:
    same = sum(one == other for one, other in zip(first, second, strict=True))
    pairs = [(json.loads(one), json.loads(other)) for one, other in zip(first, second, strict=True)]
    tokens = sum(a == b for one, other in pairs for a, b in zip(one, other, strict=False))
    share = tokens / max(1, sum(max(len(one), len(other)) for one, other in pairs))
    return f"{same} of {len(first)} answers are the same, {share:.1%} of tokens"


@as_torch_comes()
@torch.no_grad()
def by_transformers(model: LanguageModel, asked: GenerationWorkload, batch: int) -> list[str]:
    prompts, ends, new_tokens = asked.prompts, asked.ends, asked.new_tokens
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].prompt_ids))
    found = [""] * len(prompts)
    model.module.generation_config.eos_token_id = ends
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        longest = len(prompts[chosen[0]].prompt_ids)
        ids = torch.zeros(len(chosen), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, index in enumerate(chosen):
            own = torch.from_numpy(prompts[index].prompt_ids.astype(np.int64))
            ids[place, longest - len(own) :] = own
            mask[place, longest - len(own) :] = 1
        output: Any = model.module.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
        )
        for place, index in enumerate(chosen):
            answer = output[place, longest:].tolist()
            stop = next((at for at, token in enumerate(answer) if token in set(ends)), len(answer))
            found[index] = str(answer[:stop])
    return found


def best(work: Callable[[int], list[str]], batches: Sequence[int]) -> Timed:
    """Run ``work`` with each batch size; return its result, and the minimum time with its batch size."""
    runs = [(*timed(partial(work, size)), size) for size in batches]
    return min(runs, key=lambda run: run[1])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def line(who: str, seconds: float, own: float, count: int, note: str = "") -> None:
    print(f"  {who:<34}{seconds:>9.1f} s{count / seconds:>9.2f} /s{seconds / own:>8.2f} ×   {note}", flush=True)


if __name__ == "__main__":
    main()
