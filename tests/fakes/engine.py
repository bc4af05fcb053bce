"""A containerd that loads the host's files as a real one does, and fails on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomlkit

from runtime_configs.adapter import Placement
from runtime_configs.containerd.dump import decode
from runtime_configs.containerd.imports import import_patterns, load_order
from runtime_configs.containerd.merged import merge
from runtime_configs.containerd.schema import PLUGIN_V2, PLUGIN_V3, Era, era
from runtime_configs.formats.values import table
from runtime_configs.model import (
    ConfigError,
    EffectiveConfig,
    EngineName,
    HostView,
    Version,
)
from toolkit.engine.facts import (
    EngineProcess,
    Expectation,
    HandlerRun,
    Holding,
    HoldReport,
    HostFacts,
    LackKind,
    ReloadReport,
    Served,
    Source,
    Supervisor,
)
from toolkit.engine.verify import shortcomings
from toolkit.errors import EngineRejectedError, EngineTimeoutError
from toolkit.host.clock import Clock
from toolkit.host.commands import CommandResult
from toolkit.settings import RestartMode

BINARY = "/usr/bin/containerd"
RUNC = {"runtime_type": "io.containerd.runc.v2"}
SANDBOX = {Era.REPLACES: "sandbox_mode", Era.MERGES: "sandboxer", Era.MIGRATES: "sandboxer"}
"""The key that a handler without it gets, with ``podsandbox`` (1.7 and 2.x)."""


class CannotLoadError(Exception):
    """The engine would die at its start, and why."""


def nothing_refused(_handlers: Mapping[str, object]) -> str | None:
    """Take every handler."""
    return None


@dataclass(slots=True)
class FakeEngine:
    """Fulfils ``EngineControl``, and ``Commands`` for its binary."""

    view: HostView
    version: Version
    top_level: str = "/etc/containerd/config.toml"
    drop_in: str | None = "/etc/containerd/conf.d/99-nvidia.toml"
    socket: str = "/run/containerd/containerd.sock"
    name: EngineName = EngineName.CONTAINERD
    running: bool = False
    comes_back: bool = True
    """False: nobody starts it again."""
    refuses: Callable[[Mapping[str, object]], str | None] = nothing_refused
    """Says why its CRI plugin does not start with these handlers."""
    step: Callable[[str], None] = lambda _name: None
    """Called before and after each reload: where faults are injected."""
    pid: int = 100
    restarts: int = 0
    effective: EffectiveConfig | None = None
    """What it serves; None while its CRI plugin is in error."""
    problem: str | None = None
    starts: Mapping[str, str] = field(default_factory=dict)
    """What a handler really starts, where that is another binary than it is served with."""
    holding: HoldReport = field(default_factory=lambda: HoldReport(holding=Holding.FREE))
    unasked: str = ""
    """Why it can't be asked which containers hold the payload."""

    def boot(self) -> None:
        """Start with what the files say now; stays dead where they can't be loaded."""
        self.running = False
        self.effective = None
        self.problem = None
        try:
            loaded = self.loaded(self.top_level)
        except CannotLoadError:
            return
        self.running = True
        self.pid += 1
        self.problem = self._problem(loaded)
        if self.problem is None:
            self.effective = loaded

    def loadable(self) -> None:
        """Raise CannotLoadError unless it would start and serve pods with the files as they are."""
        problem = self._problem(self.loaded(self.top_level), told=False)
        if problem is not None:
            raise CannotLoadError(problem)

    def loaded(self, top_level: str) -> EffectiveConfig:
        """Return what it makes of its files. Raises CannotLoadError."""
        return decode(self._dump(top_level))

    def up_to_date(self) -> bool:
        """Tell whether it serves what its files say."""
        return self.running and self.effective == self.loaded(self.top_level)

    # EngineControl

    def facts(self, deadline: float) -> HostFacts:
        del deadline
        self.step("facts")
        return HostFacts(
            engine=self.name,
            socket=self.socket,
            process=self._process() if self.running else None,
            unreachable=None if self.running else "it is not running",
            version=self.version,
            version_source=Source.LIVE,
            top_level=self.top_level,
            drop_in=self.drop_in,
            effective=self.effective or self._dumped(),
            effective_source=Source.LIVE if self.effective is not None else Source.COMMAND,
            served=self._served(),
            executable=BINARY,
            distribution="plain",
            placement=Placement.PLAIN,
            template=None,
        )

    def preflight(self, process: EngineProcess, mode: RestartMode) -> None:
        """Anything goes."""

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        del process, clock, deadline
        self.step("signal")
        self._restart()
        self.step("signalled")
        return self._report(mode.value)

    def start(self, process: EngineProcess, clock: Clock, deadline: float) -> ReloadReport:
        del process, clock, deadline
        self.step("start")
        self._restart()
        return self._report("start")

    def verify(self, expected: Expectation, clock: Clock, deadline: float) -> None:
        del deadline
        clock.check()
        self.step("verify")
        if self.problem is not None:
            raise EngineRejectedError(f"containerd: its CRI plugin failed: {self.problem}")
        if self.effective is None:
            raise EngineTimeoutError("containerd does not answer")
        missing = shortcomings(expected, self._served())
        if missing:
            raise EngineTimeoutError(
                f"containerd does not report the expected handlers: {'; '.join(missing)}"
            )

    def run_handlers(
        self, handlers: Sequence[str], clock: Clock, deadline: float
    ) -> tuple[HandlerRun, ...]:
        del clock, deadline
        self.step("trials")
        if self.effective is None:
            return tuple(HandlerRun(handler=each, failure="it is not running") for each in handlers)
        served, default = self.effective.handlers, self.effective.default or ""
        return tuple(
            HandlerRun(
                handler=each,
                binary=self.starts.get(each or default, served[each or default].binary_path),
            )
            for each in handlers
        )

    def own_container_running(self, deadline: float) -> bool | None:
        del deadline
        return None

    def held(self, toolkit_dir: str) -> HoldReport:
        del toolkit_dir
        if self.unasked:
            raise EngineTimeoutError(self.unasked)
        return self.holding

    # Commands

    def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        del seconds
        if arguments[0] != BINARY:
            return CommandResult(status=127, output=b"", errors="not found")
        path = arguments[arguments.index("--config") + 1] if "--config" in arguments else ""
        try:
            return CommandResult(status=0, output=self._dump(path), errors="")
        except CannotLoadError as error:
            return CommandResult(status=1, output=b"", errors=str(error))

    # What it says

    def _served(self) -> Served:
        if self.effective is not None:
            return Served(config=self.effective)
        if self.problem is None:
            return Served.nothing("it is not running")
        return Served.nothing(f"its CRI plugin failed: {self.problem}", LackKind.FAILED)

    def _dumped(self) -> EffectiveConfig | None:
        try:
            return self.loaded(self.top_level)
        except CannotLoadError:
            return None

    # How it reads its files

    def _dump(self, top_level: str) -> bytes:
        try:
            files = load_order(self.view, top_level, self.version) if top_level else ()
        except ConfigError as error:
            raise CannotLoadError(str(error)) from error
        for each in files:
            for pattern in import_patterns(each.document, each.path):
                if "*" not in pattern and self.view.read(pattern) is None:
                    raise CannotLoadError(f"{each.path} imports {pattern}, which is not there")
        replaces = era(self.version) is Era.REPLACES
        found = merge(files, era(self.version))
        cri: dict[str, Any] = dict(found.cri)
        containerd: dict[str, Any] = dict(table(cri, "containerd"))
        runtimes: dict[str, Any] = dict(table(containerd, "runtimes"))
        if not runtimes or not replaces:
            runtimes["runc"] = {**RUNC, **table(runtimes, "runc")}
        containerd["runtimes"] = {
            name: {SANDBOX[era(self.version)]: "podsandbox", **table(runtimes, name)}
            for name in runtimes
        }
        containerd.setdefault("default_runtime_name", "runc")
        cri["containerd"] = containerd
        plugin = PLUGIN_V2 if replaces else PLUGIN_V3
        document: dict[str, Any] = {"version": 2 if replaces else 3, "plugins": {plugin: cri}}
        if found.disabled is not None:
            document["disabled_plugins"] = [found.disabled[0]]
        return tomlkit.dumps(document).encode()

    def _problem(self, loaded: EffectiveConfig, *, told: bool = True) -> str | None:
        """Return why CRI does not start; ``told``: what a test makes it refuse counts too."""
        if loaded.disabled is not None:
            return loaded.disabled
        if loaded.default not in loaded.handlers:
            return f'no corresponding runtime configured for default "{loaded.default}"'
        untyped = [name for name, each in loaded.handlers.items() if each.runtime_type is None]
        if untyped:
            return f"handler {untyped[0]} has no runtime_type"
        return self.refuses(loaded.handlers) if told else None

    def _restart(self) -> None:
        self.restarts += 1
        self.running = False
        self.effective = None
        if not self.comes_back:
            raise EngineTimeoutError("containerd did not come back")
        self.boot()
        if not self.running:
            raise EngineTimeoutError("containerd did not come back: it can't load its config")

    def _process(self) -> EngineProcess:
        return EngineProcess(
            pid=self.pid,
            start_time=self.pid * 100,
            executable=BINARY,
            arguments=(),
            supervisor=Supervisor.SYSTEMD,
            unit="containerd.service",
            parent_pid=1,
        )

    def _report(self, mode: str) -> ReloadReport:
        return ReloadReport(
            mode=mode,
            process=self._process(),
            refused=0.0,
            answering_after=0.0,
        )
