"""The checks in their order; each looks at one subject and yields what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from toolkit.errors import ToolkitError
from toolkit.node import Node
from toolkit.report.doctor import engine, executable, nri, places, restart, rights, setup, system
from toolkit.report.doctor.context import Context, look
from toolkit.report.doctor.findings import Finding, identified, not_looked_at

Check = Callable[[Context], Iterator[Finding]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("versions", system.versions),
    ("settings", system.said),
    ("path", places.as_read),
    ("host root", rights.host_root),
    ("privileges", rights.privileges),
    ("hostPID", rights.host_processes),
    ("SELinux", rights.selinux),
    ("AppArmor", rights.app_armor),
    ("install directory", places.of_the_toolkit),
    ("driver", system.driver),
    ("journal", setup.journal),
    ("lock", setup.lock),
    ("engine", engine.reached),
    ("NRI", nri.plugin_socket),
    ("distribution", engine.distribution),
    ("config file", places.of_the_engine),
    ("CRI", engine.cri),
    ("settings", engine.contradictions),
    ("cgroup driver", engine.cgroup_driver),
    ("restart", restart.restart),
    ("payload", setup.payload),
    ("binaries", executable.binaries),
    ("plan", setup.plan),
)
"""Those of the host come first. The name is for a check that itself fails."""


def examine(node: Node) -> tuple[Finding, ...]:
    """Return what each check found. A check that fails is a finding that can't be determined."""
    sight = look(node)
    found = (finding for name, check in CHECKS for finding in _guarded(name, check, sight))
    return tuple(identified(found))


def _guarded(name: str, check: Check, sight: Context) -> Iterator[Finding]:
    try:
        yield from check(sight)
    except ToolkitError as error:
        yield not_looked_at(name, str(error))
    except OSError as error:
        yield not_looked_at(name, f"{error.filename}: {error.strerror}")
