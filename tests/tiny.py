"""Tokenizers small enough to work out by hand."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
FIRST = len(SPECIAL)
WORD_CHARACTERS = "▁abcdefghijklmnopqrstuvwxyz.:?\n"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = ("the cat sat on the mat", "once upon a time there was a cat", "summary: the cat sat. answer: yes no maybe")


def bytes_of(text: str) -> list[int]:
    """Ids that :func:`byte_tokenizer` gives a text: 4 plus each UTF-8 byte."""
    return [FIRST + byte for byte in text.encode()]


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-in for each byte, in the order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


def _wrapped(tokenizer: Tokenizer, *, bos: bool, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([*SPECIAL, *extra])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **(names | ({"bos_token": "<s>"} if bos else {})))


def byte_tokenizer(*, bos: bool = True, adds_bos: bool = False, chat: str | None = None) -> PreTrainedTokenizerFast:
    """Byte-level, without merges: one token a byte."""
    vocabulary = {name: place for place, name in enumerate((*SPECIAL, *_byte_characters()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", BOS)])
    wrapped = _wrapped(tokenizer, bos=bos, extra=("<|im_start|>", "<|im_end|>") if chat else ())
    wrapped.chat_template = chat
    return wrapped


def marking_tokenizer(kind: str = "metaspace", *, adds: str = "bos") -> PreTrainedTokenizerFast:
    """SentencePiece's way: a mark before every word, also the first; one token a character.

    Args:
        kind: ``metaspace`` (T5, Llama's newer form) or ``prepend`` (Llama's older form).
        adds: ``bos`` before, or ``eos`` after each text.
    """
    vocabulary = {name: place for place, name in enumerate((*SPECIAL, *WORD_CHARACTERS))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    if kind == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    pattern, name, token = ("<s> $A", "<s>", BOS) if adds == "bos" else ("$A </s>", "</s>", EOS)
    tokenizer.post_processor = processors.TemplateProcessing(pattern, None, [(name, token)])
    return _wrapped(tokenizer, bos=adds == "bos")


def marks_of(text: str) -> list[int]:
    """Ids that :func:`marking_tokenizer` gives a text whose every word has its mark written out."""
    return [FIRST + WORD_CHARACTERS.index(character) for character in text]


def tiny_tokenizer(*, chat: str | None = None) -> PreTrainedTokenizerFast:
    """Byte-level BPE with some real merges, trained here on three sentences."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    wrapped = _wrapped(tokenizer, bos=True, extra=("<|im_start|>", "<|im_end|>") if chat else ())
    wrapped.chat_template = chat
    return wrapped
