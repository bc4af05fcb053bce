"""CRI-O: restarted by its unit, because its own reload lists handlers that no pod can use.

Modules that load grpc are imported by the methods that use them: loading it takes 0.1 s.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from runtime_configs.distros.recognition import Place
from runtime_configs.model import ConfigError, EffectiveConfig, EngineName, Version
from toolkit.engine.cri.control import CriControl
from toolkit.engine.facts import EngineProcess, Holding, HoldReport, LiveAnswer
from toolkit.engine.process.daemon_arguments import option, path_option
from toolkit.engine.process.same_place import same_place
from toolkit.errors import EngineNotFoundError, EngineRejectedError
from toolkit.host.clock import UninterruptedClock
from toolkit.settings import RestartMode

if TYPE_CHECKING:
    from toolkit.engine.rpc import Connection

_HELD_SECONDS = 10.0


class CrioControl(CriControl):
    """One CRI-O on this node."""

    name = EngineName.CRIO
    program = "crio"
    config_flags = ("--config", "-c")

    def held(self, toolkit_dir: str) -> HoldReport:
        """Report the pods whose handler's binary is below ``toolkit_dir``.

        A pod of the default handler names none: CRI-O uses its current default for it.
        """
        self._socket.require()
        from toolkit.engine.crio import api

        deadline = UninterruptedClock().now() + _HELD_SECONDS
        sandboxes = api.sandboxes(self._socket.access, deadline)
        try:
            config = self._decode(api.config(self._socket.access, self._socket.path, deadline))
        except ConfigError as error:
            raise EngineRejectedError(str(error)) from error
        ours = self._ours(config, self._below(toolkit_dir))
        names = tuple(pod.name for pod in sandboxes if (pod.handler or config.default) in ours)
        if not names:
            return HoldReport(holding=Holding.FREE)
        unknown = any(pod.handler and pod.handler not in config.handlers for pod in sandboxes)
        reason = "CRI-O can't stop them until their handlers are restored" if unknown else ""
        return HoldReport(holding=Holding.HELD, containers=names, reason=reason)

    def _ours(self, config: EffectiveConfig, prefixes: tuple[str, ...]) -> frozenset[str]:
        """Return the handlers that need our files; unknown ones count by their name."""
        named = frozenset(self._settings.handler_names)
        known = {
            name
            for name, handler in config.handlers.items()
            if (handler.binary_path or "").startswith(prefixes)
        }
        return frozenset(known | (named - config.handlers.keys()))

    def _ask(self, deadline: float) -> LiveAnswer:
        from toolkit.engine.crio import api

        return api.ask(self._socket.access, self._socket.path, deadline)

    def _cgroup_parent(self, handler: str, config: EffectiveConfig | None) -> str:
        """Return nothing: CRI-O has its own default parent."""
        del handler, config
        return ""

    def _executed(self, connection: Connection, sandbox: str) -> str | None:
        """Return the runtime named in the arguments of the sandbox's monitor.

        (CRI-O, internal/oci: conmon gets ``-c ID`` and ``-r RUNTIME``, conmonrs ``--runtime``.)
        """
        del connection
        for each in self._host.table.named(("conmon",)):
            if any(sandbox in argument for argument in each.arguments):
                return option(each.arguments, "-r", "--runtime")
        return None

    def preflight(self, process: EngineProcess, mode: RestartMode) -> None:
        """Also reject restart mode ``signal``, which CRI-O does not support."""
        if mode is RestartMode.SIGNAL:
            raise EngineNotFoundError(
                "CRI-O can't use a handler that a reload signal adds, it only lists it",
                "use --restart-mode=systemd, or none and restart it yourself",
            )
        super().preflight(process, mode)

    def _place(self, process: EngineProcess | None, version: Version | None) -> Place:
        """Return the distribution's paths, with the drop-in where the running CRI-O reads it."""
        place = super()._place(process, version)
        running = None
        if process is not None:
            running = path_option(process.arguments, "--config-dir", "-d")
        if place.drop_in is None or running is None:
            return place
        directory, name = posixpath.split(place.drop_in)
        root, given = self._host.root, self._settings.drop_in
        if same_place(root, directory, running):
            return place
        if given is None or not given.declared:
            return replace(place, drop_in=posixpath.join(running, name))
        conflict = (
            f"{given.source} names {place.drop_in}, "
            f"but the running engine reads the files in {running}"
        )
        if self._settings.restart_mode is not RestartMode.NONE:
            return replace(place, refused=f"{conflict}; name a file in that directory")
        return replace(place, warnings=(*place.warnings, conflict))

    def _dump_command(self, executable: str, place: Place) -> tuple[str, ...]:
        # CRI-O fails for a named file that is missing, and reads none for an empty name.
        there = self._host.view.read(place.top_level) is not None
        named: tuple[str, ...] = ("--config", place.top_level if there else "")
        if place.drop_in is not None:
            named += ("--config-dir", posixpath.dirname(place.drop_in))
        return executable, *named, "config"
