"""containerd: a restart by SIGHUP, verified over the CRI.

What needs grpc is imported by the methods that ask: loading it takes 0.1 s.
"""

from __future__ import annotations

import time

from runtime_configs.distros import Place
from runtime_configs.model import EngineName
from toolkit.engine.answers import LiveAnswer
from toolkit.engine.cri.control import CriControl
from toolkit.engine.facts import Holding, HoldReport
from toolkit.engine.process.daemon_arguments import path_option
from toolkit.errors import ToolkitError

_HELD_SECONDS = 10.0


class ContainerdControl(CriControl):
    """One containerd on this node."""

    name = EngineName.CONTAINERD
    program = "containerd"
    usual_config = "/etc/containerd/config.toml"

    def held(self, toolkit_dir: str) -> HoldReport:
        """Say which containers of any namespace have a binary below ``toolkit_dir`` as runtime."""
        from toolkit.engine.containerd import api

        prefixes = self._below(toolkit_dir)
        try:
            containers = api.containers(self._access, time.monotonic() + _HELD_SECONDS)
        except ToolkitError as error:
            return HoldReport(holding=Holding.CANNOT_TELL, reason=error.message)
        names = tuple(
            container.name
            for container in containers
            if container.binary.startswith(prefixes)
            or any(prefix.encode() in container.options for prefix in prefixes)
        )
        return HoldReport(holding=Holding.HELD if names else Holding.FREE, containers=names)

    def _ask(self, access: str, deadline: float) -> LiveAnswer:
        from toolkit.engine.containerd import api

        return api.ask(access, self._socket, deadline)

    def _answers(self, deadline: float) -> bool:
        from toolkit.engine.containerd import api

        return api.answers(self._access, deadline)

    def _config_option(self, arguments: tuple[str, ...]) -> str | None:
        return path_option(arguments, "--config", "-config", "-c")

    def _dump_command(self, executable: str, place: Place) -> tuple[str, ...]:
        return executable, "--config", place.top_level, "config", "dump"
