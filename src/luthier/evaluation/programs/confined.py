"""Runs one program that nobody has read. This file is run as a script, by its path; see :mod:`.run`.

Three processes, each in what the one before has set up:

- the launcher leaves the namespaces of network, processes, mounts and inter-process communication: no network is left
  but a loopback that is down, everything is mounted read-only but one empty folder in memory, and nothing of other
  processes can be seen;
- process 1 of the new namespace waits, so that all that is left ends with it;
- the program runs under limits of the kernel (``setrlimit``), without rights: as an ordinary user who owns nothing
  where the launcher is root, else as the user in a namespace of users, without capabilities.

Nothing outside the standard library is imported here, and of Luthier nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REFUSED = 77
"""Exit code where the system does not let a process be set apart."""
_NOBODY = 1_876_543_210
"""A user who owns nothing; one that no other process runs as, since the number of a user's processes is limited."""
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 2, 4, 0x1000, 0x4000, 0x40000, 2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID = 1, 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITIES = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read what is to be done from standard input, and report on standard output."""
    asked = json.loads(sys.stdin.buffer.read())
    report = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    try:
        _set_apart(asked["folder"], asked["limits"]["disk"], [sys.prefix, sys.base_prefix, *asked["paths"]])
    except OSError as error:
        os.write(report, str(error).encode())
        os._exit(REFUSED)
    os._exit(_in_a_child(lambda: _first(asked, report)))


def _first(asked: dict[str, Any], report: int) -> int:
    """Be process 1 of the namespace, with which all others end."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if _libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV, None):
        _mount(b"tmpfs", "/proc", b"tmpfs", _MS_NOSUID | _MS_NODEV, "size=0")
    return _in_a_child(lambda: _run(asked, report))


def _run(asked: dict[str, Any], report: int) -> int:
    """Run the program, and report how it ended."""
    _give_up_rights()
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    _limit(asked["limits"])
    mark = asked["mark"]
    try:
        exec(compile(asked["program"], "program", "exec"), {})  # this is what all the rest is for
        said = "passed"
    except BaseException as error:  # SystemExit too: who leaves before the end has not passed
        said = f"{type(error).__name__}: {error}"[:200]
    os.write(report, f"{mark} {said}".encode("utf-8", "replace"))
    return 0


def _in_a_child(work: Callable[[], int]) -> int:
    """Return the exit code of a function in a process of its own; 128 and more for a signal."""
    child = os.fork()
    if not child:
        try:
            os._exit(work())
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def _set_apart(folder: str, disk: int, needed: Sequence[str]) -> None:
    """Leave the namespaces that others share, with a folder alone to write to; raise OSError where that cannot be."""
    user, group = os.getuid(), os.getgid()
    apart = _NEWNS | _NEWIPC | _NEWPID | _NEWNET
    if user == 0:
        _check(_libc.unshare(apart), "unshare")
    else:
        _check(_libc.unshare(apart | _NEWUSER), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    if user == 0:
        _open_to_others(needed, folder)
    if Path("/run").is_dir():
        _mount(b"tmpfs", "/run", b"tmpfs", _MS_NOSUID | _MS_NODEV, "size=0")  # sockets of other processes
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY | _ATTR_NOSUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    flags = ctypes.c_uint(_AT_RECURSIVE)
    _check(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", flags, ctypes.byref(attributes), size), "mount_setattr")
    _mount(b"tmpfs", folder, b"tmpfs", _MS_NOSUID | _MS_NODEV, f"size={disk},mode=1777")
    os.chdir(folder)


def _open_to_others(needed: Sequence[str], folder: str) -> None:
    """Show folders that Python needs to a user who may not pass the folders above them, and nothing else there."""
    closed: dict[Path, list[Path]] = {}
    for path in dict.fromkeys(Path(own).resolve() for own in needed):
        above = _closed_above(path)
        if above is not None:
            closed.setdefault(above, []).append(path)
    for above, paths in closed.items():
        held = []
        for number, path in enumerate(paths):
            place = Path(folder, str(number))
            place.mkdir()
            _mount(bytes(path), str(place), None, _MS_BIND | _MS_REC)
            held.append(place)
        _mount(b"tmpfs", str(above), b"tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=0755")
        for place, path in zip(held, paths, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            _mount(bytes(place), str(path), None, _MS_BIND | _MS_REC)
            _check(_libc.umount2(bytes(place), _MNT_DETACH), "umount")
            place.rmdir()


def _closed_above(path: Path) -> Path | None:
    """Return the first folder on the way to a path that others may not pass, or None."""
    folders = [*reversed(path.parents), path][1:]
    return next((above for above in folders if not above.stat().st_mode & stat.S_IXOTH), None)


def _give_up_rights() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _limit(limits: dict[str, int]) -> None:
    for kind, most in (
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _mount(source: bytes | None, target: str, kind: bytes | None, flags: int, options: str = "") -> None:
    given = options.encode() or None
    _check(_libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), given), f"mount {target}")


def _check(code: int, what: str) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
