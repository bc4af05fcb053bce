"""A host below a short directory whose engine's control is real: for what is judged before.

The engine is a socket that greets, a process in a table, and a program that loads its files. A
start runs to its first write and no further.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from msgspec.structs import replace

from runtime_configs.formats.documents import load
from runtime_configs.model import ConfigError, EngineName, Format, HostView, Version
from runtime_configs.overlay import Overlay
from runtime_configs.registry import adapter_for
from testbed.sample_payload import make_sample_payload
from tests.fakes.engine import CannotLoadError, FakeEngine
from tests.fakes.faulty_syscalls import CrashPoint
from tests.fakes.node import SYSTEMD, FakeServices, FakeSignaller, FakeTable, process
from tests.faults.steps import SteppedFiles, Steps
from tests.unit.cli_session import settings_of
from tests.unit.doctor_host import give_proc
from toolkit.engine.base import BaseControl, Host
from toolkit.engine.containerd.control import ContainerdControl
from toolkit.engine.crio.control import CrioControl
from toolkit.engine.docker.control import DockerControl
from toolkit.engine.facts import LiveAnswer
from toolkit.host.commands import CommandResult
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.sandbox import Program, Sandbox
from toolkit.host.view import HostFilesView
from toolkit.host.writer import Known
from toolkit.journal.store import JournalStore
from toolkit.node import Node
from toolkit.payload.installer import PayloadInstaller

CONFIGS = {
    EngineName.CONTAINERD: ("/etc/containerd/config.toml", b"version = 2\n"),
    EngineName.CRIO: ("/etc/crio/crio.conf", b'[crio.runtime]\nlog_level = "info"\n'),
    EngineName.DOCKER: ("/etc/docker/daemon.json", b'{"live-restore": true}\n'),
}
SOCKETS = {
    EngineName.CONTAINERD: "/run/containerd/containerd.sock",
    EngineName.CRIO: "/var/run/crio/crio.sock",
    EngineName.DOCKER: "/var/run/docker.sock",
}
PROGRAMS = {
    EngineName.CONTAINERD: "/usr/bin/containerd",
    EngineName.CRIO: "/usr/bin/crio",
    EngineName.DOCKER: "/usr/bin/dockerd",
}
VERSIONS = {
    EngineName.CONTAINERD: "2.1.9",
    EngineName.CRIO: "1.36.3",
    EngineName.DOCKER: "28.5.2",
}
CRUN = (
    '[crio.runtime]\ndefault_runtime = "crun"\n[crio.runtime.runtimes.crun]\nruntime_path = "/x"\n'
)
REFUSED = "this-engine-refuses-it"
"""A word in a file that the engine's program does not load."""


