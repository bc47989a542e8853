"""Several answers to each prompt, what each is worth, and what is kept of them to learn from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.arguments import require_settings
from luthier.config.advice import how_to_set
from luthier.config.sample import SampleConfig
from luthier.data.chat_messages import messages_of_turns
from luthier.errors import ConfigError, DataError, LuthierError, collecting, raise_faults
from luthier.evaluation.jobs import task_job
from luthier.evaluation.prepared_task import PreparedTask, make_encoder
from luthier.evaluation.run import ensure_answered, read_log
from luthier.experiments.adapted_model import adapted_model, answering_context, encoding_as_trained
from luthier.files.atomic import write_atomically, writing
from luthier.files.store_contents import refuse_place_in_store, using_store
from luthier.progress import say
from luthier.records import Example, Message, Prediction
from luthier.results.best_of_n import best_of_n
from luthier.results.samples import Sample, Sampled
from luthier.rewards.reward import Reward, read_reward
from luthier.tasks.loader import load_examples, load_task, with_data_settings
from luthier.tasks.schema import Task


def sample(config: SampleConfig) -> Sampled:
    """Draw several answers to each prompt of a task, and keep what is worth learning from.

    Args:
        config: Names the model, the adapter, the task, the reward, and what is kept.

    Raises:
        ConfigError: The reward is none, or there is no place for what is kept.
        DataError: The task has no such split, no prompt fits, or nothing is kept.
    """
    require_settings(config, SampleConfig, "sample")
    _check_place(config)
    reward, gold = _rewards(config)
    task = with_data_settings(load_task(config.task), config.data)
    examples = load_examples(task, config.split, limit=config.prompt_count, seed=config.seed, evaluation=True)
    # Choices are written like any other answer.
    asked = tuple(replace(example, choices=(), choice_prompts=()) for example in examples)
    with adapted_model(config) as model:
        repeated = tuple(
            replace(example, id=f"{example.id}~{number}") for example in asked for number in range(config.n)
        )
        prepared = PreparedTask(task, make_encoder(model, task, encoding_as_trained(config)), repeated)
        context = answering_context(config, "sample")
        with using_store(config.runs, remake_damaged=False):
            log = read_log(ensure_answered(task_job(model, prepared, context, label=f"{task.name}: samples")))
    found = _valued(asked, {own.id: own for own in log.predictions}, config.n, reward, gold)
    answered = tuple(example for example in asked if example.id in found)
    samples = tuple(found[example.id] for example in answered)
    kept = tuple(row for example, own in zip(answered, samples, strict=True) for row in _kept(config, example, own))
    if config.save is not None:
        _write(config, task, kept)
    curve = best_of_n(
        [[own.reward for own in row] for row in samples],
        [[own.gold for own in row] for row in samples] if gold is not None else None,
        seed=config.seed,
    )
    return Sampled(answered, samples, kept, len(asked) - len(answered), curve, config.reward, config.gold)


def _check_place(config: SampleConfig) -> None:
    """Refuse a file that cannot be written, before anything is sampled."""
    if config.save is None:
        return
    if config.save.suffix != ".jsonl":
        fix = "Give --save a name that ends in .jsonl."
        raise ConfigError("what is kept is written as JSONL", where=str(config.save), fix=fix)
    if config.save.exists():
        raise ConfigError("something is there already", where=str(config.save), fix="Choose another file with --save.")
    refuse_place_in_store(config.save, "save")


def _rewards(config: SampleConfig) -> tuple[Reward, Reward | None]:
    faults: list[LuthierError] = []
    found: list[Reward] = []
    for key, written in (("reward", config.reward), ("gold", config.gold)):
        with collecting(faults):
            if written is not None:
                found.append(read_reward(written, where=key))
    raise_faults("the rewards have faults", faults)
    return found[0], found[1] if len(found) > 1 else None


def _valued(
    asked: Sequence[Example], answers: dict[str, Prediction], n: int, reward: Reward, gold: Reward | None
) -> dict[str, tuple[Sample, ...]]:
    """Return the samples of each prompt that fits, by the id of its example."""
    examples, own = [], []
    for example in asked:
        for number in range(n):
            answer = answers.get(f"{example.id}~{number}")
            if answer is not None:
                examples.append(example)
                own.append(answer)
    values = reward.values(examples, own)
    others = gold.values(examples, own) if gold is not None else np.full(len(own), math.nan)
    found: dict[str, list[Sample]] = {}
    for example, answer, value, other in zip(examples, own, values.tolist(), others.tolist(), strict=True):
        found.setdefault(example.id, []).append(Sample(answer, value, other))
    return {key: tuple(row) for key, row in found.items()}


def _kept(config: SampleConfig, example: Example, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """Yield the rows that are kept of a prompt's samples."""
    if config.keep == "all":
        for own in samples:
            reward = None if math.isnan(own.reward) else own.reward
            yield _asked(example) | {"completion": _answer(example, own), "reward": reward, "finish": own.answer.finish}
        return
    least = -math.inf if config.at_least is None else config.at_least
    usable = [own for own in samples if own.usable]
    accepted = [own for own in usable if own.reward >= least]
    if config.keep == "accepted":
        for own in {own.text: own for own in reversed(accepted)}.values():  # each text once
            yield _asked(example) | {"completion": _answer(example, own), "reward": own.reward}
        return
    if not accepted:
        return
    best = max(accepted, key=lambda own: own.reward)  # the first of equals
    if config.keep == "best":
        yield _asked(example) | {"completion": _answer(example, best), "reward": best.reward}
        return
    worst = min(usable, key=lambda own: own.reward)
    if worst.reward < best.reward:
        rewards = {"chosen_reward": best.reward, "rejected_reward": worst.reward}
        yield _asked(example) | {"chosen": _answer(example, best), "rejected": _answer(example, worst)} | rewards


def _asked(example: Example) -> dict[str, Any]:
    """Return a row's id and prompt: its text, or the messages of a conversation."""
    if not _is_conversation(example):
        return {"id": example.id, "prompt": example.prompt}
    spoken = [Message(own.role, own.content) for own in example.messages]
    if not spoken:
        spoken = [*messages_of_turns(example.turns), Message("user", example.prompt)]
    system = [Message("system", example.system)] if example.system else []
    return {"id": example.id, "prompt": [{"role": own.role, "content": own.content} for own in (*system, *spoken)]}


def _answer(example: Example, own: Sample) -> str | list[dict[str, str]]:
    """Return an answer as the row's prompt has it: a text, or a message."""
    return [{"role": "assistant", "content": own.text}] if _is_conversation(example) else own.text


def _is_conversation(example: Example) -> bool:
    return bool(example.system or example.turns or example.messages)


def _write(config: SampleConfig, task: Task, kept: Sequence[dict[str, Any]]) -> None:
    assert config.save is not None
    if not kept:
        reached = "" if config.at_least is None else f" that reaches {config.at_least:g}"
        what = f"no sample{reached} can be kept: each is cut, empty, without a reward, or no better than the others"
        longer = how_to_set("decoding.max_new_tokens", "200")
        fix = f"Draw more with --n, allow longer answers ({longer}), or ask for less with --at-least."
        raise DataError(what, where=task.where, fix=fix)
    with writing(config.save):
        write_atomically(config.save, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    say(f"{len(kept):,} rows are kept: {config.save}")
