"""Generate after a list of prompts that is known in advance."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.config.decoding import DecodingConfig
from luthier.inference.beams import search_beams
from luthier.inference.generation_request import GenerationRequest
from luthier.inference.sampling import sampling_of
from luthier.inference.scheduler import Scheduler, run_until_done
from luthier.inference.stop_conditions import Generation, StopConditions
from luthier.kernels.packed_linear import STEP
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    decoding: DecodingConfig,
    stop_conditions: StopConditions,
    *,
    budget: int | None = None,
) -> list[Generation]:
    """Generate once after each prompt, with the adapter that is in use.

    Args:
        model: In evaluation mode.
        prompts: Their ``prompt_ids`` are used, and their ids name the random streams.
        decoding: Greedy decoding, sampling, or beam search.
        stop_conditions: What ends a generation.
        budget: Maximum number of tokens of prompts and generations held at a time; one sequence is always held. None is
            no limit.

    Returns:
        Generations in the order of the prompts; none depends on its neighbours (float32).
    """
    if decoding.beams > 1:
        return search_beams(model, prompts, decoding, stop_conditions, budget=budget) if prompts else []
    scheduler = Scheduler(model, budget=budget, order="longest", refuse=False)
    sampling = sampling_of(decoding)
    for number, prompt in enumerate(prompts):
        scheduler.submit(
            GenerationRequest(
                str(number),
                prompt.prompt_ids,
                stop_conditions,
                sampling,
                adapter=model.adapters.active,
                random_stream=prompt.id,
            )
        )
    work = sum(len(prompt.prompt_ids) for prompt in prompts) + STEP * stop_conditions.limit
    with model.answering(work):
        finished = run_until_done(scheduler)
    return [finished[str(number)] for number in range(len(prompts))]
