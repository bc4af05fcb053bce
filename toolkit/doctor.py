"""`doctor`: look at the host before anything is done, and name each problem with its mend."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runtime_configs.distros import Distribution, row_of
from runtime_configs.model import EffectiveConfig, EngineName
from toolkit.engine import kubelet
from toolkit.engine.facts import HostFacts, Supervisor
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.processes import ProcFs, has_root
from toolkit.node import Node, choose_engine
from toolkit.payload.installer import low_level_runtimes
from toolkit.settings import RestartMode
from toolkit.setup import touches_no_engine
from toolkit.version import VERSION

LOOK_SECONDS = 5.0
_CAP_SYS_ADMIN = 21
_LITTLE_MIB = 2
"""Too little for any config file and its journal; the payload's own check knows its size."""
_SYSTEMCTL_SECONDS = 5.0


class Verdict(StrEnum):
    """What a check found; three values where it can't be told."""

    OK = "ok"
    WARNING = "warning"
    """Worth a look, and no hindrance."""
    PROBLEM = "problem"
    """A set-up would fail, or its result would not serve."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's result."""

    check: str
    verdict: Verdict
    message: str
    mend: str = ""


def examine(node: Node) -> tuple[Finding, ...]:
    """Return what each check found, those of the host first."""
    facts, engine = _engine(node)
    row = None if facts is None else row_of(facts.distribution, facts.engine)
    found = [*_versions(node), *_privileges(node), *_paths(node, row), *_driver(node), engine]
    if facts is not None:
        found += [*_config_files(node, facts), *_engine_findings(node, facts)]
    found += [_payload(node, facts)]
    return tuple(found)


def _versions(node: Node) -> Iterator[Finding]:
    system = os.uname()
    text = f"installer {VERSION}, kernel {system.release} {system.machine}"
    yield _ok("versions", text)
    for each in given_paths(node):
        yield _ok("path", node.root.explain(each))


def given_paths(node: Node) -> tuple[str, ...]:
    """Return the paths that were given or are used by default, of the engines in question."""
    settings = node.settings
    given = [settings.install_dir, settings.lifecycle.pid_file]
    names = list(settings.engines) if settings.runtime is None else [settings.runtime]
    for name in names:
        chosen = settings.engines[name]
        given += [chosen.config.path, chosen.socket.path]
        given += [] if chosen.drop_in is None else [chosen.drop_in.path]
    return tuple(given)


def _engine(node: Node) -> tuple[HostFacts | None, Finding]:
    nri = node.settings.nri
    if nri.enabled and not os.path.exists(node.root.access(node.root.host_path(nri.socket))):
        mend = "enable NRI in the engine (containerd 1.7 and later), or name it with --nri-socket"
        return None, _problem("engine", f"no NRI socket at {nri.socket}", mend)
    if touches_no_engine(node.settings):
        return None, _ok("engine", "no config of it is touched")
    try:
        name = choose_engine(node, node.store.load())
        facts = node.control(name).facts(UninterruptedClock().now() + LOOK_SECONDS)
    except ToolkitError as error:
        return None, _problem("engine", error.message, error.hint)
    if facts.unreachable is not None:
        mend = f"start {name}, or name its socket with --socket"
        return facts, _problem("engine", f"{name} can't be reached: {facts.unreachable}", mend)
    version = "of unknown version" if facts.version is None else facts.version.text
    text = f"{name} {version} at {facts.socket}, config {facts.top_level} ({facts.distribution})"
    return facts, _ok("engine", text)


def _privileges(node: Node) -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield _problem("privileges", "not root", "run the container privileged, as user 0")
    elif not _capable(node.root.proc, _CAP_SYS_ADMIN):
        yield _problem("privileges", "CAP_SYS_ADMIN is missing", "run the container privileged")
    else:
        yield _ok("privileges", "root with CAP_SYS_ADMIN")
    if _sees_host_processes(node):
        yield _ok("hostPID", "the host's processes can be seen")
    elif not _signals(node):
        yield _ok("hostPID", "the host's processes can't be seen, and no engine is signalled")
    else:
        yield _problem(
            "hostPID",
            "the host's processes can't be seen, so the engine can't be signalled",
            "set hostPID: true, or docker run --pid=host",
        )
    enforcing = node.view.read("/sys/fs/selinux/enforce")
    if enforcing is None:
        yield _ok("SELinux", "not in use")
    elif enforcing.strip() == b"1":
        yield _confined(_own_proc(node, "self/attr/current") or b"")
    else:
        yield _ok("SELinux", "permissive")


