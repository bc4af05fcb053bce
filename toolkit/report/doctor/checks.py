"""The checks in order; each examines one subject and yields its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from toolkit.errors import ToolkitError
from toolkit.node import Node
from toolkit.report.doctor import (
    cdi,
    engine,
    executable,
    nri,
    places,
    rights,
    setup,
    system,
)
from toolkit.report.doctor.context import Context, look
from toolkit.report.doctor.findings import Finding, Verdict, identified, not_looked_at, refused

Check = Callable[[Context], Iterator[Finding]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("versions", system.versions),
    ("settings", system.adjusted_settings),
    ("path", places.as_read),
    ("host root", rights.host_root),
    ("privileges", rights.privileges),
    ("hostPID", rights.host_processes),
    ("SELinux", rights.selinux),
    ("AppArmor", rights.app_armor),
    ("install directory", places.of_the_toolkit),
    ("driver", system.driver),
    ("CDI", cdi.specs),
    ("journal", setup.journal),
    ("lock", setup.lock),
    ("engine", engine.reached),
    ("NRI", nri.plugin_socket),
    ("distribution", engine.distribution),
    ("config file", places.of_the_engine),
    ("CRI", engine.cri),
    ("settings", engine.contradictions),
    ("cgroup driver", engine.cgroup_driver),
    ("restart", engine.restart),
    ("payload", setup.payload),
    ("binaries", executable.binaries),
    ("plan", setup.plan),
)
"""Those of the host come first. The name is used if the check itself fails."""


def examine(node: Node) -> tuple[Finding, ...]:
    """Return the findings of each check. A check that fails gives an unknown finding."""
    context = look(node)
    found = [finding for name, check in CHECKS for finding in _guarded(name, check, context)]
    return tuple(identified(_deduplicated(found, context.plan_error or context.journal_error)))


def _deduplicated(found: list[Finding], error: ToolkitError | None) -> Iterator[Finding]:
    """Drop a plan's problem that another check reports; a start's error is always a problem."""
    problems = [each for each in found if each.verdict is Verdict.PROBLEM]
    for each in found:
        same = [other for other in problems if other.message == each.message and other != each]
        if each.check == "plan" and each.verdict is Verdict.PROBLEM and same:
            yield not_looked_at("plan", f"{same[0].check} comes first")
        else:
            yield each
    if error is not None and not problems:
        yield refused("plan", error)


def _guarded(name: str, check: Check, context: Context) -> Iterator[Finding]:
    try:
        yield from check(context)
    except ToolkitError as error:
        yield not_looked_at(name, str(error))
    except OSError as error:
        yield not_looked_at(name, f"{error.filename}: {error.strerror}")
