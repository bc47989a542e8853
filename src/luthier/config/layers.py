"""The settings of a verb from a YAML file, ``--set key=value`` and named flags; the later one wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from luthier.config.assignments import nested, overlay, parse_assignments
from luthier.config.flags import options_of
from luthier.config.relative_paths import refuse_other_files, relative_to
from luthier.config.validation import validate
from luthier.config.verbs import Verb, settings_class
from luthier.config.yaml_file import load_yaml


def read_settings(
    verb: Verb, flags: Mapping[str, Any], *, file: Path | None = None, assignments: Sequence[str] = ()
) -> BaseModel:
    """Read and validate the settings of a verb.

    Args:
        verb: A verb that has settings.
        flags: What was given on the command line, by the name of the parameter; None and () stand for "not given".
        file: A YAML file of settings.
        assignments: Such as ``["training.epochs=2"]``.

    Raises:
        LuthierError: All faults of the file, or all faults of the whole.
    """
    schema = settings_class(verb)
    if file:
        refuse_other_files(file, None, verb.name)
    data, lines = load_yaml(file) if file else ({}, {})
    if file:
        refuse_other_files(file, data, verb.name)
        data = relative_to(file, data)
        validate(schema, data, source=str(file), lines=lines)
    given = {
        option.flag.key: option.value(value)
        for option in options_of(verb)
        if (value := flags.get(option.flag.parameter)) not in (None, ())
    }
    whole = overlay(overlay(data, parse_assignments(assignments)), nested(given))
    return validate(schema, whole, source="the command line")
