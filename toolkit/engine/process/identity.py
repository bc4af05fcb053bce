"""Whether a process is the engine, and what restarts it."""

from __future__ import annotations

import posixpath
import re

from runtime_configs.distros.table import owner_of
from runtime_configs.model import EngineName, of_engine
from toolkit.engine.facts import EngineProcess, Supervisor
from toolkit.host.processes import ProcessFacts, ProcessTable

PROGRAMS = {
    EngineName.CONTAINERD: r"(docker-)?containerd(?!-shim|-stress|-fuse)",
    EngineName.CRIO: r"cri-?o",
    EngineName.DOCKER: r"dockerd|balena(-engine-daemon|d|-engine)$",
}
"""Engine to a pattern of its binary's name."""
UNITS = {
    EngineName.CONTAINERD: ".*containerd.*",
    EngineName.CRIO: "cri-?o.*",
    EngineName.DOCKER: ".*docker.*",
}
"""Engine to a pattern of its own systemd services."""
_MULTI_CALL = r"(k3s|rke2)(-.*)?$"
"""k3s is one binary under many names: its containerd is ``k3s`` with argv[0] ``containerd``."""
_OWN_UNIT = rf"({'|'.join(UNITS.values())})\.service$"
_MANAGERS = ("systemd", "init")


def is_engine(engine: EngineName, process: ProcessFacts) -> bool:
    """Return whether the process runs the engine's own binary."""
    if process.executable is None:
        return False
    name = posixpath.basename(process.executable)
    if re.match(_MULTI_CALL, name) and process.arguments:
        name = posixpath.basename(process.arguments[0])
    pattern = of_engine(PROGRAMS, engine, "PROGRAMS in toolkit/engine/process/identity.py")
    return re.match(pattern, name) is not None


def engine_process(process: ProcessFacts, table: ProcessTable, host_root: str) -> EngineProcess:
    """Describe the engine's process with host paths."""
    parent = table.find(process.parent_pid)
    supervisor, unit = _supervision(process, parent)
    return EngineProcess(
        pid=process.pid,
        start_time=process.start_time,
        executable=_host_executable(process, host_root),
        arguments=process.arguments[1:],
        supervisor=supervisor,
        unit=unit,
        parent_pid=process.parent_pid,
        search_path=process.search_path,
    )


def is_child_of_its_unit(process: EngineProcess) -> bool:
    """Return whether the unit's main process starts the engine as a child."""
    owner = None if process.unit is None else owner_of(process.unit)
    return owner is not None and owner.engine_is_child


def _supervision(
    process: ProcessFacts, parent: ProcessFacts | None
) -> tuple[Supervisor, str | None]:
    unit = process.unit
    if unit is not None:
        owner = owner_of(unit)
        if owner is not None and owner.restarts_itself:
            return Supervisor.SELF, unit
        started_by_systemd = parent is not None and parent.name in _MANAGERS
        child = owner is not None and owner.engine_is_child
        named_for_it = child or re.match(_OWN_UNIT, unit) is not None
        # An engine started by hand from a job of some service is also in that service's cgroup.
        # Restarting that service would not restart the engine.
        if started_by_systemd or named_for_it:
            return Supervisor.SYSTEMD, unit
    if parent is not None and parent.pid != 1:
        return Supervisor.PARENT, None
    return Supervisor.NONE, None


def _host_executable(process: ProcessFacts, host_root: str) -> str:
    path = process.executable or ""
    if host_root != "/" and path.startswith(host_root + "/"):
        path = path[len(host_root) :]
    if process.arguments and re.match(_MULTI_CALL, posixpath.basename(path)):
        path = posixpath.join(posixpath.dirname(path), posixpath.basename(process.arguments[0]))
    return path
