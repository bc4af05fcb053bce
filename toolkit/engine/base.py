"""The common part of every engine's control: facts, reload and verification."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from runtime_configs.distros.recognition import Place, Sighting, identify
from runtime_configs.model import ConfigError, EffectiveConfig, HostView, Version
from toolkit.engine import wait
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import (
    EngineProcess,
    Expectation,
    HostFacts,
    Lack,
    LackKind,
    LiveAnswer,
    ReloadReport,
    Served,
)
from toolkit.engine.process import peer
from toolkit.engine.process.daemon_arguments import path_option
from toolkit.engine.process.locate import (
    EngineSocket,
    refuse_stranger,
    refuse_without_host_root,
    socket_of,
)
from toolkit.engine.process.same_place import same_place
from toolkit.engine.sources import ConfigSources, engine_version
from toolkit.errors import EngineRejectedError, EngineTimeoutError, ToolkitError
from toolkit.host.clock import Clock
from toolkit.host.commands import CommandRunner
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessTable, Signaller
from toolkit.host.services import Services
from toolkit.settings import EngineSettings, RestartMode

if TYPE_CHECKING:
    from toolkit.engine.reload import Restarter

_ONE_LOOK = 0.5
"""Seconds for one look at a socket while waiting for it."""
_ONE_CALL = 2.0
"""Seconds for one call while waiting for an engine: safe points come between calls."""
_ONE_UNIT = 5.0
"""Seconds for systemd to report whether it would start a unit."""
_PROGRAM_DIRECTORIES = ("/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin")


class Host(Struct, frozen=True, kw_only=True):
    """The node, as the controls reach it; tests have a fake for each part."""

    root: HostRoot
    view: HostView
    table: ProcessTable
    signaller: Signaller
    commands: CommandRunner
    services: Services


class BaseControl(EngineControl):
    """What the controls of all engines have in common."""

    program: str
    """The daemon's file name in the PATH."""
    config_flags: tuple[str, ...]
    """The daemon's flags for its top-level config."""
    usual_config: str | None = None
    """The default top-level file, without ``--config``; None if it does not matter."""

    def __init__(
        self,
        settings: EngineSettings,
        host: Host,
        decode: Callable[[bytes], EffectiveConfig],
    ) -> None:
        self._settings = settings
        self._host = host
        self._decode = decode

    @cached_property
    def _socket(self) -> EngineSocket:
        host = self._host
        return socket_of(self.name, self._settings.socket, host.root, host.table, host.view)

    @abstractmethod
    def _ask(self, deadline: float) -> LiveAnswer:
        """Ask the running daemon what it is and serves. Raises ToolkitError without an answer."""

    @abstractmethod
    def _answers(self, deadline: float) -> bool:
        """Return whether the engine answers its API; a disabled API counts as answering."""

    @abstractmethod
    def _dump_command(self, executable: str, place: Place) -> tuple[str, ...] | None:
        """Return the command that prints the effective config."""

    def _below(self, toolkit_dir: str) -> tuple[str, ...]:
        """Return the prefixes of binaries below the directory, by either name of the directory."""
        names = dict.fromkeys((toolkit_dir, self._host.root.resolve(toolkit_dir)))
        return tuple(f"{name.rstrip('/')}/" for name in names)

    def own_container_running(self, deadline: float) -> bool | None:
        """Return whether the engine reports this process's own container as running.

        None outside a container, and for an engine whose reload does not abort starting containers.
        """
        del deadline
        return None

    def facts(self, deadline: float) -> HostFacts:
        """Return the engine's present facts; ``deadline`` limits the calls.

        A program of the engine that must be run gets a few seconds in any case.
        """
        located = self._socket.locate(deadline)
        if self._settings.restart_mode is not RestartMode.NONE:
            refuse_without_host_root(located, self._host.root)
            refuse_stranger(located)
        process, unreachable, live = located.process, located.obstacle, LiveAnswer()
        if unreachable is None:
            try:
                live = self._ask(deadline)
            except ToolkitError as error:
                unreachable = f"{self.name} on {self._socket.path} does not answer: {error.message}"
        served = self._decode_served(live) if unreachable is None else Served.nothing(unreachable)
        executable = self._executable(process)
        version, version_source = engine_version(
            live.version, executable, self._host.commands, deadline
        )
        place = self._place(process, version)
        read = ConfigSources(
            live=live.config,
            dump=self._dump_command(executable, place) if executable else None,
            file=place.top_level,
            deadline=deadline,
            commands=self._host.commands,
            view=self._host.view,
        ).effective(self._settings.config_sources, self._decode)
        return HostFacts(
            engine=self.name,
            socket=self._socket.path,
            process=process,
            unreachable=unreachable,
            version=version,
            version_source=version_source,
            top_level=place.top_level,
            drop_in=place.drop_in,
            effective=read.config,
            effective_source=read.source,
            served=served,
            executable=executable,
            distribution=place.distribution.name,
            placement=place.placement,
            template=place.template,
            unread=read.failures,
            warnings=place.warnings,
            refused=place.refused,
        )

    def _place(self, process: EngineProcess | None, version: Version | None) -> Place:
        """Return the distribution's paths for the change; declared paths take precedence."""
        root, settings = self._host.root, self._settings
        running = None if process is None else path_option(process.arguments, *self.config_flags)
        declared = root.host_path(settings.config.path) if settings.config.declared else None
        reads = running or (None if process is None else self.usual_config)
        if declared is not None and reads is not None and same_place(root, declared, reads):
            running = declared if running is not None else None
            reads = declared
        drop_in = settings.drop_in if settings.drop_in and settings.drop_in.declared else None
        seen = Sighting(
            engine=self.name,
            socket=self._socket.path,
            config=running,
            reads=reads,
            reloaded=settings.restart_mode is not RestartMode.NONE,
            unit=process.unit if process is not None else None,
            version=version,
            declared_config=declared,
            declared_by=settings.config.source,
            declared_drop_in=None if drop_in is None else root.host_path(drop_in.path),
        )
        return identify(seen, self._host.view)

    def _executable(self, process: EngineProcess | None) -> str | None:
        """Return the engine's binary: the declared one, the running one, or one in the PATH."""
        declared = self._settings.executable_path
        if declared is not None:
            return self._host.root.host_path(declared)
        candidates = [f"{directory}/{self.program}" for directory in _PROGRAM_DIRECTORIES]
        if process is not None:
            candidates.insert(0, process.executable)
        for path in candidates:
            if os.access(self._host.root.access(path), os.X_OK):
                return path
        return None

    def preflight(self, process: EngineProcess, mode: RestartMode) -> None:
        """Raise EngineNotFoundError if a reload would leave the node without its engine."""
        from toolkit.engine.reload import BY_UNIT, method, unit_of

        if method(self.name, process, mode) in BY_UNIT:
            self._host.services.require(unit_of(self.name, process), _ONE_UNIT)

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        """Make the engine reload its config and wait until it answers."""
        from toolkit.engine.reload import method

        how = method(self.name, process, mode)
        return self._restarter(clock).restart(process, how, deadline)

    def start(self, process: EngineProcess, clock: Clock, deadline: float) -> ReloadReport:
        """Start an engine that is gone: start its unit, or wait for its supervisor."""
        return self._restarter(clock).start(process, deadline)

    def _restarter(self, clock: Clock) -> Restarter:
        def watch() -> tuple[bool, EngineProcess | None]:
            if peer.refusal(self._socket.access) is not None:
                return False, None
            return True, self._socket.locate(clock.now() + _ONE_LOOK).process

        def answers(deadline: float) -> bool:
            clock.check()
            return self._answers(min(deadline, clock.now() + _ONE_CALL))

        from toolkit.engine.reload import Restarter

        host = self._host
        return Restarter(
            self.name, host.signaller, host.services, clock, watch=watch, answers=answers
        )

    def _served(self, deadline: float) -> Served:
        """Ask the daemon what it serves."""
        try:
            return self._decode_served(self._ask(deadline))
        except ToolkitError as error:
            return Served.nothing(error.message)

    def _decode_served(self, live: LiveAnswer) -> Served:
        if live.lack is not None or live.config is None:
            return Served(lack=live.lack or Lack(reason=f"{self.name} does not report its config"))
        try:
            return Served(config=self._decode(live.config), listed=live.listed)
        except ConfigError as error:
            reason = f"the config that {self.name} reports can't be read: {error}"
            return Served.nothing(reason, LackKind.FAILED)

    def verify(self, expected: Expectation, clock: Clock, deadline: float) -> None:
        """Wait until the engine serves what is expected."""
        from toolkit.engine.verify import shortcomings

        missing: tuple[str, ...] = ()

        def look() -> Served | None:
            nonlocal missing
            clock.check()
            served = self._served(min(deadline, clock.now() + _ONE_CALL))
            missing = shortcomings(expected, served)
            if missing and served.lack is not None and served.lack.kind is not LackKind.PENDING:
                raise EngineRejectedError(served.lack.reason, served.lack.fix)
            return None if missing else served

        what = f"{self.name} to serve the handlers"
        if wait.until(look, clock, deadline, what) is None:
            raise EngineTimeoutError(
                f"{self.name} on {self._socket.path} does not report the expected handlers: "
                f"{'; '.join(missing)}",
                wait.too_slow(deadline),
            )