def _signals(node: Node) -> bool:
    """Tell whether a set-up has to reach the engine's process."""
    if touches_no_engine(node.settings):
        return False
    names = node.settings.engines if node.settings.runtime is None else (node.settings.runtime,)
    return any(node.settings.engines[each].restart_mode is not RestartMode.NONE for each in names)


def _confined(label: bytes) -> Finding:
    text = label.rstrip(b"\0\n").decode(errors="replace")
    if ":container_t:" in text:
        return _problem(
            "SELinux",
            f"enforcing, and this container runs confined as {text}: the host's files are denied",
            "run it privileged, or with seLinuxOptions type spc_t",
        )
    return _ok("SELinux", f"enforcing, as {text or 'unknown'}; labels of replaced files are kept")


def _capable(proc: str, number: int) -> bool:
    for line in Path(proc, "self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _sees_host_processes(node: Node) -> bool:
    """Tell whether this PID namespace is the host's: its PID 1 has the host root as its root."""
    found = has_root(node.root.proc, 1, node.root.root)
    # Without ptrace rights PID 1 can't be looked at; kthreadd exists in the first one only.
    return Path(node.root.proc, "2/comm").exists() if found is None else found


def _paths(node: Node, row: Distribution | None) -> Iterator[Finding]:
    elsewhere = "choose another directory with --toolkit-install-dir"
    if row is not None and row.install_dir is not None:
        elsewhere += f", on {row.name} {row.install_dir}"
    yield _writable(node, "install directory", node.store.install_dir, elsewhere)
    pid_file = node.root.host_path(node.settings.lifecycle.pid_file)
    yield _writable(node, "pid file", posixpath.dirname(pid_file))


def _config_files(node: Node, facts: HostFacts) -> Iterator[Finding]:
    """Look whether the places of the engine's config files can be written."""
    if touches_no_engine(node.settings):
        return
    row = row_of(facts.distribution, facts.engine)
    if facts.refused is not None:
        yield _problem("distribution", f"{row.name}: {facts.refused}", "")
    else:
        note = f"; {row.note}" if row.note else ""
        yield _ok("distribution", f"{row.name}: {facts.top_level} is kept by {row.owner}{note}")
    for path in (facts.top_level, facts.drop_in):
        if path is not None:
            yield _writable(node, "config file", posixpath.dirname(path))


def _writable(node: Node, check: str, path: str, elsewhere: str = "") -> Finding:
    """Look at a directory of ours; ``elsewhere`` tells where else programs may go."""
    missing = node.writer.missing_directories(path)
    existing = posixpath.dirname(missing[0]) if missing else path
    try:
        state = os.statvfs(node.root.access(existing))
    except OSError as error:
        return _problem(check, f"{existing}: {error.strerror}", "mount it into the container")
    if state.f_flag & os.ST_RDONLY:
        mend = "mount it writable" + (f", or {elsewhere}" if elsewhere else "")
        return _problem(check, f"{existing} is read-only", mend)
    if elsewhere and state.f_flag & os.ST_NOEXEC:
        return _problem(check, f"{existing} is mounted noexec", elsewhere)
    free = state.f_bavail * state.f_frsize >> 20
    if free < _LITTLE_MIB:
        return _problem(check, f"{existing} has only {free} MiB free", "make room there")
    return _ok(check, f"{path} ({free} MiB free)")


def _driver(node: Node) -> Iterator[Finding]:
    version = node.view.read("/proc/driver/nvidia/version")
    if version is None:
        version = _own_proc(node, "driver/nvidia/version")
    if version is None:
        yield Finding(
            check="driver",
            verdict=Verdict.WARNING,
            message="the NVIDIA kernel module is not loaded: containers run without GPUs",
            mend="install the driver; nothing has to be restarted here afterwards",
        )
    else:
        yield _ok("driver", version.decode(errors="replace").splitlines()[0])


def _own_proc(node: Node, name: str) -> bytes | None:
    try:
        return Path(node.root.proc, name).read_bytes()
    except OSError:
        return None


def _engine_findings(node: Node, facts: HostFacts) -> Iterator[Finding]:
    effective = facts.effective
    if effective is not None and effective.disabled is not None:
        yield _problem(
            "CRI", effective.disabled, f"remove it from disabled_plugins in {facts.top_level}"
        )
    elif facts.served.config is not None:
        served = facts.served.config
        yield _ok("CRI", f"handlers {', '.join(sorted(served.handlers))}; default {served.default}")
    elif facts.served.lack is not None and facts.unreachable is None:
        lack = facts.served.lack
        yield _problem("CRI", lack.reason, lack.mend or "see the engine's log")
    for warning in facts.warnings:
        yield Finding(check="settings", verdict=Verdict.WARNING, message=warning)
    driver = kubelet.cgroup_driver(ProcFs(node.root.proc, node.root.root), node.view)
    if driver is not None and effective is not None and facts.engine is EngineName.CONTAINERD:
        yield from cgroup_driver(driver, effective)
    yield from _supervisor(node, facts)


def cgroup_driver(told: str, effective: EffectiveConfig) -> Iterator[Finding]:
    """Compare the kubelet's cgroup driver with containerd's default handler's.

    Where they differ, pods get cgroups that nobody cleans up or that systemd takes away. CRI-O and
    dockerd have one driver for all handlers, which their handlers don't name.
    """
    handler = effective.handlers.get(effective.default or "")
    if handler is None:
        return
    options = handler.table.get("options")
    systemd = isinstance(options, Mapping) and options.get("SystemdCgroup") is True
    engine = "systemd" if systemd else "cgroupfs"
    if engine == told:
        yield _ok("cgroup driver", f"the kubelet and handler {handler.name} use {told}")
    else:
        yield Finding(
            check="cgroup driver",
            verdict=Verdict.WARNING,
            message=f"the kubelet uses {told}, handler {handler.name} {engine}",
            mend=f"set SystemdCgroup = {str(told == 'systemd').lower()} in the options of the "
            "engine's own handler (ours take it over), or change the kubelet's cgroupDriver",
        )


def _supervisor(node: Node, facts: HostFacts) -> Iterator[Finding]:
    process, mode = facts.process, node.settings.engines[facts.engine].restart_mode
    if process is None or mode is RestartMode.NONE:
        return
    if process.supervisor is Supervisor.SYSTEMD:
        result = node.commands.run(
            ("systemctl", "is-active", str(process.unit)), _SYSTEMCTL_SECONDS
        )
        if result.status == 0:
            yield _ok("restart", f"{process.unit} can be restarted through systemd")
        else:
            yield _problem(
                "restart",
                f"systemd can't be reached for {process.unit}: {result.reason}",
                "set hostPID: true and run privileged; without systemd use --restart-mode=signal",
            )
        return
    try:
        node.control(facts.engine).preflight(process, mode)
    except ToolkitError as error:
        yield _problem("restart", error.message, error.hint)
    else:
        yield _ok("restart", f"supervised by {process.supervisor.value} {process.parent_pid}")


def _payload(node: Node, facts: HostFacts | None) -> Finding:
    effective = None if facts is None else facts.effective
    try:
        process = None if facts is None else facts.process
        search_path = () if process is None else process.search_path
        low_level = low_level_runtimes(effective, node.root, node.settings, search_path)
        plan = node.installer.plan(low_level)
    except ToolkitError as error:
        return _problem("payload", error.message, error.hint)
    return _ok("payload", f"{plan.source}: {plan.size >> 20} MiB, {plan.action.value}")


def _ok(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.OK, message=message)


def _problem(check: str, message: str, mend: str) -> Finding:
    return Finding(check=check, verdict=Verdict.PROBLEM, message=message, mend=mend)
