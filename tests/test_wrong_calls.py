"""Wrong calls in Python: a wrong argument of a public name is a `LuthierError` that says what, where and what to do.

A word that a function has no argument for is a ``TypeError`` of Python itself, as everywhere; the classes of settings
have so many keys that theirs is a `ConfigError` with the nearest one.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import example_run
import luthier
from luthier.config.base import Settings
from tiny_models import tiny_folder

SETTINGS: dict[str, type[Settings]] = {
    name: value
    for name in luthier.__all__
    if isinstance(value := getattr(luthier, name), type) and issubclass(value, Settings)
}
REQUIRED: dict[str, dict[str, Any]] = {
    "ArmConfig": {"name": "x"},
    "MergeConfig": {"adapter": "a", "out": "b"},
    "PredictConfig": {"rows": "new.csv"},
}
"""What a class cannot be made without."""

Check = Callable[[Callable[[], object], str], str]


def refused(call: Callable[[], object], *says: str) -> luthier.LuthierError:
    """Make a wrong call; return its error, which says where it is and what to do."""
    with pytest.raises(luthier.LuthierError) as caught:
        call()
    error = caught.value
    assert type(error).__module__ == "luthier.errors"
    for fault in error.faults if isinstance(error, luthier.Faults) else (error,):
        assert fault.where, fault
        assert fault.fix, fault
    for words in says:
        assert words in str(error), f"{words!r} is not in: {error}"
    assert error.__suppress_context__ or error.__context__ is None, "no other error is shown above it"
    return error


# The classes of settings.


def test_there_are_settings_to_check() -> None:
    assert set(SETTINGS) >= {
        "ArmConfig",
        "CompareConfig",
        "TuneConfig",
        "EvaluateConfig",
        "PredictConfig",
        "MergeConfig",
    }


def ways(kind: type[Settings], given: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Every way to make settings of a dictionary."""
    right = kind(**REQUIRED.get(kind.__name__, {}))
    return {
        "called": lambda: kind(**given),
        "validated": lambda: kind.model_validate(given),
        "read as JSON": lambda: kind.model_validate_json(json.dumps(given)),
        "copied": lambda: right.model_copy(update=given),
    }


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_an_unknown_key_names_the_class_and_the_nearest_key(name: str) -> None:
    kind = SETTINGS[name]
    key = max(kind.model_fields, key=len)
    wrong = key[:-2] + key[-1] + key[-2]  # two letters stand the wrong way round
    says = (f"{name}: unknown key '{wrong}'\n  → Did you mean '{key}'?",)
    for call in ways(kind, {**REQUIRED.get(name, {}), wrong: 1}).values():
        refused(call, *says)


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in sorted(SETTINGS) for key in SETTINGS[name].model_fields]
)
def test_a_value_of_another_kind_names_its_key_and_says_what_the_key_means(name: str, key: str) -> None:
    kind = SETTINGS[name]
    error = refused(lambda: kind(**{**REQUIRED.get(name, {}), key: object()}), f"{name}: key '{key}': ")
    assert error.fix == " ".join((kind.model_fields[key].description or "").split())


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("given", ["mini", None, 3, ["a"]], ids=repr)
def test_what_is_no_dictionary_is_no_settings(name: str, given: object) -> None:
    refused(lambda: SETTINGS[name].model_validate(given), f"{name}: these are no settings ({given!r})\n  → Give a dict")


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_settings_have_names_and_stay_as_they_are(name: str) -> None:
    kind = SETTINGS[name]
    first = next(iter(kind.model_fields))
    call: Callable[..., object] = kind
    refused(
        lambda: call("mini"),
        f"{name}: settings are given by their names, and 'mini' has none\n  → Write {name}({first}=…)",
    )
    made = kind(**REQUIRED.get(name, {}))
    refused(lambda: setattr(made, first, 1), f"{name}.{first}: settings cannot be changed", "model_copy(update=")


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_key_that_is_missing_is_named_with_what_it_means(name: str) -> None:
    kind = SETTINGS[name]
    error = refused(kind, *(f"key '{key}' is missing" for key in REQUIRED[name]))
    for key in REQUIRED[name]:
        assert f"→ Give {key}=…: {kind.model_fields[key].description}" in str(error)


