"""The one encoder: examples to token ids, for training, evaluation, few-shot prompts and serving alike.

    decoder            [BOS] prompt   target end     the target follows the prompt as in natural text
    encoder–decoder    prompt EOS  |  target EOS     as the tokenizer writes it; no BOS

Prompt and target are tokenised apart, so that what is supervised never depends on the prompt. An over-long prompt loses
tokens at the head of its input text, whole tokens, and never anything else; a target is never cut.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from luthier.data.around import around_texts
from luthier.data.chat import ChatFormat, read_format, reasoning_tags
from luthier.data.chat_messages import expect_conversations, render_spoken, spoken_of
from luthier.data.cutting import cut_range, moved_span
from luthier.data.layout import Layout
from luthier.data.long_texts import LONG, in_batches, shortened
from luthier.data.model_tokens import ModelTokens, embedded
from luthier.data.special_tokens import SpecialTokens
from luthier.data.tokenizer_adapter import Offsets, adapt_tokenizer, marks_words, special_names
from luthier.errors import DataError, ModelError
from luthier.records import Dropped, Encoded, Example, TokenIds

TARGET_TOO_LONG = "the target alone is longer than the limit"
NO_ROOM = "the answer may take all tokens that fit, so none are left for the prompt"
PROMPT_TOO_LONG = "the prompt is too long even without its input text"
NOTHING_TO_CUT = "the prompt is too long and it is not known which part of it is the input text"
NO_OFFSETS = "the prompt is too long, and this tokenizer does not say which tokens are its input text"
NEEDS_TEMPLATE = "Take a model whose chat template knows tools, or leave such rows out."
_BATCH = 512


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """What became of many examples.

    Attributes:
        encoded: Examples that fit, in order.
        dropped: Examples that do not, with the reason.
        cut: How many of the encoded ones lost input text.
        cut_tokens: Tokens that they lost together.
    """

    encoded: tuple[Encoded, ...]
    dropped: tuple[Dropped, ...]
    cut: int
    cut_tokens: int


class Encoder:
    """Encodes examples for one model.

    Args:
        tokenizer: A Hugging Face tokenizer.
        encoder_decoder: Whether the model is an encoder–decoder.
        max_length: Tokens that fit: prompt and target together; each alone for an encoder–decoder.
        chat: ``"auto"`` uses the chat template where there is one and the task wants it.
        task_wants_chat: Whether the task is a conversation or an instruction.
        chat_arguments: Arguments of the chat template, such as ``{"enable_thinking": False}``.
        special_tokens: Names of special tokens that are meant where they stand in rows; others are ordinary text.
        model_tokens: What the model says of its tokens; a row with one that it does not know is an error.

    Raises:
        ModelError: When the tokenizer has no end token, no chat template where one is demanded, or not the special
            tokens of the task.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        encoder_decoder: bool,
        max_length: int,
        chat: Literal["auto", "never", "always"] = "auto",
        task_wants_chat: bool = False,
        chat_arguments: Mapping[str, object] | None = None,
        special_tokens: Sequence[str] = (),
        model_tokens: ModelTokens = ModelTokens(),  # noqa: B008 - frozen
    ) -> None:
        if tokenizer.eos_token_id is None:
            what = "the tokenizer has no end-of-sequence token, so an answer could never end"
            raise ModelError(what, where=_name(tokenizer), fix="Set `eos_token` in tokenizer_config.json.")
        self.tokenizer = tokenizer
        self.encoder_decoder = encoder_decoder
        self.max_length = max_length
        self.model_tokens = model_tokens
        self._pieces = adapt_tokenizer(tokenizer)
        wanted = chat == "always" or (chat == "auto" and task_wants_chat and bool(tokenizer.chat_template))
        self._chat: ChatFormat | None = read_format(tokenizer, chat_arguments) if wanted else None
        tags = reasoning_tags(self._chat) if self._chat else ()
        kept = (*special_tokens, *(tag for tag in tags if tag in special_names(tokenizer)))
        self._special = SpecialTokens(tokenizer, kept)
        forced = model_tokens.forced_begin
        self._begin = (forced,) if forced is not None and encoder_decoder else ()
        self._around = around_texts(tokenizer, encoder_decoder=encoder_decoder)
        self._marks_words = marks_words(self._pieces)
        self.end_ids: tuple[int, ...] = ()
        """Ids that end every target, all of them supervised."""
        self.stop_ids: tuple[int, ...] = ()
        """Ids at which generation ends."""
        self.stop_texts: tuple[str, ...] = ()
        """Texts at which generation ends: a chat template's end of a turn that is no token of its own."""
        self.end_ids, self.stop_ids, self.stop_texts = self._end()
        self.signature: str = self._signature()
        """Digest of everything that the ids depend on: 32 hexadecimal digits."""

    @property
    def chat(self) -> bool:
        """Whether prompts go through the chat template."""
        return self._chat is not None

    @property
    def bos_id(self) -> int | None:
        """The begin token that stands once at the head of every prompt, or None."""
        bos = self.tokenizer.bos_token_id
        return int(bos) if bos is not None and bos in self._around.before else None

    @property
    def kept_ids(self) -> tuple[int, ...]:
        """Special tokens that stand in the text of answers."""
        return tuple(sorted(self._special.kept))

    def encode(self, example: Example) -> Encoded | Dropped:
        """Encode prompt and first target."""
        return self._encode_batch([example])[0]

    def encode_all(self, examples: Iterable[Example]) -> EncodedSplit:
        """Encode many examples and count what was cut or dropped."""
        encoded: list[Encoded] = []
        dropped: list[Dropped] = []
        for item in self.stream(examples):
            if isinstance(item, Encoded):
                encoded.append(item)
            else:
                dropped.append(item)
        cuts = [item.cut_tokens for item in encoded if item.cut_tokens]
        return EncodedSplit(tuple(encoded), tuple(dropped), len(cuts), sum(cuts))

    def stream(self, examples: Iterable[Example]) -> Iterator[Encoded | Dropped]:
        """Encode examples in their order, a batch at a time, holding no more than that."""
        for batch in in_batches(examples, _BATCH):
            yield from self._encode_batch(batch)

    def encode_choices(self, example: Example) -> list[Encoded] | Dropped:
        """Encode an example once for each of its choices; all have the same prompt, cut to fit the longest choice."""
        layout = self._layout(example)
        assert example.choices, "free text has no choices to encode"
        targets = self._target_ids([(layout, choice) for choice in example.choices])
        prompt = self._fit(example, layout, self._prompt_ids([layout])[0], max(map(len, targets)))
        if isinstance(prompt, Dropped):
            return prompt
        ids, cut = prompt
        return [self._encoded(example, ids, target, cut) for target in targets]

    def encode_priors(self, example: Example) -> list[Encoded]:
        """Encode each choice without its prompt, where the task asks for that; here none does."""
        return []

    def encode_prompt(self, example: Example, reserve: int) -> Encoded | Dropped:
        """Encode the prompt alone.

        Args:
            example: What to encode. Of its first target only this is looked at: whether it brings its own reasoning.
            reserve: Tokens that the answer may take; an encoder–decoder's take none of the prompt's room.
        """
        layout = self._layout(example)
        if not self.encoder_decoder and reserve >= self.max_length:
            return Dropped(example.id, NO_ROOM)
        taken = 0 if self.encoder_decoder else reserve
        prompt = self._fit(example, layout, self._prompt_ids([layout])[0], taken)
        if isinstance(prompt, Dropped):
            return prompt
        return self._encoded(example, prompt[0], [], prompt[1])

    def length(self, example: Example) -> int:
        """Return the tokens of the prompt, exemplars included, uncut."""
        return len(self._prompt_ids([self._layout(example)])[0])

    def decode(self, ids: Sequence[int] | TokenIds) -> str:
        """Return the text of an answer: special tokens are left out, and the one space that leads it."""
        values = [int(item) for item in ids]
        if len(self.end_ids) <= len(values) and tuple(values[len(values) - len(self.end_ids) :]) == self.end_ids:
            values = values[: len(values) - len(self.end_ids)]
        if kept := self._special.kept:
            values = [item for item in values if item in kept or item not in self._special.ids]
        decoded = self.tokenizer.decode(values, skip_special_tokens=not kept, clean_up_tokenization_spaces=False)
        return str(decoded).removeprefix(" ")

    def begun(self, example: Example) -> str:
        """Return the beginning of an answer that stands in its prompt already: an open block for reasoning, or ""."""
        return self._chat.begun(example.reply) if self._chat else ""

    def doubled_begin(self, example: Example, prompt: Sequence[int]) -> str:
        """Return the begin tokens that were put before an example's prompt although its text has some; "" for none.

        A template that begins every message with one (ChatML, where it is ``<|im_start|>``) doubles nothing by that.
        """
        if not self._around.may_double(prompt):
            return ""
        # Rendering is dear, and a chat template begins all conversations alike.
        layout = self._template_alone if self._chat else self._plain_layout(example)
        return str(self.tokenizer.decode(list(self._around.head(self._body(layout)[0]))))

    @functools.cached_property
    def _template_alone(self) -> Layout:
        return self._layout(Example("", "", "", "a", ("b",)))

    def _end(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
        """Return what ends a target, and the tokens and texts at which generation ends."""
        eos = int(self.tokenizer.eos_token_id)
        end = self._chat.end.rstrip() if self._chat else ""
        if not end:
            return (eos,), (eos,), ()
        # After a word, as it stands behind an answer: alone, some tokenizers would put a word mark before it.
        ids = self._after_anchor("a", end) or self._pieces.ids([end])[0]
        special = self._special.ids | set(getattr(self.tokenizer, "added_tokens_decoder", {}))
        places = [place for place, item in enumerate(ids) if item in special]
        if not places:
            return (*ids, eos), (eos,), (end,)
        return tuple(ids[: places[-1] + 1]), tuple(sorted({eos, ids[places[0]], ids[places[-1]]})), ()

    def _signature(self) -> str:
        settings = {
            "tokenizer": self._pieces.state(),
            "before": self._around.before,
            "after": self._around.after,
            "end": self.end_ids,
            "chat": self._chat and [self.tokenizer.chat_template, self._chat.arguments, "lead in the prompt"],
            "encoder_decoder": self.encoder_decoder,
            "max_length": self.max_length,
            "marks_words": self._marks_words,
            "layout": 1,
        }
        settings |= {"kept": self.kept_ids} if self.kept_ids else {}
        settings |= {"begin": self._begin} if self._begin else {}
        return blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()

    # Text.

    def _layout(self, example: Example) -> Layout:
        layout = self._chat_layout(example, self._chat) if self._chat else self._plain_layout(example)
        if max(len(layout.text), len(layout.reply)) < LONG:
            return layout
        return shortened(layout, self.max_length, self._count)

    def _count(self, piece: str) -> int:
        return len(self._pieces.ids([self._special.unmask(piece)], literal=True)[0])

    def _plain_layout(self, example: Example) -> Layout:
        if example.tools:
            where = f"task '{example.task}', example '{example.id}'"
            raise DataError("tools are offered, and no chat template writes them", where=where, fix=NEEDS_TEMPLATE)
        head = example.preamble + (f"{example.system}\n\n" if example.system else "")
        for turn in example.turns:
            gap = "" if not turn.prompt or turn.prompt[-1].isspace() else " "
            head += f"{turn.prompt}{gap}{turn.reply}\n\n"
        prompt = example.prompt
        if not self.encoder_decoder:
            # A space that ends the prompt belongs to the answer's first token, as in natural text.
            prompt = prompt.rstrip(" ") or prompt
        text = head + prompt
        span = moved_span(example.input_span, len(head), len(text))
        blank = text[len(text.rstrip()) :]
        lead = "" if self.encoder_decoder or blank else " "
        literal = self._special.stand_in(text)
        if literal and self._special.kept:
            return Layout(self._special.mask(text), span, blank, lead, example.reply, masked=True)
        return Layout(text, span, blank, lead, example.reply, literal=literal)

    def _chat_layout(self, example: Example, chat: ChatFormat) -> Layout:
        spoken = spoken_of(example, self._special.mask)
        found = render_spoken(chat, spoken, f"task '{example.task}', example '{example.id}'")
        text, prompt = found.text, spoken.last
        changed = replace(spoken, reply="") != replace(spoken_of(example, str), reply="")
        end = len(text) - len(found.after_prompt)
        stripped = prompt.strip()  # many templates strip the message
        start = end - len(stripped) if not text[:end].endswith(prompt) else end - len(prompt)
        span = None
        if text[:end].endswith((prompt, stripped)):
            trimmed = 0 if text[:end].endswith(prompt) else len(prompt) - len(prompt.lstrip())
            own_span = (0, len(prompt)) if example.messages else example.input_span
            span = moved_span(own_span, start - trimmed, end)
        anchor = self._special.after_last(found.after_prompt)
        written = spoken.answer is not None
        reply = found.reply if written else self._special.unmask(found.reply)
        return Layout(text, span, anchor, found.lead, reply, masked=changed, written=written)

    # Ids.

    def _encode_batch(self, examples: Sequence[Example]) -> list[Encoded | Dropped]:
        expect_conversations(self._chat, examples, self._special.mask)
        layouts = [self._layout(example) for example in examples]
        prompts = self._prompt_ids(layouts)
        targets = self._target_ids([(layout, layout.reply) for layout in layouts])
        done: list[Encoded | Dropped] = []
        for example, layout, prompt, target in zip(examples, layouts, prompts, targets, strict=True):
            fitted = self._fit(example, layout, prompt, len(target))
            if isinstance(fitted, Dropped):
                done.append(fitted)
            else:
                done.append(self._encoded(example, fitted[0], target, fitted[1]))
        return done

    def _encoded(self, example: Example, prompt: TokenIds, target: Sequence[int], cut: int) -> Encoded:
        encoded = Encoded(example.id, prompt, _array(target), cut, len(example.turns))
        return embedded(encoded, self.model_tokens, self.tokenizer)

    def _prompt_ids(self, layouts: Sequence[Layout]) -> list[list[int]]:
        bodies: list[list[int]] = [[] for _ in layouts]
        for literal in (False, True):
            places = [place for place, item in enumerate(layouts) if item.literal is literal and not item.masked]
            found = self._pieces.ids([layouts[place].text for place in places], literal=literal)
            for place, ids in zip(places, found, strict=True):
                bodies[place] = ids
        for place, item in enumerate(layouts):
            if item.masked:
                bodies[place] = self._body(item)[0]
        return [[*self._around.head(body), *body, *self._around.tail(body)] for body in bodies]

    def _body(self, layout: Layout) -> tuple[list[int], Offsets | None]:
        """Return the ids of one text, with the characters of each."""
        if not layout.masked:
            return self._pieces.offsets(layout.text, literal=layout.literal)
        ids: list[int] = []
        offsets: Offsets = []
        for text, begin, masked in self._special.parts(layout.text):
            own, places = self._pieces.offsets(text, literal=masked)
            ids += own
            offsets += [(start + begin, end + begin) for start, end in places or []]
        return ids, offsets if len(offsets) == len(ids) else None

    def _fit(self, example: Example, layout: Layout, ids: list[int], reserve: int) -> tuple[TokenIds, int] | Dropped:
        """Cut a prompt so that it and ``reserve`` tokens fit; return its ids and how many tokens were cut."""
        room = self.max_length if self.encoder_decoder else self.max_length - reserve
        if room <= len(self._around.before) + len(self._around.after) or reserve > self.max_length:
            return Dropped(example.id, TARGET_TOO_LONG)
        excess = len(ids) - room
        if excess <= 0:
            return _array(ids), layout.lost
        if layout.span is None:
            return Dropped(example.id, NOTHING_TO_CUT)
        body, offsets = self._body(layout)
        if offsets is None:
            return Dropped(example.id, NO_OFFSETS)
        gap = cut_range(layout.text, layout.span, offsets, excess)
        if gap is None:
            return Dropped(example.id, PROMPT_TOO_LONG)
        kept = [*self._around.head(body), *body[: gap[0]], *body[gap[1] :], *self._around.tail(body)]
        return _array(kept), gap[1] - gap[0] + layout.lost

    def _target_ids(self, targets: Sequence[tuple[Layout, str]]) -> list[list[int]]:
        texts = [self._target_text(layout, text) for layout, text in targets]
        literal = [layout.written or self._special.stand_in(text) for layout, text in targets]
        bare = iter(self._pieces.ids([text for (_, text), own in zip(texts, literal, strict=True) if not own]))
        done: list[list[int]] = []
        for (anchor, text), own, (layout, _) in zip(texts, literal, targets, strict=True):
            ids = self._named_ids(text, layout.written) if own else next(bare)
            after = None if own or not anchor else self._after_anchor(anchor, text)
            done.append([*self._begin, *(ids if after is None else after), *self.end_ids])
        return done

    def _named_ids(self, text: str, written: bool) -> list[int]:
        """Return the ids of a text that holds names of special tokens as ordinary text, or masked where it is written
        by a template."""
        if not self._special.kept and not written:
            return self._pieces.ids([text], literal=True)[0]
        parts = self._special.parts(text if written else self._special.mask(text))
        return [item for part, _, masked in parts for item in self._pieces.ids([part], literal=masked)[0]]

    def _target_text(self, layout: Layout, text: str) -> tuple[str, str]:
        """Return what a target is tokenised after, and the text that is tokenised."""
        if self.encoder_decoder:
            return "", text
        led = text if self._chat is None and text[:1].isspace() else layout.lead + text
        if not self._marks_words:
            return "", led
        return layout.anchor, led if layout.anchor else led.removeprefix(" ")

    def _after_anchor(self, anchor: str, text: str) -> list[int] | None:
        """Tokenise a text as it stands after another, where the tokenizer would put a word mark before it alone."""
        first, both = self._pieces.ids([anchor, anchor + text])
        return both[len(first) :] if both[: len(first)] == first else None


def _array(ids: Sequence[int]) -> TokenIds:
    return np.asarray(ids, dtype=np.int32)


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
