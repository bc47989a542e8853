"""The answers that a model draws at each step, what they are worth, and whether anything can be learned from them.

They are kept beside the checkpoints, so that a training killed meanwhile goes on with the same ones.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from luthier.config.advice import how_to_set
from luthier.config.decoding import DecodingConfig
from luthier.data.attempts import Attempt, Drawn
from luthier.errors import NoSignalError
from luthier.evaluation.requests import Request, encode_requests, plan_request_batches, stop_conditions_of
from luthier.files.jsonl import append_lines, read_until_torn
from luthier.inference.generation import generate
from luthier.kernels.verification import evaluation_mode
from luthier.methods.base import Attached, load_weights, snapshot
from luthier.metrics.extraction import extract_answers
from luthier.metrics.metric import FloatArray
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import LearnsFromOwnAnswers
from luthier.records import Encoded, Example, Prediction
from luthier.training.job import TrainingJob
from luthier.training.log import read_log
from luthier.training.reference import compute_logprobs
from luthier.training.stream import StepRecords, StepStream

FOLDER = "samples"
"""Of the answers, within the folder of a training: a file for each draw."""
FIRST_STEPS = 20
"""Of these more than half must have something to learn from."""
_CUT = "length"


@dataclass(frozen=True, slots=True)
class _Written:
    """One answer as it was drawn."""

    ids: tuple[int, ...]
    text: str
    finish: str


@dataclass(frozen=True, slots=True)
class _Draw:
    """The answers to the prompts of a step, prompt by prompt, and what is learned from them."""

    number: int
    learned: StepRecords[Attempt]


class OwnAnswers:
    """Makes the records of each step: answers to its prompts, drawn with the weights as they are.

    They are drawn at temperature 1, each from a random stream that depends on the seed of the training, the draw, the
    example and the number of the answer alone. Where there is more than one update, so many steps learn from one draw.

    Args:
        model: With the method attached, and the weights of the start.
        attached: Names the trained weights.
        job: Names the objective, the reward, the task and the seed.
        folder: Of the training.
    """

    def __init__(self, model: LanguageModel, attached: Attached, job: TrainingJob[Any], folder: Path) -> None:
        objective = job.recipe.objective
        assert isinstance(objective, LearnsFromOwnAnswers)
        assert job.reward is not None, "such an objective names one"
        self._model, self._attached, self._job, self._folder = model, attached, job, folder
        self._objective, self._reward = objective, job.reward
        self._start = snapshot(attached) if objective.settings.beta else None
        self._draw: _Draw | None = None

    def of_step(self, stream: StepStream[Attempt], step: int) -> StepRecords[Attempt]:
        """See :class:`luthier.training.stream.RecordMaker`.

        Raises:
            NoSignalError: More than half of the first steps have nothing to learn from.
        """
        number = step // self._objective.settings.updates
        if self._draw is None or self._draw.number != number:
            self._draw = _Draw(number, self._drawn(stream.records(number), number))
        self._require_signal(self._draw.learned, step, stream.steps)
        return self._draw.learned

    def _drawn(self, asked: Sequence[Attempt], number: int) -> StepRecords[Attempt]:
        """Return what is learned from the answers to some prompts, drawn now or before the training was killed."""
        path = self._folder / FOLDER / f"{number:08d}.jsonl"
        lines = read_until_torn(path, json.loads, truncate=True)
        samples = self._objective.settings.samples
        examples = [record.example for record in asked for _ in range(samples)]
        requests = self._requests(asked, number)
        written: dict[int, _Written] = {}
        for line in lines:
            written |= {int(own["place"]): _read(own) for own in line.get("answers", ())}
        for places in self._portions(requests, len(written)):
            found = self._write([requests[place] for place in places])
            append_lines(path, [_line(places, found)])
            written |= dict(zip(places, found, strict=True))
        answers = [written[place] for place in range(len(requests))]
        sequences = [
            replace(request.items[0], id=f"{example.id}~{place % samples}", target_ids=np.array(own.ids, np.int32))
            for place, (request, example, own) in enumerate(zip(requests, examples, answers, strict=True))
        ]
        worth = next((line for line in lines if "rewards" in line), None)
        if worth is None:
            worth = {"rewards": self._rewards(examples, answers), "old": self._old(sequences)}
            append_lines(path, [json.dumps(worth)])
        rewards = np.array([math.nan if own is None else own for own in worth["rewards"]]).reshape(-1, samples)
        advantages = self._objective.advantages(rewards)
        old = worth["old"] or [()] * len(sequences)
        records = [
            Attempt(sequence.id, example, sequence, Drawn(float(advantage), tuple(own)))
            for sequence, example, advantage, own in zip(sequences, examples, advantages.flat, old, strict=True)
        ]
        return StepRecords(records, self._references(sequences), _quantities(rewards, advantages, answers))

    def _requests(self, asked: Sequence[Attempt], number: int) -> list[Request]:
        """Return each prompt as often as it is answered; the id of its sequence names the random stream."""
        examples = [record.example for record in asked]
        found, dropped = encode_requests(examples, self._job.task.encoder, new_tokens=self._new_tokens)
        assert not dropped, "prompts that leave no room for an answer were left out before"
        before: Counter[str] = Counter()  # an example may come twice in a step, at the end of an epoch
        requests = []
        for request in found:
            for _ in range(self._objective.settings.samples):
                name = f"{number}:{request.example.id}~{before[request.example.id]}"
                requests.append(replace(request, items=(replace(request.items[0], id=name),)))
                before[request.example.id] += 1
        return requests

    def _portions(self, requests: Sequence[Request], done: int) -> Iterator[tuple[int, ...]]:
        """Yield the places of what is drawn together: always the same, so that what is left is drawn as it would be."""
        budget = self._job.task.batch_tokens
        for places in plan_request_batches(requests, new_tokens=self._new_tokens, batch_tokens=budget):
            if done <= 0:
                yield places
            done -= len(places)

    def _write(self, requests: Sequence[Request]) -> list[_Written]:
        task, model = self._job.task, self._model
        prompts = [request.items[0] for request in requests]
        decoding = DecodingConfig(temperature=1.0, seed=self._job.recipe.seed)
        ending = stop_conditions_of(model, task.encoder, task.generation)
        with evaluation_mode(model.module):
            found = generate(model, prompts, decoding, ending, budget=task.batch_tokens)
        return [
            _Written(own.ids, task.encoder.begun(request.example) + own.text, own.finish)
            for request, own in zip(requests, found, strict=True)
        ]

    def _rewards(self, examples: Sequence[Example], answers: Sequence[_Written]) -> list[float | None]:
        """Return what each answer is worth; None where that is no finite number."""
        predictions = [
            Prediction(
                example.id,
                example.task,
                own.text,
                example.targets,
                generated_tokens=len(own.ids),
                finish=own.finish,
                group=example.group,
                wrong=example.wrong,
            )
            for example, own in zip(examples, answers, strict=True)
        ]
        values = self._reward.values(examples, extract_answers(predictions, self._job.task.task.extraction))
        return [float(value) if math.isfinite(value) else None for value in values]

    def _old(self, sequences: Sequence[Encoded]) -> list[list[float]] | None:
        """Return the log-probabilities of answers that later steps learn from too, as they are now."""
        if self._objective.settings.updates == 1:
            return None
        return [own.tolist() for own in compute_logprobs(self._model, self._job.recipe, sequences)]

    def _references(self, sequences: Sequence[Encoded]) -> list[Tensor]:
        """Return the log-probabilities of answers under the weights of the start, which stand in for those of now."""
        if self._start is None:
            return []
        now = snapshot(self._attached)
        load_weights(self._attached, self._start, where="the start")
        try:
            found = compute_logprobs(self._model, self._job.recipe, sequences)
        finally:
            load_weights(self._attached, now, where="the present weights")
        return [own.to(self._model.device) for own in found]

    @property
    def _new_tokens(self) -> int:
        return self._job.task.generation.new_tokens

    def _require_signal(self, learned: StepRecords[Attempt], step: int, steps: int) -> None:
        first = min(FIRST_STEPS, steps)
        if step >= first or not learned.quantities["without_signal"]:
            return
        earlier = read_log(self._folder / "log.jsonl")
        empty = [*(line for line in earlier if line.get("without_signal")), learned.quantities]
        if 2 * len(empty) > first:
            cut, unscored = (sum(float(line[name] or 0) for line in empty) / len(empty) for name in ("cut", "unscored"))
            what, fix = self._why(cut, unscored / len(learned.records))
            said = f"{len(empty)} of the first {first} steps have nothing to learn from: {what}"
            raise NoSignalError(said, where=f"step {step + 1}", fix=fix)

    def _why(self, cut: float, unscored: float) -> tuple[str, str]:
        """Say why there is nothing to learn from, and what to do about it."""
        name = self._reward.name
        if cut > 0.5:
            what = f"{100 * cut:.0f} % of answers reached max_new_tokens {self._new_tokens}"
            longer = how_to_set("decoding.max_new_tokens", str(2 * self._new_tokens))
            return what, f"Allow longer answers: {longer}, or begin with a supervised adapter (`start`)."
        if unscored > 0.5:
            return f"{100 * unscored:.0f} % of answers have no reward", f"Look at what {name} gives no number."
        what = f"all answers to a prompt are worth the same by {name}"
        fix = "Take a finer measure of an answer (token_f1, rougeL), draw more `samples`, or begin with a "
        return what, fix + "supervised adapter (`start`)."


def _quantities(rewards: FloatArray, advantages: FloatArray, answers: Sequence[_Written]) -> dict[str, float | None]:
    """Return what the log says of the answers of a draw."""
    known = ~np.isnan(rewards)
    flat = ~advantages.any(axis=1)
    cut = sum(own.finish == _CUT for own in answers)
    return {
        "reward": float(rewards[known].mean()) if known.any() else None,
        "cut": cut / len(answers),
        "flat_groups": float(flat.mean()),
        "answer_tokens": sum(len(own.ids) for own in answers) / len(answers),
        "unscored": float((~known).sum()),
        "without_signal": float(flat.all() or cut == len(answers)),
    }


def _line(places: Sequence[int], found: Sequence[_Written]) -> str:
    rows = [
        {"place": place, "ids": own.ids, "text": own.text, "finish": own.finish}
        for place, own in zip(places, found, strict=True)
    ]
    return json.dumps({"answers": rows})


def _read(row: dict[str, Any]) -> _Written:
    return _Written(tuple(row["ids"]), str(row["text"]), str(row["finish"]))