def test_a_key_of_another_class_names_that_class() -> None:
    refused(
        lambda: luthier.TuneConfig(seeds=3),  # type: ignore[call-arg]
        "TuneConfig: 'seeds' belongs to CompareConfig and CurveConfig; TuneConfig does not use it",
        "Leave it out.",
    )


def test_a_renamed_key_names_the_new_one() -> None:
    call = lambda: luthier.TrainingConfig(evaluations=2)  # type: ignore[call-arg]  # noqa: E731
    refused(call, "TrainingConfig: 'evaluations' is called 'validations' now\n  → Write validations.")


def test_all_faults_at_once_each_with_the_way_to_its_key() -> None:
    given: dict[str, Any] = {
        "modle": "mini",
        "training": {"epochs": -1, "lerning_rate": 0.1},
        "arms": ["zero_shot", {"name": "x", "shot": 3}, 3],
        "data": 3,
    }
    error = refused(lambda: luthier.CompareConfig(**given), "CompareConfig has 6 faults:")
    assert isinstance(error, luthier.Faults)
    assert [(fault.where, fault.what) for fault in error.faults] == [
        ("CompareConfig.arms[1]", "unknown key 'shot'"),
        ("CompareConfig", "key 'arms[2]': Input should be a valid dictionary or instance of ArmConfig (given: 3)"),
        ("CompareConfig", "key 'data': Input should be a valid dictionary or instance of DataConfig (given: 3)"),
        ("CompareConfig.training", "key 'epochs': Input should be greater than 0 (given: -1)"),
        ("CompareConfig.training", "unknown key 'lerning_rate'"),
        ("CompareConfig", "unknown key 'modle'"),
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"arms": "full, lora"}, "key 'arms': a list is wanted, and one text was given\n  → Write ['full', 'lora']."),
        ({"model": True}, "key 'model': Input should be a valid string (given: True)"),
        ({"model": " "}, "key 'model': a name or a path is wanted"),
        ({"runs": "a\0b"}, "key 'runs': a path holds no NUL"),
        ({"seeds": [1, 2, 1]}, "key 'seeds': the seed 1 is given twice"),
        ({"data": {"chat_arguments": {"x": []}}}, "CompareConfig.data: key 'chat_arguments': the value of 'x' is"),
        ({"decoding": {"beams": 2, "temperature": 1}}, "key 'decoding': beams are searched, not sampled"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)  # fmt: skip
def test_messages_are_those_of_configuration_files_in_words_of_python(given: dict[str, Any], says: str) -> None:
    refused(lambda: luthier.CompareConfig(**given), says)


def test_json_that_is_none_says_what_is_wrong_with_it() -> None:
    refused(lambda: luthier.SearchConfig.model_validate_json("{"), "SearchConfig: these are no settings (Invalid JSON")


def test_a_path_may_stand_for_a_text_and_a_text_for_a_path() -> None:
    folder = Path("a") / "b"
    given: dict[str, Any] = {
        "model": folder,
        "task": folder,
        "retain": [folder],
        "retention_text": folder,
        "runs": "a/b",
    }
    settings = luthier.CompareConfig(**given)
    assert (settings.model, settings.task, settings.retain, settings.retention_text) == ("a/b", "a/b", ("a/b",), "a/b")
    assert settings.runs == folder
    assert luthier.CompareConfig(runs="~/runs").runs == Path.home() / "runs"  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    settings = luthier.TrainingConfig(steps=np.int64(3), learning_rate=np.float32(0.5))  # type: ignore[arg-type]
    assert (settings.steps, settings.learning_rate) == (3, 0.5)


def test_settings_show_what_was_given_as_it_is_written() -> None:
    settings = luthier.CompareConfig(task="topic", training=luthier.TrainingConfig(steps=2))
    assert repr(settings) == str(settings) == "CompareConfig(task='topic', training=TrainingConfig(steps=2))"
    assert repr(luthier.SearchConfig()) == "SearchConfig()"
    assert eval(repr(settings), vars(luthier)) == settings


