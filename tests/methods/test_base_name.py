"""Which models an adapter's `base_model_name_or_path` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.methods.base_name import is_same_base

CACHE = Path("/home/a/.cache/huggingface/hub/models--owner--base/snapshots/0123abc")
ELSEWHERE = Path("/data/models/base")


@pytest.mark.parametrize(
    ("stated", "name", "folder", "same"),
    [
        ("owner/base", "owner/base", CACHE, True),
        ("Owner/Base", "owner/base", CACHE, True),
        ("other/base", "owner/base", CACHE, False),
        ("base", "owner/base", CACHE, False),
        ("owner/base", str(CACHE), CACHE, True),
        ("owner/base", "/data/models/base", ELSEWHERE, False),
        ("owner/base", "/data/owner/base", Path("/data/owner/base"), True),
        ("/home/b/owner/base", "owner/base", CACHE, True),
        ("C:\\models\\owner\\base", "owner/base", CACHE, True),
        ("/home/b/runs/base", "/data/runs/base", Path("/data/runs/base"), False),
        ("/home/b/model", "/data/model", Path("/data/model"), False),
        ("checkpoint-500", "checkpoint-500", Path("checkpoint-500"), True),
        ("", "owner/base", CACHE, False),
        ("~nobody\0", "owner/base", CACHE, False),
    ],
)
def test_names_are_compared_whole(stated: str, name: str, folder: Path, same: bool) -> None:
    assert is_same_base(stated, name, folder) is same


def test_one_folder_by_two_names_is_one_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    assert is_same_base(str(tmp_path / "base"), "base", Path("base"))
    assert is_same_base("link", "./base", Path("base"))
    assert not is_same_base(str(tmp_path / "none"), "base", Path("base"))