@dataclass(slots=True)
class JudgedHost:
    """The host's files below ``directory``/host; ``payload`` is shared by many."""

    directory: Path
    engine: EngineName
    payload: Path
    version: str = ""
    flags: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    root: HostRoot = field(init=False)
    services: FakeServices = field(default_factory=FakeServices)
    table: FakeTable = field(default_factory=lambda: FakeTable(SYSTEMD))
    live: bytes | None = None
    """What the running engine says of its config; None: as its files had it at first."""
    serves: str = "socket"
    """What is in its socket's place: this, ``stale``, ``directory``, ``file`` or ``nothing``."""
    mounts: list[Path] = field(default_factory=list)
    fixed: list[Path] = field(default_factory=list)
    """What has an attribute that has to go before it can be removed."""

    def __post_init__(self) -> None:
        proc = self.directory / "proc"
        for name in ("bin/sh", "usr/bin/runc", PROGRAMS[self.engine][1:]):
            self.place(f"/{name}", b"#!/bin/sh\n", 0o755)
        path, content = CONFIGS[self.engine]
        self.place(path, content)
        self.path(SOCKETS[self.engine]).parent.mkdir(parents=True, exist_ok=True)
        give_proc(proc, root=self.path("/"))
        self.root = HostRoot(root=str(self.path("/")).rstrip("/"), proc=str(proc))
        self.version = self.version or VERSIONS[self.engine]
        self.runs()
        self.live = self.dump(HostFilesView(self.root), path)

    @property
    def config(self) -> str:
        """The top-level config on the host."""
        return CONFIGS[self.engine][0]

    def path(self, host_path: str) -> Path:
        """Return where this process finds something on the host."""
        return self.directory / "host" / host_path[1:]

    def place(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file as somebody else would."""
        at = self.path(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
        at.chmod(mode)

    def runs(self, executable: str = "", *arguments: str, **how: Any) -> None:  # noqa: ANN401
        """Let a process answer on the socket: the engine below its unit, unless given otherwise."""
        program = executable or PROGRAMS[self.engine]
        cgroup = how.pop("cgroup", f"0::/system.slice/{self.engine.value}.service\n")
        user = how.pop("user", None)
        found = process(os.getpid(), program, program, *arguments, cgroup=cgroup, **how)
        self.table.processes[os.getpid()] = replace(found, user=user)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Have the engine's socket there; afterwards everything of the host can be removed."""
        at = self.path(SOCKETS[self.engine])
        if self.serves == "directory":
            at.mkdir()
        elif self.serves == "file":
            at.write_bytes(b"")
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                if self.serves in ("socket", "stale"):
                    listener.bind(str(at))
                if self.serves == "socket":
                    listener.listen(16)
                    threading.Thread(target=_greet, args=(listener,), daemon=True).start()
                yield
                if self.serves == "socket":
                    listener.shutdown(socket.SHUT_RDWR)
        finally:
            self.release()

    def release(self) -> None:
        """Take mounts and attributes away."""
        for each in reversed(self.mounts):
            _run("umount", "-l", str(each))
        for each in self.fixed:
            _run("chattr", "-ia", str(each))
        shutil.rmtree(self.directory, ignore_errors=True)

    def mount(self, host_path: str, *options: str) -> None:
        """Mount a file system of options, or with none the same entry read-only."""
        at = self.path(host_path)
        self.mounts.append(at)
        if options:
            _run("mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(at))
            return
        _run("mount", "--bind", str(at), str(at))
        _run("mount", "-o", "remount,bind,ro", str(at))

    def fix(self, host_path: str, attribute: str = "i") -> None:
        """Give an entry an attribute of ``chattr``."""
        at = self.path(host_path)
        self.fixed.append(at)
        _run("chattr", f"+{attribute}", str(at))

    def node(self, steps: Steps | None = None) -> Node:
        """Return the parts of one run. Raises UsageError, HostPathError."""
        settings = settings_of(
            f"--runtime={self.engine}",
            f"--host-root={self.root.root}",
            f"--toolkit-source-root={self.payload}",
            "--toolkit-package-type=deb",
            "--verify-timeout=0.02",
            "--no-daemon",
            *self.flags,
            **self.variables,
        )
        view = HostFilesView(self.root)
        writer = _Files(self.root, steps or Steps(), settings.lifecycle.ready_file)
        host = Host(
            root=self.root,
            view=view,
            table=self.table,
            signaller=FakeSignaller(),
            commands=self,
            services=self.services,
        )
        kind = _CONTROLS[self.engine]

        def control(name: EngineName, socket: str | None = None) -> BaseControl:
            del socket
            made = kind(settings.engines[name], host, adapter_for(name).effective)
            made.answer = LiveAnswer(version=self.version, config=self.live)  # type: ignore[attr-defined]
            return made

        install_dir = self.root.host_path(settings.install_dir)
        return Node(
            settings=settings,
            root=self.root,
            writer=writer,
            view=view,
            commands=self,
            store=JournalStore(writer=writer, view=view, install_dir=install_dir),
            installer=PayloadInstaller(settings=settings, root=self.root, writer=writer),
            control=control,
            adapter=adapter_for,
            sandbox=lambda: _Sandbox(self),
        )

    # The engine's program

    def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        """Run it on the host's files."""
        del seconds
        return self.load(HostFilesView(self.root), arguments)

    def load(self, view: HostView, arguments: tuple[str, ...]) -> CommandResult:
        """Load the files that its arguments name and print what comes of them."""
        if arguments[0] != PROGRAMS[self.engine]:
            return CommandResult(status=127, output=b"", errors="not found")
        if arguments[-1] == "--version":
            return CommandResult(status=0, output=self.version.encode(), errors="")
        named = dict(zip(arguments, (*arguments[1:], ""), strict=True))
        path = named.get("--config", named.get("--config-file", ""))
        try:
            return CommandResult(
                status=0, output=self.dump(view, path, named.get("--config-dir", "")), errors=""
            )
        except (CannotLoadError, ConfigError) as error:
            return CommandResult(status=1, output=b"", errors=str(error))

    def dump(self, view: HostView, path: str, drop_ins: str = "/etc/crio/crio.conf.d") -> bytes:
        """Return what the engine makes of its files. Raises CannotLoadError."""
        content = (view.read(path) or b"") if path else b""
        if self.engine is EngineName.DOCKER:
            return _docker(content, path)
        if self.engine is EngineName.CRIO:
            inside = view.glob(f"{drop_ins}/*")
            return _crio([CRUN.encode(), content, *(view.read(each) or b"" for each in inside)])
        if REFUSED in content.decode(errors="replace"):
            raise CannotLoadError(REFUSED)
        major, minor, patch = map(int, self.version.split("."))
        version = Version(major=major, minor=minor, patch=patch, text=self.version)
        return FakeEngine(view=view, version=version)._dump(path)


class _Files(SteppedFiles):
    """The host's files, where taking the ready file away counts as nothing."""

    def __init__(self, root: HostRoot, steps: Steps, ready_file: str) -> None:
        super().__init__(root, steps)
        self._ready_file = root.host_path(ready_file)
        self._plain = HostFiles(root)

    def remove(self, path: str, *, instead_of: Known = None, follow: bool = True) -> None:
        remove = self._plain.remove if path == self._ready_file else super().remove
        remove(path, instead_of=instead_of, follow=follow)


class _Sandbox(Sandbox):
    """Runs the engine's program on the host's files and those of a program, one after another."""

    def __init__(self, host: JudgedHost) -> None:
        self._host = host

    def run(self, *programs: Program) -> tuple[CommandResult, ...]:
        """Run one after the other: the fake's programs take no time."""
        view = HostFilesView(self._host.root)
        return tuple(
            self._host.load(Overlay(view, dict(each.files)), each.arguments) for each in programs
        )

    def close(self) -> None:
        """Nothing runs."""


class _Answering(BaseControl):
    """Its answer is given."""

    answer: LiveAnswer

    def _ask(self, deadline: float) -> LiveAnswer:
        del deadline
        return self.answer

    def _answers(self, deadline: float) -> bool:
        del deadline
        return True


class _Containerd(_Answering, ContainerdControl):
    pass


class _Crio(_Answering, CrioControl):
    pass


class _Docker(_Answering, DockerControl):
    pass


_CONTROLS: Mapping[EngineName, type[BaseControl]] = {
    EngineName.CONTAINERD: _Containerd,
    EngineName.CRIO: _Crio,
    EngineName.DOCKER: _Docker,
}


def _docker(content: bytes, path: str) -> bytes:
    if REFUSED.encode() in content:
        raise CannotLoadError(REFUSED)
    document = load(content or b"{}", Format.JSON, path=path)
    runtimes: dict[str, Any] = dict(document.get("runtimes", {}))  # type: ignore[call-overload]
    shown = {"runc": {"path": "runc"}, **runtimes}
    default = document.get("default-runtime", "runc")
    return json.dumps(
        {"ServerVersion": "28.5.2", "DefaultRuntime": default, "Runtimes": shown}
    ).encode()


def _crio(contents: list[bytes]) -> bytes:
    merged: dict[str, Any] = {}
    handlers: dict[str, Any] = {}
    for content in contents:
        if REFUSED.encode() in content:
            raise CannotLoadError(REFUSED)
        crio: Any = load(content, Format.TOML, path="crio.conf").get("crio", {})
        section = dict(crio.get("runtime", {}))
        handlers |= section.pop("runtimes", {})
        merged |= section
    if merged["default_runtime"] not in handlers:
        raise CannotLoadError(f'default_runtime set to "{merged["default_runtime"]}"')
    return tomlkit.dumps({"crio": {"runtime": {**merged, "runtimes": handlers}}}).encode()


def _greet(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"x")


def _run(*command: str) -> None:
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def first_write() -> Steps:
    """Return the count that ends a run at its first write."""
    return Steps(at=0, fault=CrashPoint)


def sample_payload(directory: Path) -> Path:
    """Make the payload that many hosts share."""
    make_sample_payload(directory)
    return directory
