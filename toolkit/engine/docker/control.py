"""dockerd: a live reload by SIGHUP, confirmed by its own event, verified over ``/info``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from functools import cached_property

from msgspec.structs import replace

from runtime_configs.distros.recognition import Place
from runtime_configs.distros.table import plain_row
from runtime_configs.model import EngineName
from toolkit.engine import wait
from toolkit.engine.base import BaseControl
from toolkit.engine.docker import container_run
from toolkit.engine.docker.client import DockerClient, DockerInfo, ReloadEvents
from toolkit.engine.facts import (
    EngineProcess,
    HandlerRun,
    Holding,
    HoldReport,
    HostFacts,
    LiveAnswer,
    OwnContainer,
    ReloadReport,
)
from toolkit.engine.handler_runs import run_each
from toolkit.engine.process.daemon_arguments import added_runtimes, path_option
from toolkit.engine.process.same_place import same_place
from toolkit.engine.reload import Method, method
from toolkit.errors import EngineRejectedError, EngineTimeoutError, ToolkitError
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.settings import RestartMode

_USUAL_CONFIG = plain_row(EngineName.DOCKER).top_level
_HELD_SECONDS = 20.0
_RELOAD_SECONDS = 5.0
"""A reload takes milliseconds; one that fails sends no event at all."""


class DockerControl(BaseControl):
    """One dockerd on this node."""

    name = EngineName.DOCKER
    program = "dockerd"
    config_flags = ("--config-file",)

    @cached_property
    def _seen(self) -> dict[str, str]:
        """Every runtime that dockerd has reported to this control, with its path."""
        return {}

    def facts(self, deadline: float) -> HostFacts:
        """Return the facts, with conflicts between dockerd's command line and the change."""
        found = super().facts(deadline)
        if found.process is None or self._settings.restart_mode is RestartMode.NONE:
            return found
        given = self._settings.config
        read = path_option(found.process.arguments, *self.config_flags) or _USUAL_CONFIG
        if given.declared and not same_place(self._host.root, found.top_level, read):
            refused = (
                f"{given.source} names {found.top_level}, but dockerd (PID {found.process.pid})"
                f" reads only {read}; name that file, or omit {given.source}"
            )
            return replace(found, refused=refused)
        names = added_runtimes(found.process.arguments)
        if names and method(self.name, found.process, self._settings.restart_mode) is Method.LIVE:
            warning = (
                f"dockerd was started with --add-runtime for {', '.join(names)}: a live reload"
                f" drops what the flag adds; move it to runtimes in {found.top_level}"
            )
            return replace(found, warnings=(*found.warnings, warning))
        return found

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        """Make dockerd reload its config and wait until it reports the reload.

        Raises EngineRejectedError if dockerd keeps the old config.
        """
        if method(self.name, process, mode) is not Method.LIVE:
            return super().reload(process, mode, clock, deadline)
        handle = self._host.signaller.hold(process.pid, process.start_time)
        try:
            with ReloadEvents(self._socket.access, self._socket.path, deadline) as events:
                began = clock.now()
                handle.signal(signal.SIGHUP)
                self._confirm(events, clock, min(deadline, began + _RELOAD_SECONDS))
        finally:
            handle.close()
        return ReloadReport(
            mode=Method.LIVE.value,
            process=process,
            refused=0.0,
            answering_after=clock.now() - began,
        )

    def run_handlers(
        self, handlers: Sequence[str], clock: Clock, deadline: float
    ) -> tuple[HandlerRun, ...]:
        """Start a container of a local image briefly with each handler."""

        def start(handler: str) -> HandlerRun:
            return container_run.start(self._client, handler, clock, deadline)

        return run_each(handlers, start, lambda _: container_run.sweep(self._client), clock)

    def held(self, toolkit_dir: str) -> HoldReport:
        """Report the containers, running or not, whose runtime binary is below ``toolkit_dir``.

        A container has only its runtime's name. A name that dockerd no longer knows is looked up in
        what this control saw before; failing that it counts if it is one of our names.
        """
        prefixes = self._below(toolkit_dir)
        deadline = UninterruptedClock().now() + _HELD_SECONDS
        with self._client(deadline) as client:
            info = self._remember(client.info())
            containers = client.containers()
        ours = self._settings.handler_names

        runtime = f"{toolkit_dir}/nvidia-container-runtime"
        usual = dict(zip(ours, (runtime, f"{runtime}.cdi", f"{runtime}.legacy"), strict=True))

        def path_of(name: str) -> str:
            return info.paths.get(name) or self._seen.get(name) or usual.get(name, "")

        used = [(each, path_of(each.runtime or info.default)) for each in containers]
        using = [(each, path) for each, path in used if path.startswith(prefixes)]
        pids = self._socket.own_pids(deadline) if using else ()
        own = tuple(
            OwnContainer(identifier=each.identifier, binary=path)
            for each, path in using
            if each.pid in pids
        )
        names = tuple(each.name for each, _ in using if each.pid not in pids)
        return HoldReport(
            holding=Holding.HELD if names else Holding.FREE, containers=names, own=own
        )

    def _ask(self, deadline: float) -> LiveAnswer:
        with self._client(deadline) as client:
            info = self._remember(client.info())
        return LiveAnswer(version=info.version, config=info.body)

    def _answers(self, deadline: float) -> bool:
        try:
            with self._client(deadline) as client:
                client.info()
        except ToolkitError:
            return False
        return True

    def _dump_command(self, executable: str, place: Place) -> None:
        """Return nothing: dockerd has no such command."""

    def _client(self, deadline: float, check: Callable[[], None] | None = None) -> DockerClient:
        return DockerClient(self._socket.access, self._socket.path, deadline, check)

    def _remember(self, info: DockerInfo) -> DockerInfo:
        self._seen.update(info.paths)
        return info

    def _confirm(self, events: ReloadEvents, clock: Clock, deadline: float) -> None:
        try:
            while not events.arrived(min(wait.CHECK_SECONDS, deadline - clock.now())):
                if clock.now() >= deadline:
                    raise EngineRejectedError(
                        "dockerd rejected daemon.json and keeps its previous configuration",
                        "its log says why (journalctl -u docker)",
                    )
                clock.check()
        except OSError as error:
            raise EngineTimeoutError(
                f"dockerd exited while it reloaded its config: {error}",
                "its log says why (journalctl -u docker)",
            ) from error
