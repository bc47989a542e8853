"""``luthier check``: what would be learned from a task or a mixture, by the model's tokenizer alone."""

from __future__ import annotations

from luthier.config.check import CheckConfig
from luthier.data.check import CheckReport
from luthier.models.load import load_reader
from luthier.tasks.check_mixture import run_check_mixture
from luthier.tasks.check_task import run_check
from luthier.tasks.mixture import Mixture
from luthier.tasks.mixture_spec import is_mixture


def check(settings: CheckConfig) -> CheckReport | Mixture:
    """Read a task or a mixture as a training would.

    Raises:
        LuthierError: When the task, its rows or the tokenizer cannot be used.
    """
    reader = load_reader(settings.model, trust_remote_code=settings.trust_remote_code)
    if is_mixture(settings.task):
        return run_check_mixture(
            settings.task,
            reader.tokenizer,
            encoder_decoder=reader.encoder_decoder,
            max_length=reader.max_length,
            model_tokens=reader.tokens,
            data=settings.data,
            seed=settings.seed,
        )
    return run_check(
        settings.task,
        reader.tokenizer,
        encoder_decoder=reader.encoder_decoder,
        max_length=reader.max_length,
        data=settings.data,
        seed=settings.seed,
        model_tokens=reader.tokens,
    )
