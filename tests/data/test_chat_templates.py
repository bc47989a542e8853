"""What a chat template writes between a question and its answer belongs to the prompt; its end is learned."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from luthier.data import chat_rendering
from luthier.data.check import check_split
from luthier.data.encoding import Encoder
from luthier.errors import DataError, ModelError
from luthier.files.limited_worker import LimitedWorker
from luthier.records import Encoded, Example, Message, Turn
from small_job import QUICK_EVAL, luthier, write_rows, write_task
from tiny import BOS, CHATML, EOS, byte_tokenizer, bytes_of

IM_START, IM_END = 260, 261
_HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
THINK_PREFIX = (
    _HEAD
    + "{% if m.role == 'assistant' and loop.last and '</think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OPENS_THINKING = THINK_PREFIX.partition("{% if add_generation_prompt %}")[0] + (
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
NO_GENERATION_PROMPT = _HEAD + "{{ m.content }}<|im_end|>\n{% endfor %}"
PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
# As Qwen3 has it, without tools.
QWEN3 = """
{%- set ns = namespace(searching=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string %}
        {%- set ns.searching = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role != "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- else %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
            {{- content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""".strip()
# As DeepSeek's R1 has it: reasoning is left out of what was said.
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[USER]{{ m.content }}{% else %}[ASSISTANT]"
    "{{ m.content.split('</think>')[-1] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[ASSISTANT]<think>\n{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "plain": PLAIN,
    "think prefix": THINK_PREFIX,
    "opens thinking": OPENS_THINKING,
    "no generation prompt": NO_GENERATION_PROMPT,
    "qwen3": QWEN3,
}
REASONED = "<think>\nbecause\n</think>\n\nyes"


def example(prompt: str = "Q:", target: str = "yes", **others: Any) -> Example:
    return Example("row-7", "task", "template", prompt, (target,), **others)


def encoder_of(template: str, **others: Any) -> Encoder:
    return Encoder(byte_tokenizer(chat=template), encoder_decoder=False, max_length=512, chat="always", **others)


def ids(item: Any) -> tuple[list[int], list[int]]:
    assert isinstance(item, Encoded)
    return item.prompt_ids.tolist(), item.target_ids.tolist()


def own_ids(template: str, target: str) -> list[int]:
    """The ids that the template itself gives the whole conversation, up to its last special token."""
    messages = [{"role": "user", "content": "Q:"}, {"role": "assistant", "content": target}]
    whole: Any = byte_tokenizer(chat=template).apply_chat_template(messages, tokenize=True, return_dict=False)
    return [BOS, *whole[: max(place for place, item in enumerate(whole) if item in (EOS, IM_END)) + 1]]


@pytest.mark.parametrize("target", ["yes", REASONED], ids=["answer", "reasoned answer"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_ids_are_the_templates_own_in_training_scoring_and_generation(template: str, target: str) -> None:
    encoder = encoder_of(template)
    item = example(target=target)
    prompt, learned = ids(encoder.encode(item))
    assert prompt + learned == own_ids(template, target)
    assert ids(encoder.encode_prompt(item, 8))[0] == prompt
    chosen = encoder.encode_choices(example(target="yes", choices=("yes", "no")))
    assert isinstance(chosen, list)
    if target == "yes":
        assert ids(chosen[0]) == (prompt, learned)
        assert encoder.decode(learned) == "yes"
    text = byte_tokenizer(chat=template).decode(prompt + learned)
    assert text.count("<think>") == text.count("</think>") == (target != "yes" or "think" in template)
    assert encoder.begun(item) + encoder.decode(learned) == target


def test_lead_and_header_stand_in_the_prompt_as_special_tokens() -> None:
    for template, lead in ((THINK_PREFIX, "<think>\n\n</think>\n\n"), (NO_GENERATION_PROMPT, "")):
        prompt, learned = ids(encoder_of(template).encode(example()))
        asked = [IM_START, *bytes_of("user\nQ:"), IM_END, *bytes_of("\n")]
        assert prompt == [BOS, *asked, IM_START, *bytes_of(f"assistant\n{lead}")]
        assert learned == [*bytes_of("yes"), IM_END]


def test_reasoning_that_the_template_leaves_out_is_learned_as_it_is() -> None:
    encoder = encoder_of(R1)
    assert ids(encoder.encode(example())) == ([BOS, *bytes_of("[USER]Q:[ASSISTANT]")], [*bytes_of("yes"), EOS])
    reasoned = example(target=REASONED)
    prompt, learned = ids(encoder.encode(reasoned))
    assert prompt == [BOS, *bytes_of("[USER]Q:[ASSISTANT]<think>\n")]
    assert learned == [*bytes_of("because\n</think>\n\nyes"), EOS]
    assert encoder.begun(reasoned) + encoder.decode(learned) == REASONED


def test_template_that_cannot_be_chosen_is_an_error() -> None:
    tokenizer = byte_tokenizer(chat=CHATML)
    tokenizer.chat_template = {"tool_use": CHATML, "rag": CHATML}
    with pytest.raises(ModelError, match="the chat template fails"):
        Encoder(tokenizer, encoder_decoder=False, max_length=99, chat="always")


def test_begin_token_that_begins_every_turn_is_no_double_one() -> None:
    tokenizer = byte_tokenizer(chat=CHATML)
    tokenizer.bos_token = "<|im_start|>"
    encoder = Encoder(tokenizer, encoder_decoder=False, max_length=512, chat="always")
    checked = check_split("train", [example(turns=(Turn("a", "b"),))], encoder)
    assert checked.begins == {1: 1}


def test_arguments_of_the_template_are_given_and_stand_in_the_signature() -> None:
    thinking, not_thinking = (
        encoder_of(THINK_PREFIX),
        encoder_of(THINK_PREFIX, chat_arguments={"enable_thinking": False}),
    )
    assert thinking.signature != not_thinking.signature
    reasoned = example(target=REASONED)
    assert ids(not_thinking.encode(example())) == ids(thinking.encode(example()))
    assert ids(not_thinking.encode(reasoned)) == ids(thinking.encode(reasoned))
    assert ids(thinking.encode_prompt(reasoned, 4))[0][-11:] == [IM_START, *bytes_of("assistant\n")]


def test_template_that_raises_names_its_message_and_the_row() -> None:
    template = CHATML.replace(
        "{{ m.content }}", "{% if m.content == 'bad' %}{{ raise_exception('no bad words') }}{% endif %}{{ m.content }}"
    )
    with pytest.raises(DataError, match="no bad words") as fault:
        encoder_of(template).encode(example("bad"))
    assert "row-7" in str(fault.value)
    assert "task" in str(fault.value)


def test_end_of_turn_that_is_no_token_is_learned_and_stops() -> None:
    encoder = encoder_of("{% for m in messages %}[{{ m.role }}] {{ m.content }}[/end]\n{% endfor %}")
    prompt, learned = ids(encoder.encode(example()))
    assert learned == [*bytes_of(" yes[/end]"), EOS]
    assert prompt == [BOS, *bytes_of("[user] Q:[/end]\n[assistant]")]
    assert (encoder.stop_ids, encoder.stop_texts) == ((EOS,), ("[/end]",))
    assert encoder.decode(learned) == "yes"


def test_first_of_two_end_tokens_ends_an_answer() -> None:
    encoder = encoder_of("{% for m in messages %}{{ m.content }}<|im_end|></s>{% endfor %}")
    assert ids(encoder.encode(example()))[1] == [*bytes_of("yes"), IM_END, EOS]
    assert encoder.stop_ids == (EOS, IM_END)


def test_special_tokens_that_the_task_means_are_one_id_each_and_kept_in_answers() -> None:
    encoder = Encoder(
        byte_tokenizer(chat=CHATML), encoder_decoder=False, max_length=99, chat="never", special_tokens=("<|im_end|>",)
    )
    prompt, learned = ids(encoder.encode(example("a<|im_end|>b<s>", "c<|im_end|>d</s>")))
    assert prompt == [BOS, *bytes_of("a"), IM_END, *bytes_of("b<s>")]
    assert learned == [*bytes_of(" c"), IM_END, *bytes_of("d</s>"), EOS]
    assert encoder.decode([*bytes_of(" c"), IM_END, *bytes_of("d"), IM_START]) == "c<|im_end|>d"
    with pytest.raises(ModelError, match="'<sep>' is not a token"):
        Encoder(byte_tokenizer(), encoder_decoder=False, max_length=99, special_tokens=("<sep>",))


def test_history_is_written_by_the_template() -> None:
    prompt = ids(encoder_of(THINK_PREFIX).encode(example(turns=(Turn("a", "b"),))))[0]
    text = str(byte_tokenizer(chat=THINK_PREFIX).decode(prompt))
    assert "assistant\nb<|im_end|>" in text
    assert text.endswith("assistant\n<think>\n\n</think>\n\n")


def _write_model(folder: Path, template: str) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer(chat=template).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["plain", "think prefix", "no generation prompt"])
def test_answers_that_were_learned_are_given(tmp_path: Path, name: str) -> None:
    model = _write_model(tmp_path / "model", TEMPLATES[name])
    task = write_task(
        tmp_path,
        {"name": "yes", "source": "rows.jsonl", "id": "id", "target": "yes", "metrics": ["exact_match"]},
        max_new_tokens=6,
        templates=[{"name": "plain", "prompt": "{{ text }}"}],
    )
    write_rows(tmp_path / "rows.jsonl", [{"id": str(number), "text": f"row {number}"} for number in range(120)])
    tuned = luthier(
        *(
            "tune",
            "--model",
            model,
            "--task",
            task,
            "--arm",
            "full",
            "--save",
            tmp_path / "tuned",
            "--runs",
            tmp_path / "runs",
        ),
        *(
            "--device",
            "cpu",
            "--set",
            "training.steps=60",
            "--set",
            "training.batch_size=8",
            "--set",
            "training.validations=1",
        ),
        *("--set", "training.learning_rate=0.01"),
    )
    assert tuned.code == 0, tuned.err
    scored = luthier(
        "eval", "--tasks", task, "--model", tmp_path / "tuned", "--runs", tmp_path / "runs", "--json", *QUICK_EVAL
    )
    assert scored.code == 0, scored.err
    (score,) = json.loads(scored.out)["yes"]["scores"]
    assert (score["metric"], score["value"]) == ("exact_match", 1.0)


@pytest.mark.parametrize(
    "template",
    [
        "{% set n = namespace(x='a' * 999999) %}{% for i in range(12) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ],
    ids=["3 GB", "no end"],
)
def test_hostile_chat_template_is_stopped(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = LimitedWorker(seconds=1)
    monkeypatch.setattr(chat_rendering, "shared_worker", lambda: worker)
    started = time.perf_counter()
    with pytest.raises(ModelError, match=r"the chat template fails: it (needs|took) more than"):
        encoder_of(template)
    assert time.perf_counter() - started < 60  # a second of computing, on a machine with other work
    worker.close()


@pytest.mark.parametrize("name", ["chatml", "qwen3", "opens thinking"])
def test_conversations_are_rendered_together_and_as_each_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(TEMPLATES[name])
    said = (Message("user", "a"), Message("system", "now in French"), Message("user", "b"))
    kinds = (
        example("Q: <|im_end|> is text"),
        example("Q:", REASONED),
        example("Q:", system="Be brief.", turns=(Turn("a", "1"), Turn("b", "2"))),
        example("b", messages=said),
    )
    asked = [replace(kinds[number % 4], id=str(number)) for number in range(200)]
    alone = [ids(encoder.encode(one)) for one in asked[:4]]
    went: list[int] = []
    plain = LimitedWorker._exchange

    def counted(worker: LimitedWorker, together: list[bytes]) -> tuple[list[dict[str, Any]], str]:
        went.append(len(together))
        return plain(worker, together)

    monkeypatch.setattr(LimitedWorker, "_exchange", counted)
    found = [ids(item) for item in encoder.encode_all(asked).encoded]
    assert found == alone * 50
    # Equal conversations are rendered once; that with reasoning also with its answer, where the template has some.
    assert went == [4 if name == "chatml" else 5]
