"""Templates: what they render, what they say when they cannot, and what a hostile one cannot do."""

from __future__ import annotations

import time

import pytest

from luthier.errors import TaskError
from luthier.tasks.rows.templates import Template, find_input

ROW: dict[str, object] = {"dialogue": "a\nb", "label": "1", "words": ["x", "y"], "none": None, "two words": "z"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ dialogue }}\n\nSummary:", "a\nb\n\nSummary:"),
        ("{{ dialogue }}\n", "a\nb"),
        ("{{ ['no', 'yes'][label|int] }}", "yes"),
        ("{{ words | join(', ') }} {{ words|length }}", "x, y 2"),
        ("{% for w in words %}{{ loop.index }}{{ w }}{% if not loop.last %};{% endif %}{% endfor %}", "1x;2y"),
        ("{{ row['two words'] }}{{ none }}", "z"),
        ("<{{ dialogue.strip().upper() }}> & {{ 'q' ~ 1 ~ none }}", "<A\nB> & q1"),
        ("{% if missing is defined %}no{% else %}yes{% endif %}", "yes"),
        ("{{ words | tojson }}", '["x", "y"]'),
        ("{{ label.replace('1', 'one') }}{{ label | replace('1', '2') }}{{ '-'.join(words) }}", "one2x-y"),
        ("{% set ns = namespace(n=0) %}{% for w in words %}{% set ns.n = ns.n + 2 %}{% endfor %}{{ ns.n }}", "4"),
        ("{{ 'ABCD'[label|int] }}{{ 7 % 4 }}{{ 2 ** 3 }}", "B38"),
    ],
)
def test_rendering(source: str, text: str) -> None:
    assert Template(source).render(ROW) == text


def test_unknown_column_names_those_that_exist() -> None:
    with pytest.raises(TaskError) as fault:
        Template("{{ dialog }}", "task.yaml, line 9").render(ROW)
    message = str(fault.value)
    assert message.startswith("task.yaml, line 9: column 'dialog' does not exist")
    assert "Did you mean 'dialogue'?" in message
    assert "Known: dialogue, label, none, two words, words." in message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ dialogue", "not a Jinja template: unexpected end of template"),
        ("{% if label %}", "line 1 of the template"),
        ("{{ label | choice }}", "No filter named 'choice'"),
        ("{% include '/etc/passwd' %}", "include is refused"),
        ("{% import 'x' as y %}", "import is refused"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "macro is refused"),
        ("{% for w in words recursive %}{{ loop(words) }}{% endfor %}", "recursive loops are refused"),
        ("a" * 70_000, "at most 65536 characters"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "cannot be compiled"),
    ],
)
def test_what_does_not_compile(source: str, said: str) -> None:
    with pytest.raises(TaskError) as fault:
        Template(source).check()
    assert said in str(fault.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ ['no', 'yes'][label|int + 5] }}", "has no element 6"),
        ("{{ words.missing }}", "has no attribute 'missing'"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
    ],
)
def test_what_fails_on_a_row(source: str, said: str) -> None:
    with pytest.raises(TaskError, match="failed") as fault:
        Template(source).render(ROW)
    assert said in str(fault.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ dialogue.__class__ }}",
        "{{ words.append('x') }}",
        "{{ row.clear() }}",
        "{{ row.update({}) }}",
        "{{ dialogue.format(1) }}",
        "{{ dialogue.ljust(10000000000) }}",
        "{{ dialogue.encode() }}",
        "{{ (1).to_bytes(10000000000, 'big') }}",
        "{{ 'a' * 10000000000 }}",
        "{{ [1] * 10000000000 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ range(1000000000) | list }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{% for b in 'x' * 99999 %}{% if b == 'z' %}1{% endif %}{% endfor %}{% endfor %}",
        "{% set n = namespace(s='xy') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s='xy') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='xy') %}{% for i in range(99) %}{% set n.s %}{{ n.s ~ n.s }}{% endset %}{% endfor %}",
        "{% set n = namespace(s='xx') %}{% for i in range(99) %}{% set n.s = n.s|replace('x', 'xx') %}{% endfor %}",
        "{% set n = namespace(s='xx') %}{% for i in range(99) %}{% set n.s = n.s.replace('x', 'xx') %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s=['x']) %}{% for i in range(99) %}{% set n.s = [n.s|join, n.s|join] %}{% endfor %}",
        "{% set n = namespace(s=3) %}{% for i in range(99) %}{% set n.s = n.s * n.s %}{% endfor %}",
        "{% for i in range(9999) %}" + "x" * 1000 + "{% endfor %}",
        "{{ _luthier_budget.left }}{% set x = _luthier_budget.__init__() %}",
        "{{ ('x' * 99999).join(range(9999)|map('string')|list) }}",
        "{{ self.__init__ }}",
        "{{ loop }}{{ cycler(1) }}",
    ],
)
def test_hostile_template_is_stopped_at_once(source: str) -> None:
    started = time.perf_counter()
    with pytest.raises(TaskError):
        Template(source).render(dict(ROW))
    assert time.perf_counter() - started < 2


def test_row_is_not_changed_by_its_template() -> None:
    row: dict[str, object] = {"words": ["x"]}
    with pytest.raises(TaskError):
        Template("{% set _ = words.pop() %}").render(row)
    assert row == {"words": ["x"]}


def span(source: str, row: dict[str, object], column: str | None = None) -> str | None:
    template = Template(source)
    prompt = template.render(row)
    place = find_input(prompt, row, column, template.render)
    return None if place is None else f"{prompt[: place[0]]}[{prompt[place[0] : place[1]]}]{prompt[place[1] :]}"


def test_input_is_found_without_its_blanks() -> None:
    assert span("Q: {{ text }} A:", {"text": " abc "}, "text") == "Q:  [abc]  A:"


def test_longest_column_is_the_input_where_none_is_named() -> None:
    row: dict[str, object] = {"question": "who?", "passage": "a long passage", "answer": "an answer that is not shown"}
    assert span("{{ passage }} {{ question }}", row) == "[a long passage] who?"


def test_input_that_stands_elsewhere_too_is_found_where_the_template_puts_it() -> None:
    assert span("a question: {{ text }}!", {"text": "a"}, "text") == "a question: [a]!"


def test_input_that_the_template_changes_is_not_found() -> None:
    assert span("{{ text | upper }}", {"text": "abc"}, "text") is None
