"""Prompt and answer tokenised as one text, as benchmarks of language models are scored.

    [BOS] preamble  prompt₁ joint answer₁ gap … prompt joint | answer

The tokens of an answer are those that the whole text has beyond its prompt, white space at the end of the prompt
counted with the answer. No end token is scored, and a begin token stands only where the tokenizer itself adds one: the
convention of lm-eval (``TemplateLM._encode_pair``). :class:`luthier.data.encoding.Encoder` tokenises the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from luthier.data.around import Around
from luthier.data.cutting import moved_span
from luthier.data.encoding import Encoder
from luthier.data.joint import Joint
from luthier.data.layout import Layout
from luthier.data.long_texts import LONG, shortened
from luthier.data.model_tokens import ModelTokens
from luthier.data.tokenizer_adapter import added_around
from luthier.records import Dropped, Encoded, Example


class JoinedEncoder(Encoder):
    """Encodes examples for one model as one text each; it never uses a chat template.

    Args:
        tokenizer: A Hugging Face tokenizer.
        joint: What stands between prompts and answers.
        encoder_decoder: Whether the model is an encoder–decoder, whose answers are tokenised apart in any case.
        max_length: Tokens that fit: prompt and answer together; each alone for an encoder–decoder.
        special_tokens: Names of special tokens that are meant where they stand in rows.
        model_tokens: What the model says of its tokens.
        priors: Whether the log-probability of each choice without its prompt is asked for too.

    Raises:
        ModelError: When the tokenizer has no end token, or not the special tokens of the task.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        joint: Joint,
        encoder_decoder: bool,
        max_length: int,
        special_tokens: Sequence[str] = (),
        model_tokens: ModelTokens = ModelTokens(),  # noqa: B008 - frozen
        priors: bool = False,
    ) -> None:
        self.joint = joint
        self.priors = priors
        super().__init__(
            tokenizer,
            encoder_decoder=encoder_decoder,
            max_length=max_length,
            chat="never",
            special_tokens=special_tokens,
            model_tokens=model_tokens,
        )
        before, after = added_around(tokenizer)
        self._around = Around(before, after if encoder_decoder else ())
        said = f"{self._signature()} {joint!r}{' and priors' if priors else ''}"
        self.signature = blake2b(said.encode(), digest_size=16).hexdigest()

    def encode_choices(self, example: Example) -> list[Encoded] | Dropped:
        """Encode an example once for each of its choices, without an end token.

        Choices with the same prompt have the same tokens of it, cut to fit the longest.
        """
        assert example.choices, "free text has no choices to encode"
        encoded: list[Encoded] = []
        for prompt, answers in _answers_by_prompt(example):
            found = self._encode_answers(example, prompt, answers, ())
            if isinstance(found, Dropped):
                return found
            encoded += found
        return encoded

    def encode_priors(self, example: Example) -> list[Encoded]:
        """Encode each choice after nothing but one token, in their order, where the task asks for that."""
        if not self.priors:
            return []
        bare = replace(example, preamble="", turns=(), prompt="", input_span=None)
        found = self._encode_answers(bare, "", example.choices, ())
        return [] if isinstance(found, Dropped) else found

    def _encode_batch(self, examples: Sequence[Example]) -> list[Encoded | Dropped]:
        """Encode prompt and first target for training: the end token is supervised, so that answers end."""
        done: list[Encoded | Dropped] = []
        for example in examples:
            found = self._encode_answers(example, example.prompt, [example.reply], self.end_ids)
            done.append(found if isinstance(found, Dropped) else found[0])
        return done

    def _encode_answers(
        self, example: Example, prompt: str, answers: Sequence[str], end: Sequence[int]
    ) -> list[Encoded] | Dropped:
        layout = self._scored_layout(example, prompt)
        ids = self._prompt_ids([layout])[0]
        targets = [[*target, *end] for target in self._answer_ids(layout, len(ids), answers)]
        fitted = self._fit(example, layout, ids, max(map(len, targets)))
        if isinstance(fitted, Dropped):
            return fitted
        context, cut = fitted
        if len(context):
            return [self._encoded(example, context, target, cut) for target in targets]
        return [self._encoded(example, *self._without_context(target), cut) for target in targets]

    def _without_context(self, target: list[int]) -> tuple[Any, list[int]]:
        """Return a context of one token, which something must be scored after: the begin or the end token."""
        begin = self.tokenizer.bos_token_id
        first = int(self.tokenizer.eos_token_id if begin is None else begin)
        begun = target[0] == first
        return np.asarray([first], dtype=np.int32), target[1:] if begun else target

    def _answer_ids(self, layout: Layout, context: int, answers: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each answer, which stands after a context of so many tokens."""
        texts = [layout.lead + answer for answer in answers]
        if self.encoder_decoder or not layout.text:
            return [[*self._begin, *ids] for ids in self._pieces.ids(texts, literal=layout.literal)]
        whole = self._prompt_ids([replace(layout, text=layout.text + text) for text in texts])
        # An answer that the prompt's last token takes in would have none, and cost nothing.
        return [ids[context:] or self._pieces.ids([text])[0] for ids, text in zip(whole, texts, strict=True)]

    def _scored_layout(self, example: Example, prompt: str) -> Layout:
        """Return the text before an answer; white space that ends it is counted with the answer (``lead``)."""
        whole = self._joined(example, prompt)
        kept = whole.text.rstrip()
        layout = replace(whole, text=kept, lead=whole.text[len(kept) :] + self.joint.answer)
        return layout if len(kept) < LONG else shortened(layout, self.max_length, self._count)

    def _plain_layout(self, example: Example) -> Layout:
        return self._joined(example, example.prompt)

    def _joined(self, example: Example, prompt: str) -> Layout:
        head = example.preamble
        for turn in example.turns:
            head += f"{turn.prompt}{self.joint.answer}{turn.reply}{self.joint.exemplar}"
        text = head + prompt
        span = moved_span(example.input_span, len(head), len(text)) if prompt == example.prompt else None
        literal = any(map(self._special.stand_in, (text, example.ending, *example.choices, *example.targets)))
        if literal and self._special.kept:
            return Layout(self._special.mask(text), span, "", "", example.reply, masked=True)
        return Layout(text, span, "", "", example.reply, literal=literal)


def _answers_by_prompt(example: Example) -> Iterator[tuple[str, list[str]]]:
    """Yield each prompt with the answers that are scored after it, in the order of the choices."""
    if not example.choice_prompts:
        yield example.prompt, list(example.choices)
        return
    for prompt in example.choice_prompts:
        yield prompt, [example.reply]
