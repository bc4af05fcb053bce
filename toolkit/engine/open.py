"""Create the control of an engine on the real node."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime_configs.model import EngineName, of_engine
from runtime_configs.registry import adapter_for
from toolkit.engine.base import BaseControl, Host
from toolkit.engine.control import EngineControl
from toolkit.host.commands import HostCommands
from toolkit.host.paths import HostRoot
from toolkit.host.processes import PidfdSignaller, ProcessTable
from toolkit.host.services import Systemctl
from toolkit.host.view import HostFilesView
from toolkit.settings import Settings


def _containerd() -> type[BaseControl]:
    from toolkit.engine.containerd.control import ContainerdControl

    return ContainerdControl


def _crio() -> type[BaseControl]:
    from toolkit.engine.crio.control import CrioControl

    return CrioControl


def _docker() -> type[BaseControl]:
    from toolkit.engine.docker.control import DockerControl

    return DockerControl


CONTROLS: Mapping[EngineName, Callable[[], type[BaseControl]]] = {
    EngineName.CONTAINERD: _containerd,
    EngineName.CRIO: _crio,
    EngineName.DOCKER: _docker,
}
"""Engine to control class; only the modules of the chosen engine are loaded."""


def control_of(name: EngineName, settings: Settings, root: HostRoot) -> EngineControl:
    """Return the control of one engine on the node below ``root``; makes no call to it."""
    table = ProcessTable(root.proc, root.root)
    commands = HostCommands(root.root)
    host = Host(
        root=root,
        view=HostFilesView(root),
        table=table,
        signaller=PidfdSignaller(table),
        commands=commands,
        services=Systemctl(commands),
    )
    kind = of_engine(CONTROLS, name, "CONTROLS in toolkit/engine/open.py")()
    return kind(settings.engines[name], host, adapter_for(name).effective)