def test_a_copy_has_what_was_given_and_what_is_new() -> None:
    first = luthier.CompareConfig(task="topic", seed=3)
    second = first.model_copy(update={"seed": 4})
    assert (second.task, second.seed, second.model_fields_set) == ("topic", 4, {"task", "seed"})
    assert pickle.loads(pickle.dumps(second)) == second.model_copy(deep=True) == second


# The functions and the model.


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run ``runs/mine``, a damaged one, and the file ``words.txt``."""
    folder = tmp_path_factory.mktemp("places")
    example_run.build(folder / "runs" / "mine")
    (folder / "runs" / "hurt").mkdir()
    for name in ("results.json", "costs.json"):
        (folder / "runs" / "hurt" / name).write_text("{}", encoding="utf-8")
    (folder / "words.txt").write_text("words\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model() -> luthier.Model:
    return luthier.Model(tiny_folder("llama"), device="cpu")


NO_NAME = (None, 5, "", " ", "a\0b", b"mini", ["mini"])
VERBS: dict[str, Callable[[Any], object]] = {
    "compare": luthier.compare,
    "curve": luthier.curve,
    "evaluate": luthier.evaluate,
    "merge": luthier.merge,
    "predict": luthier.predict,
    "sample": luthier.sample,
    "tune": luthier.tune,
}
READERS: dict[str, Callable[[Any], object]] = {
    "read_results": luthier.read_results,
    "read_costs": luthier.read_costs,
    "read_curve": luthier.read_curve,
    "read_sequence": luthier.read_sequence,
    "write_report": luthier.write_report,
}
LOADERS: dict[str, Callable[[Any], object]] = {
    "load_model(name)": luthier.load_model,
    "load_task(name_or_path)": luthier.load_task,
    "Model(name)": luthier.Model,
}
CHECKED = {*VERBS, *READERS, "load_model", "load_task", "Model", "add_adapter", "load_examples"}


def test_every_public_function_is_called_wrongly_here() -> None:
    public = {name: getattr(luthier, name) for name in luthier.__all__}
    records = {name for name, value in public.items() if is_dataclass(value)}
    errors = {name for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {name for name, value in public.items() if callable(value)} == CHECKED | set(SETTINGS) | records | errors


@pytest.mark.parametrize("name", sorted(VERBS))
@pytest.mark.parametrize("given", ["mini", None, {"model": "mini"}, luthier.SearchConfig()], ids=repr)
def test_a_verb_takes_its_own_settings(name: str, given: object) -> None:
    kind = f"{name.capitalize()}Config"
    inside = "**settings" if isinstance(given, dict) else "…"
    refused(
        lambda: VERBS[name](given), f"{name}(config): this is no {kind}: {given!r}\n  → Write {name}({kind}({inside}))."
    )


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("given", NO_NAME, ids=repr)
def test_a_run_is_named_by_a_text_or_a_path(name: str, given: object) -> None:
    refused(lambda: READERS[name](given), f"{name}(run): this is no name and no path: {given!r}")


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("runs/mein", ("runs/mein: there is no such folder", "Did you mean 'mine'?")),
        ("nowhere/mine", ("nowhere/mine: there is no such folder", "Run `luthier compare` first.")),
        ("runs", ("no finished results here", "Give one of the runs in it: hurt, mine.")),
        ("runs/mine/predictions", ("no finished results here", "Run `luthier compare` first.")),
        ("runs/mine/results.json", ("this is a file, and a run is a folder", "Give the folder that it lies in: ")),
        ("words.txt", ("this is a file, and a run is a folder", "Give a run's folder.")),
        ("runs/hurt", ("damaged", "Run the same command again.")),
    ],
)
def test_a_folder_that_is_no_run(name: str, run: str, says: tuple[str, ...], places: Path) -> None:
    for place in (places / run, str(places / run)):
        refused(lambda place=place: READERS[name](place), *says)  # type: ignore[misc]


def test_a_run_may_be_named_by_a_text(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    assert luthier.read_results("runs/mine") == luthier.read_results(places / "runs" / "mine")
    assert luthier.read_costs("runs/mine") == luthier.read_costs(places / "runs" / "mine")
    assert luthier.write_report("runs/mine") == Path("runs/mine/report.html")


@pytest.mark.parametrize("where", sorted(LOADERS))
@pytest.mark.parametrize("given", NO_NAME, ids=repr)
def test_a_model_and_a_task_are_named_by_a_text_or_a_path(where: str, given: object) -> None:
    refused(lambda: LOADERS[where](given), f"{where}: this is no name and no path: {given!r}")


def test_a_model_may_be_named_by_a_path() -> None:
    assert luthier.load_model(tiny_folder("llama"), device="cpu").name == str(tiny_folder("llama"))
    assert luthier.load_task(Path("topic")).name == "topic"


CHAT: Any = "allways"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: luthier.load_task("topik"), ("no built-in task, file or folder is called 'topik'", "mean 'topic'?")),
        (lambda: luthier.load_task("a.yaml"), ("a.yaml: cannot read the file", "Check the path.")),
        (lambda: luthier.load_model("a/b/c"), ("no model folder 'a/b/c'", "Give a folder")),
        (lambda: luthier.load_model("mini", device="gpu"), ("no device 'gpu' here", "Use cpu")),
        (lambda: luthier.load_model("mini", device=0.5), ("no device '0.5' here", "Use cpu")),  # type: ignore[arg-type]
        (lambda: luthier.Model("a/b/c"), ("no model folder 'a/b/c'", "Give a folder")),
        (lambda: luthier.Model("mini", device="gpu"), ("no device 'gpu' here", "Use cpu")),
        (lambda: luthier.Model("mini", chat=CHAT), ("Model(chat): this says nothing of chat: 'allways'", "'always'?")),
        (lambda: luthier.Model("mini", adapter=5), ("Model(adapter): this is no name and no path: 5",)),  # type: ignore[arg-type]
        (lambda: luthier.Model("mini", adapter="nowhere"), ("nowhere: there is no such folder", "that `tune` wrote")),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(call: Callable[[], object], says: tuple[str, ...]) -> None:
    with pytest.raises(luthier.LuthierError) as caught:
        call()
    assert caught.value.fix
    for words in says:
        assert words in str(caught.value)


TOPIC = "topic"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"task": TOPIC}, "load_examples(task): this is no Task: 'topic'\n  → Load it: luthier.load_task(…)."),
        ({"split": "tset"}, "no split is called 'tset'\n  → Did you mean 'test'?"),
        ({"split": None}, "no split is called 'None'"),
        ({"limit": 0}, "load_examples(limit): this is no whole number of 1 or more: 0"),
        ({"limit": "3"}, "load_examples(limit): this is no whole number of 1 or more: '3'"),
        ({"seed": "x"}, "load_examples(seed): this is no whole number of 0 or more: 'x'"),
    ],
    ids=str,
)
def test_examples_of_what_is_no_task(given: dict[str, Any], says: str) -> None:
    arguments = {"task": luthier.load_task(TOPIC), "split": "test", "limit": 2, **given}
    refused(lambda: luthier.load_examples(**arguments), says)


def test_examples_are_what_a_model_reads_and_should_answer() -> None:
    first, second = luthier.load_examples(luthier.load_task(TOPIC), "test", limit=2)
    assert first.prompt.endswith("This text is about")
    assert {*first.targets, *second.targets} <= set(first.choices)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"prompts": "a text"}, ("prompts: one text was given where a list of prompts belongs", "Write [text].")),
        ({"prompts": None}, ("prompts: this is no list of prompts: None",)),
        ({"prompts": {"a": 1}}, ("prompts: this is no list of prompts: {'a': 1}",)),
        ({"prompts": ["a", 5, float("nan")]}, ("2 of the prompts are", "prompts[1]: this is no text: 5", "[2]: ")),
        ({"prompts": ["a", "", " "]}, ("2 prompts cannot be", "prompts[1]: the prompt is empty", "prompts[2]")),
        ({"prompts": ["a " * 900, "b"]}, ("prompts[0]: ", "too long", "Shorten it")),
        ({"max_new_tokens": 0}, ("generate(max_new_tokens): this is no whole number of 1 or more: 0", "Give one")),
        ({"max_new_tokens": "5"}, ("generate(max_new_tokens): this is no whole number of 1 or more: '5'",)),
        ({"max_new_tokens": True}, ("generate(max_new_tokens): this is no whole number of 1 or more: True",)),
        ({"max_new_tokens": 9000}, ("prompts[0]: ", "ask for fewer new tokens")),
        ({"stop": 5}, ("generate(stop): this is no list of texts: 5",)),
        ({"stop": [5]}, ("generate(stop)[0]: this is no text: 5",)),
        ({"stop": ""}, ("generate(stop): a text that ends an answer is empty",)),
        ({"decoding": {"beams": 2}}, ("generate(decoding): this is no DecodingConfig", "Write DecodingConfig(…).")),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else str(value)[:40],
)  # fmt: skip
def test_a_model_generates_for_a_list_of_texts(
    given: dict[str, Any], says: tuple[str, ...], model: luthier.Model
) -> None:
    refused(lambda: model.generate(**{"prompts": ["the cat"], "max_new_tokens": 2, **given}), *says)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ("yes", ("choices: one text was given where a list of choices belongs",)),
        (None, ("choices: this is no list of choices: None",)),
        ([], ("choices: two choices or more are needed, none of them empty: []", "Write classify(prompts, [")),
        (["a"], ("choices: two choices or more are needed",)),
        (["a", "a"], ("choices: two choices or more are needed",)),
        (["a", " "], ("choices: two choices or more are needed, none of them empty",)),
        (["a", 3], ("choices[1]: this is no text: 3",)),
    ],
    ids=str,
)  # fmt: skip
def test_a_model_classifies_by_two_choices_or_more(choices: Any, says: tuple[str, ...], model: luthier.Model) -> None:
    refused(lambda: model.classify(["the cat"], choices), *says)


def test_a_model_answers_any_list_of_texts_and_says_what_it_is(model: luthier.Model) -> None:
    texts = ["the cat sat", "a dog"]
    wanted = model.generate(texts, max_new_tokens=3)
    assert model.generate(tuple(texts), max_new_tokens=np.int64(3), stop="END") == wanted  # type: ignore[arg-type]
    assert model.generate(iter(texts), max_new_tokens=3) == wanted  # type: ignore[arg-type]
    assert model.generate([]) == []
    assert repr(model) == f"Model('{tiny_folder('llama')}', device='cpu')"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "mini"}, ("add_adapter(model): this is no LanguageModel: 'mini'", "luthier.load_model(…)")),
        ({"name": None}, ("add_adapter(name): this is no name and no path: None",)),
        ({"name": ""}, ("add_adapter(name): this is no name and no path: ''",)),
        ({"folder": None}, ("add_adapter(folder): this is no name and no path: None",)),
        ({"folder": "nowhere"}, ("nowhere: there is no such folder", "Give the folder that `tune` wrote.")),
        ({"folder": "."}, ("no luthier.json: not an adapter made by Luthier", "Give the folder that `tune` wrote.")),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else str(value),
)
def test_an_adapter_that_is_none(
    given: dict[str, Any], says: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = luthier.load_model(tiny_folder("llama"), device="cpu")
    refused(lambda: luthier.add_adapter(**{"model": base, "name": "a", "folder": "nowhere", **given}), *says)


def test_an_adapter_that_was_never_added() -> None:
    base = luthier.load_model(tiny_folder("llama"), device="cpu")
    refused(lambda: base.using("reviews").__enter__(), "using(name): no adapter 'reviews'", "luthier.add_adapter(")
    refused(lambda: base.using(5).__enter__(), "using(name): this is no name and no path: 5")  # type: ignore[arg-type]
    assert repr(base).startswith(f"<DecoderModel '{tiny_folder('llama')}', ")


def test_a_word_that_a_function_does_not_have_is_an_error_of_python() -> None:
    call: Callable[..., object] = luthier.Model
    with pytest.raises(TypeError, match="adaptr"):
        call("mini", adaptr="x")
