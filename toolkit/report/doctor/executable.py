"""Whether the engine can execute what a setup installs, seen through the engine's own mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from runtime_configs.model import EngineName
from toolkit.apply.served import FIX, faults_of, view_of
from toolkit.engine.executable import root_of
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.engine.verify import part_met
from toolkit.errors import HostPathError
from toolkit.node import Node
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, ok, problem, warning
from toolkit.report.doctor.places import existing_part


def binaries(context: Context) -> Iterator[Finding]:
    """Check the binaries that are served, or else the directory that will hold them."""
    facts, record = context.facts, context.record
    if facts is None or facts.process is None or context.node.settings.lifecycle.no_runtime_config:
        return
    expected = Expectation()
    if record is not None:
        expected = Expectation(served=record.handlers, default=record.default)
    served = part_met(expected, facts.served.config)
    if not served.served:
        yield from _directory(context.node, facts.engine, facts.process)
        return
    view = view_of(context.node, facts.engine, facts.process)
    faults = faults_of(view, served, facts.served.config)
    staged = context.plan is not None and context.plan.payload.changes
    for each in faults:
        if staged:
            yield warning("binaries", each, "none is needed: a start installs the files again")
        else:
            yield problem("binaries", each, FIX)
    if not faults:
        names = ", ".join(name for name, _ in served.served)
        yield ok("binaries", f"{facts.engine} can execute those of {names}")


def _directory(node: Node, name: EngineName, process: EngineProcess) -> Iterator[Finding]:
    """Check whether the engine sees the same directory as this process at the toolkit's path."""
    root = root_of(process.root, node.root)
    if root is None or root is node.root:
        return
    path = existing_part(node, node.store.install_dir)
    engine = f"{name} (PID {process.pid})"
    fix = "unless a restart of the engine changes that, choose another --toolkit-install-dir"
    try:
        seen, here = os.stat(root.access(path)), os.stat(node.root.access(path))
        barred = os.statvfs(root.access(path)).f_flag & os.ST_NOEXEC
    except (OSError, HostPathError) as error:
        yield warning("binaries", f"{engine} can't see {path}: {error}", fix)
        return
    if not os.path.samestat(seen, here):
        message = f"{engine} has another directory at {path} in its mount namespace than the host"
        yield warning("binaries", message, fix)
    elif barred:
        yield warning("binaries", f"{engine} has {path} on a mount that is noexec", fix)
