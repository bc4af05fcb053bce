"""The product's control of a real engine, put together as the program does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtime_configs.model import EffectiveConfig, EngineName
from runtime_configs.registry import adapter_for
from toolkit.engine.base import BaseControl, Host
from toolkit.host.commands import HostCommands
from toolkit.host.paths import HostRoot
from toolkit.host.processes import PidfdSignaller, ProcessTable
from toolkit.host.services import Systemctl
from toolkit.host.view import HostFilesView
from toolkit.settings import EngineSettings, GivenPath, RestartMode


def engine_settings(
    config: Path | str,
    socket: Path | str,
    *,
    mode: RestartMode = RestartMode.AUTO,
    sources: tuple[str, ...] = ("live", "command", "file"),
    executable: str | None = None,
    declared: bool = True,
) -> EngineSettings:
    """Return settings of which only config, socket, mode, sources and executable matter here."""
    return EngineSettings(
        config=GivenPath(path=str(config), source="--config" if declared else "default"),
        drop_in=None,
        drop_in_host_path=None,
        executable_path=executable,
        socket=GivenPath(path=str(socket), source="--socket"),
        restart_mode=mode,
        config_sources=sources,
        enable_cdi=False,
        handler_name="nvidia",
        set_as_default=True,
        use_legacy_config=False,
        runtime_type="io.containerd.runc.v2",
        config_override={},
        annotation_prefixes=(),
    )


def host(root: str = "/") -> Host:
    """Return the machine itself."""
    host_root = HostRoot(root=root)
    table = ProcessTable(root=root)
    commands = HostCommands(root)
    return Host(
        root=host_root,
        view=HostFilesView(host_root),
        table=table,
        signaller=PidfdSignaller(table),
        commands=commands,
        services=Systemctl(commands),
    )


def decode(name: EngineName) -> Callable[[bytes], EffectiveConfig]:
    """Return the adapter's own decoding."""
    return adapter_for(name).effective


def control(kind: type[BaseControl], settings: EngineSettings) -> BaseControl:
    """Return the control of an engine on this machine."""
    return kind(settings, host(), decode(kind.name))
