"""The directories that a setup writes to."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

from runtime_configs.distros.table import row_of
from runtime_configs.model import Role
from toolkit.apply.steps import touches_no_engine
from toolkit.engine.facts import HostFacts
from toolkit.host.mounts import memory_file_system, read_mountinfo
from toolkit.node import Node
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, not_looked_at, ok, problem, warning
from toolkit.report.paths import paths_read

_LITTLE_MIB = 2
"""Too little for a config file and its journal; the payload's own check knows its size."""
_PAYLOAD_INODES = 128
"""More than two generations of the payload and the journal use."""
_CONFIG_INODES = 8
"""A file and its directory, and both again during a replacement."""


def as_read(context: Context) -> Iterator[Finding]:
    """Report how each path was read."""
    for what, path in paths_read(context.node, context.facts):
        name = what.removeprefix("engine's ").replace(" ", "-").lower()
        yield ok("path", f"{what} {path}", f"path.{name}")


def of_the_toolkit(context: Context) -> Iterator[Finding]:
    """Check the install directory and the pid file's directory."""
    node, facts = context.node, context.facts
    elsewhere = "choose another directory with --toolkit-install-dir"
    row = None if facts is None else row_of(facts.distribution, facts.engine)
    if row is not None and row.install_dir is not None:
        elsewhere += f", on {row.name} {row.install_dir}"
    yield _writable(node, "install directory", node.store.install_dir, elsewhere)
    yield from _lasting(node, node.store.install_dir, elsewhere)
    pid_file = node.pid_file
    yield _writable(node, "pid file", posixpath.dirname(pid_file))
    spec = node.installer.cdi.path()
    if spec is not None:
        yield _writable(node, "CDI spec", posixpath.dirname(spec))


def _lasting(node: Node, path: str, elsewhere: str) -> Iterator[Finding]:
    """Check whether a directory is on a file system that a reboot empties."""
    device = os.stat(node.root.access(existing_part(node, path))).st_dev
    tables = (read_mountinfo(f"{node.root.proc}/{pid}/mountinfo") for pid in ("self", "1"))
    own, of_init = tables
    memory = memory_file_system(f"{os.major(device)}:{os.minor(device)}", own, of_init or own)
    if memory is not None:
        message = f"{path} is on {memory}: the toolkit's files are gone after a reboot"
        yield warning("install directory", message, elsewhere)


def existing_part(node: Node, path: str) -> str:
    """Return the deepest part of a path that exists."""
    missing = node.writer.missing_directories(path)
    return posixpath.dirname(missing[0]) if missing else path


def of_the_engine(context: Context) -> Iterator[Finding]:
    """Check whether the engine's config files can be written."""
    if touches_no_engine(context.node.settings):
        return
    if context.facts is None:
        yield not_looked_at("config file", "no engine was found")
        return
    for check, directory in dict.fromkeys(_written(context, context.facts)):
        yield _writable(context.node, check, directory)


def _written(context: Context, facts: HostFacts) -> Iterator[tuple[str, str]]:
    """Return the directories of the files in the plan, else of those a plan would have."""
    if context.plan is not None and context.plan.changes:
        for change in context.plan.changes:
            check = "hooks directory" if change.role is Role.HOOK else "config file"
            yield check, posixpath.dirname(change.path)
    elif context.hooks_alone:
        node = context.node
        yield "hooks directory", node.root.host_path(node.settings.crio.hooks_dir)
    else:
        paths = (facts.top_level, facts.drop_in)
        yield from (("config file", posixpath.dirname(each)) for each in paths if each is not None)


def _writable(node: Node, check: str, path: str, elsewhere: str = "") -> Finding:
    """Check a directory of ours; ``elsewhere`` says where else programs can be installed."""
    existing = existing_part(node, path)
    try:
        state = os.statvfs(node.root.access(existing))
    except OSError as error:
        return problem(check, f"{existing}: {error.strerror}", "mount it into the container")
    lack = lack_of_room(state, programs=bool(elsewhere))
    if lack is None:
        return ok(check, f"{path} ({_free(state)})")
    message, fix = lack
    return problem(check, f"{existing} {message}", ", or ".join(filter(None, (fix, elsewhere))))


def lack_of_room(state: os.statvfs_result, *, programs: bool) -> tuple[str, str] | None:
    """Return what a file system lacks and the fix, if any; ``programs`` are run from it."""
    if state.f_flag & os.ST_RDONLY:
        return "is read-only", "mount it writable"
    if programs and state.f_flag & os.ST_NOEXEC:
        return "is mounted noexec", ""
    free = state.f_bavail * state.f_frsize >> 20
    if free < _LITTLE_MIB:
        return f"has only {free} MiB free", "make room there"
    inodes = _PAYLOAD_INODES if programs else _CONFIG_INODES
    if state.f_files and state.f_favail < inodes:
        return f"has only {state.f_favail} inodes free, {inodes} are needed", "remove files there"
    return None


def _free(state: os.statvfs_result) -> str:
    """Return the free space and inodes; btrfs, which makes inodes as needed, reports none."""
    free = f"{state.f_bavail * state.f_frsize >> 20} MiB"
    return f"{free}, {state.f_favail} inodes free" if state.f_files else f"{free} free"
