"""Run programs of the host without changing it (started by ``sandbox``).

A separate process that imports little, to start quickly. It creates a mount,
network and PID namespace, sees the host root read-only with an empty ``/run`` and ``/dev``, and
serves requests from standard input. Programs of one request run at the same time, each with a
``/run`` of its own. When it exits, so does everything in its namespaces.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import sys
import time

from toolkit.host.child import finish

TYPE_CHECKING = False
if TYPE_CHECKING:  # loading these takes as long as everything else
    from collections.abc import Mapping
    from typing import Any

_RDONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_NEW_MOUNTS, _NEW_NETWORK, _NEW_PROCESSES = 0x20000, 0x40000000, 0x20000000
_PLACES = ("/mnt", "/media", "/srv", "/opt", "/home")
"""Where the read-only view is assembled, in a private mount namespace."""
_HIDDEN = ("/proc", "/dev", "/run", "/var/run")
_CROWDED = ("/var/lib/kubelet", "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker",
            "/var/lib/rancher")  # fmt: skip
"""Mounts below these are left out: sockets, devices, and thousands of mounts of pods."""
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount a file system or a part of one. Raises OSError."""
    texts = [None if each is None else os.fsencode(each) for each in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(data)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def unshare(kinds: int) -> None:
    """Create namespaces for this process. Raises OSError."""
    if _libc.unshare(kinds):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")


def shown(root: str, mountinfo: str) -> list[str]:
    """Return the mounts below a root that belong in the view, as paths in it."""
    prefix = "" if root == "/" else root
    found = []
    for line in mountinfo.splitlines():
        point = line.split(" ")[4].encode().decode("unicode_escape").encode("latin-1")
        path = os.fsdecode(point)
        if not path.startswith(f"{prefix}/"):
            continue
        path = path[len(prefix) :]
        below = (*(f"{each}/" for each in _CROWDED), *(f"{each}/" for each in _HIDDEN))
        if path != "/" and path not in _HIDDEN and not path.startswith(below):
            found.append(path)
    return found


def build_view(root: str) -> str:
    """Return the directory with a read-only view of the root. Raises OSError."""
    unshare(_NEW_MOUNTS | _NEW_NETWORK | _NEW_PROCESSES)
    mount(None, "/", None, _RECURSIVE | _PRIVATE)
    place = next(
        each for each in _PLACES if os.path.isdir(each) and not f"{root}/".startswith(f"{each}/")
    )
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        paths = shown(root, file.read())
    prefix = "" if root == "/" else root
    sources = {}
    for path in paths:
        try:
            sources[path] = os.open(prefix + path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
    devices = {
        name: os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC)
        for name in ("null", "zero", "random", "urandom")
    }
    mount(root, place, None, _BIND)
    mount(None, place, None, _REMOUNT | _BIND | _RDONLY)
    for path, source in sources.items():
        # A mount hidden by another one has no place of its own.
        try:
            mount(f"/proc/self/fd/{source}", place + path, None, _BIND)
            mount(None, place + path, None, _REMOUNT | _BIND | _RDONLY)
        except OSError:
            continue
    mount("tmpfs", f"{place}/run", "tmpfs", 0, "mode=755")
    mount("tmpfs", f"{place}/dev", "tmpfs", 0, "mode=755")
    for name, source in devices.items():
        os.close(os.open(f"{place}/dev/{name}", os.O_CREAT | os.O_WRONLY))
        mount(f"/proc/self/fd/{source}", f"{place}/dev/{name}", None, _BIND)
    for source in (*sources.values(), *devices.values()):
        os.close(source)
    return place


class RunningProgram:
    """A program that is running; ``sandbox.Program`` describes it."""

    def __init__(self, program: Mapping[str, Any]) -> None:
        self._until = program["until"]
        self._end = time.monotonic() + program["seconds"]
        (self._output, output), (self._errors, errors) = os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _become(program, output, errors)
        os.close(output)
        os.close(errors)

    def result(self) -> dict[str, object]:
        """Wait for its end and return the result."""
        how, status, output, errors = finish(
            self._pid, self._output, self._errors, self._end, until=self._until
        )
        return {"how": how, "status": status, "output": output, "errors": errors}


def _become(program: Mapping[str, Any], output: int, errors: int) -> None:
    """Write a program's files to a private ``/run`` and execute it; never returns."""
    words = program["arguments"]
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        unshare(_NEW_MOUNTS)
        mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
        for path, content in program["files"].items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        os.execve(words[0], words, program["environment"])  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    os._exit(127)


def serve(view: str) -> None:
    """Answer requests until there are no more; runs as PID 1 of its namespace."""
    os.chroot(view)
    os.chdir("/")
    mount("proc", "/proc", "proc", 0)
    requests, answers = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    marshal.dump({"ready": True}, answers)
    answers.flush()
    while True:
        try:
            together = marshal.load(requests)  # noqa: S302 - from our own parent
        except EOFError:
            return
        running = [RunningProgram(each) for each in together]
        marshal.dump([each.result() for each in running], answers)
        answers.flush()


def main(root: str) -> None:
    """Build the view of the given root and serve; report if that is not possible."""
    try:
        view = build_view(root)
        pid = os.fork()
        if pid == 0:
            serve(view)
            os._exit(0)
    except (OSError, StopIteration) as error:
        reason = str(error) or "there is no free directory for the view of the host"
        marshal.dump({"ready": False, "reason": reason}, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    os.waitpid(pid, 0)
