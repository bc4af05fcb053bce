"""containerd: restarted by SIGHUP, verified over the CRI.

Modules that load grpc are imported by the methods that use them: loading it takes 0.1 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runtime_configs.distros.recognition import Place
from runtime_configs.model import EffectiveConfig, EngineName
from toolkit.engine.cri.control import CriControl
from toolkit.engine.facts import Holding, HoldReport, LiveAnswer, OwnContainer
from toolkit.host.clock import UninterruptedClock

if TYPE_CHECKING:
    from toolkit.engine.rpc import Connection

_HELD_SECONDS = 10.0
_CRI_NAMESPACE = "k8s.io"
"""The namespace of the CRI plugin's containers; fixed (pkg/cri/constants)."""


class ContainerdControl(CriControl):
    """One containerd on this node."""

    name = EngineName.CONTAINERD
    program = "containerd"
    config_flags = ("--config", "-config", "-c")
    usual_config = "/etc/containerd/config.toml"

    def held(self, toolkit_dir: str) -> HoldReport:
        """Report the containers of any namespace whose runtime binary is below ``toolkit_dir``.

        A pod's container counts only with a task: containerd deletes the others without the binary,
        and the kubelet starts none of them again (tried with 1.6, 1.7 and 2.1).
        """
        self._socket.require()
        from toolkit.engine.containerd import api

        prefixes = self._below(toolkit_dir)
        deadline = UninterruptedClock().now() + _HELD_SECONDS
        containers = api.containers(self._socket.access, deadline)
        pids = self._socket.own_pids(deadline)
        pods = {each.sandbox for each in containers if each.sandbox and each.pid in pids}
        using = [
            each
            for each in containers
            if (each.pid or not each.of_cri)
            and (
                each.binary.startswith(prefixes)
                or any(prefix.encode() in each.options for prefix in prefixes)
            )
        ]
        own = [each for each in using if each.binary and (each.pid in pids or each.sandbox in pods)]
        names = tuple(each.name for each in using if each not in own)
        return HoldReport(
            holding=Holding.HELD if names else Holding.FREE,
            containers=names,
            own=tuple(OwnContainer(identifier=each.identifier, binary=each.binary) for each in own),
        )

    def _ask(self, deadline: float) -> LiveAnswer:
        from toolkit.engine.containerd import api

        return api.ask(self._socket.access, self._socket.path, deadline)

    def _cgroup_parent(self, handler: str, config: EffectiveConfig | None) -> str:
        """Return a systemd slice, or the root of cgroupfs.

        Without a parent containerd creates a directory for its namespace. It stays behind, and runc
        rejects it when systemd creates the cgroups (pkg/cri: getCgroupsPath).
        """
        handlers = {} if config is None else config.handlers
        served = handlers.get(handler or (config.default if config and config.default else ""))
        options = None if served is None else served.table.get("options")
        named = options.items() if isinstance(options, Mapping) else ()
        # containerd matches option names case-insensitively.
        systemd = any(key.lower() == "systemdcgroup" and value is True for key, value in named)
        return "system.slice" if systemd else "/"

    def _executed(self, connection: Connection, sandbox: str) -> str | None:
        from toolkit.engine.containerd.client import ContainerdClient

        return ContainerdClient(connection).executed(_CRI_NAMESPACE, sandbox)

    def _dump_command(self, executable: str, place: Place) -> tuple[str, ...]:
        return executable, "--config", place.top_level, "config", "dump"
