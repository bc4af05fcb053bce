"""Name to control: puts a control together with the real node."""

from __future__ import annotations

from runtime_configs.model import EngineName
from runtime_configs.registry import adapter_for
from toolkit.engine.base import BaseControl, Host
from toolkit.engine.control import EngineControl
from toolkit.host.commands import HostCommands
from toolkit.host.host_files import HostFilesView
from toolkit.host.paths import HostRoot
from toolkit.host.processes import PidfdSignaller, ProcFs
from toolkit.host.services import Systemctl
from toolkit.settings import Settings


def control_of(name: EngineName, settings: Settings, root: HostRoot) -> EngineControl:
    """Return the control of one engine on the node below ``root``."""
    table = ProcFs(root.proc, root.root)
    commands = HostCommands(root.root)
    host = Host(
        root=root,
        view=HostFilesView(root),
        table=table,
        signaller=PidfdSignaller(table),
        commands=commands,
        services=Systemctl(commands),
    )
    return _kind(name)(settings.engines[name], host, adapter_for(name).effective)


def _kind(name: EngineName) -> type[BaseControl]:
    """Return an engine's class; only its own modules are loaded."""
    if name is EngineName.CONTAINERD:
        from toolkit.engine.containerd.control import ContainerdControl

        return ContainerdControl
    if name is EngineName.CRIO:
        from toolkit.engine.crio.control import CrioControl

        return CrioControl
    from toolkit.engine.docker.control import DockerControl

    return DockerControl
