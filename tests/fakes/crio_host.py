"""A host below one directory whose CRI-O is made of answers, restarted as its unit would be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from msgspec.structs import replace

from runtime_configs.formats.documents import load
from runtime_configs.model import EngineName, Format
from runtime_configs.registry import adapter_for
from testbed.sample_payload import make_sample_payload
from tests.fakes.crio import FakeCrio
from tests.fakes.node import FakeServices, FakeSignaller, FakeTable, process
from tests.fakes.sandbox import no_sandbox
from tests.unit.cli_session import settings_of
from toolkit.engine.base import Host
from toolkit.engine.crio.control import CrioControl
from toolkit.host.commands import CommandResult
from toolkit.node import Node, open_node

CONFIG = "/etc/crio/crio.conf"
DROP_INS = "/etc/crio/crio.conf.d"
SOCKET = "/var/run/crio/crio.sock"
UNIT = "crio.service"
DEFAULTS = """
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
"""


class CannotLoadError(Exception):
    """CRI-O would die at its start, and why."""


@dataclass(slots=True)
class CrioHost:
    """The host's files below ``directory``/host, the payload beside."""

    directory: Path
    arguments: tuple[str, ...] = ("/usr/bin/crio",)
    """CRI-O's own command line."""
    comes_back: bool = True
    refuses: str = ""
    """A word in its config that its binary refuses."""
    services: FakeServices = field(default_factory=FakeServices)
    crio: FakeCrio = field(default_factory=lambda: FakeCrio(config=DEFAULTS))
    _table: FakeTable = field(default_factory=FakeTable)
    _life: ExitStack = field(default_factory=ExitStack)
    _starts: int = 0

    def __post_init__(self) -> None:
        for name in ("bin/sh", "usr/bin/crun", "usr/bin/crio"):
            self.place(f"/{name}", b"#!/bin/sh\n", 0o755)
        (self.root / SOCKET[1:]).parent.mkdir(parents=True)
        self.services.on_start = self._restart

    @property
    def root(self) -> Path:
        """The host's root directory."""
        return self.directory / "host"

    def place(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file as somebody else would."""
        at = self.root / path[1:]
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
        at.chmod(mode)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start CRI-O with its files; it is gone afterwards."""
        self._start()
        try:
            yield
        finally:
            self._life.close()

    def node(self, *more: str, **environ: str) -> Node:
        """Return the parts of one run of the program."""
        source = self.directory / "payload"
        if not source.exists():
            make_sample_payload(source)
        settings = settings_of(
            "--runtime=crio",
            f"--host-root={self.root}",
            f"--toolkit-source-root={source}",
            "--toolkit-package-type=deb",
            "--verify-timeout=2",
            "--stop-timeout=2",
            *more,
            **environ,
        )
        node = open_node(settings)
        host = Host(
            root=node.root,
            view=node.view,
            table=self._table,
            signaller=FakeSignaller(),
            commands=self,
            services=self.services,
        )
        decode = adapter_for(EngineName.CRIO).effective
        return replace(
            node,
            commands=self,
            sandbox=no_sandbox,
            control=lambda name, _socket=None: CrioControl(settings.engines[name], host, decode),
        )

    def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        """Answer ``crio … config`` from the files that it names; nothing else is there."""
        del seconds
        if arguments[0] != "/usr/bin/crio" or arguments[-1] != "config":
            return CommandResult(status=127, output=b"", errors="not found")
        options = dict(zip(arguments[1:-1:2], arguments[2:-1:2], strict=True))
        try:
            found = self._merged(options.get("--config", CONFIG), options["--config-dir"])
        except CannotLoadError as error:
            return CommandResult(status=1, output=b"", errors=str(error))
        if self.refuses and self.refuses in found:
            return CommandResult(status=1, output=b"", errors=f"{self.refuses} is not for this one")
        return CommandResult(status=0, output=found.encode(), errors="")

    def _merged(self, top_level: str, directory: str) -> str:
        """Return what CRI-O makes of its files: a later file replaces a handler as a whole."""
        drop_ins = sorted((self.root / directory[1:]).glob("*"))
        if top_level:
            at = self.root / top_level[1:]
            drop_ins = [*([at] if at.exists() else []), *drop_ins]
        merged: dict[str, Any] = {}
        handlers: dict[str, Any] = {}
        for content in (DEFAULTS.encode(), *(path.read_bytes() for path in drop_ins)):
            runtime = load(content, Format.TOML, path=directory).get("crio", {})
            assert isinstance(runtime, dict)
            section = dict(runtime.get("runtime", {}))
            handlers |= section.pop("runtimes", {})
            merged |= section
        if merged["default_runtime"] not in handlers:
            raise CannotLoadError(f'default_runtime set to "{merged["default_runtime"]}"')
        return tomlkit.dumps({"crio": {"runtime": {**merged, "runtimes": handlers}}})

    def _start(self) -> None:
        self._starts += 1
        named = dict(zip(self.arguments[1::2], self.arguments[2::2], strict=False))
        directory = named.get("--config-dir", DROP_INS)
        self.crio.config = self._merged(named.get("--config", CONFIG), directory)
        loaded = adapter_for(EngineName.CRIO).effective(self.crio.config.encode())
        there = {
            name
            for name, handler in loaded.handlers.items()
            if (self.root / (handler.binary_path or "")[1:]).exists()
        }
        if loaded.default not in there:
            raise CannotLoadError(f"the binary of {loaded.default} is missing")
        self.crio.handlers = ("", *sorted(there))
        self._table.processes[os.getpid()] = process(
            os.getpid(),
            "/usr/bin/crio",
            *self.arguments,
            cgroup=f"0::/system.slice/{UNIT}\n",
            start_time=1000 + self._starts,
        )
        self._life.enter_context(self.crio.serving(self.root / SOCKET[1:]))

    def _restart(self) -> None:
        """What systemd does on restart: a process that can't load its files stays away."""
        self._life.close()
        (self.root / SOCKET[1:]).unlink(missing_ok=True)
        if self.comes_back:
            try:
                self._start()
            except CannotLoadError:
                return
