"""What the user reads when something is wrong."""

from __future__ import annotations

import os
import pickle

import pytest

import luthier.errors as errors
from luthier.errors import ConfigError, DataError, Faults, LuthierError, did_you_mean, raise_faults


def test_what_where_and_fix() -> None:
    fault = DataError("the target is empty", where="data.jsonl, line 7", fix="Write an answer.")
    assert str(fault) == "data.jsonl, line 7: the target is empty\n  → Write an answer."
    assert str(DataError("the target is empty")) == "the target is empty"
    assert (fault.what, fault.where, fault.fix) == ("the target is empty", "data.jsonl, line 7", "Write an answer.")


def test_every_error_of_the_tree_exits_with_two() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 12
    assert all(issubclass(kind, LuthierError) and kind.exit_code == 2 for kind in kinds)


def test_one_fault_is_raised_as_itself_and_several_together() -> None:
    raise_faults("nothing is wrong", [])
    one, two = DataError("first"), ConfigError("second", where="a.yaml", fix="Mend it.")
    with pytest.raises(DataError) as single:
        raise_faults("ignored", [one])
    assert single.value is one
    with pytest.raises(Faults) as several:
        raise_faults("2 things are wrong", [one, two])
    assert str(several.value) == "2 things are wrong:\n  - first\n  - a.yaml: second\n      → Mend it."
    assert several.value.faults == (one, two)


def test_many_faults_are_counted() -> None:
    text = str(Faults("rows are wrong", [DataError(f"row {n}") for n in range(25)], shown=3))
    assert text.splitlines() == ["rows are wrong:", "  - row 0", "  - row 1", "  - row 2", "  … and 22 more"]


def test_a_near_name_is_suggested_and_all_are_listed() -> None:
    assert did_you_mean("epoch", ["steps", "epochs"]) == "Did you mean 'epochs'? Known: epochs, steps."
    assert did_you_mean("zzz", ["steps", "epochs"]) == "Known: epochs, steps."


def test_an_error_comes_whole_out_of_another_process() -> None:
    inner = DataError("first", where="a.yaml", fix="Mend it.")
    for error in (inner, Faults("rows are wrong", [inner, DataError("second")], shown=1)):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other)) == (type(error), str(error))
    assert (other.faults[0].where, other.faults[0].fix) == ("a.yaml", "Mend it.")


@pytest.mark.parametrize("half", ["\ud800", os.fsdecode(b"\xff")])
def test_half_of_a_surrogate_pair_is_written_as_its_escape(half: str) -> None:
    escape = f"\\u{ord(half):04x}"
    fault = DataError(f"no column '{half}'", where=f"{half}.jsonl", fix=f"Rename '{half}', not 'é🙂'.")
    whole = Faults(f"rows of {half}", [fault])
    for error in (fault, whole, pickle.loads(pickle.dumps(whole))):
        assert escape in str(error).encode("utf-8").decode()
    assert str(fault) == f"{escape}.jsonl: no column '{escape}'\n  → Rename '{escape}', not 'é🙂'."
    assert fault.args == (str(fault),)
