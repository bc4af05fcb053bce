"""Compare what is served with what is expected. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from runtime_configs.model import EffectiveConfig, ServedHandler
from toolkit.engine.facts import Expectation, HandlerRun, Lack, LackKind, Served


def shortcomings(expected: Expectation, served: Served) -> tuple[str, ...]:
    """Describe each unmet expectation in one line; empty if all are met."""
    if served.config is None:
        lack = served.lack or Lack(reason="it does not answer")
        return () if _expects_no_cri(expected, lack) else (lack.reason,)
    return (
        *_missing(expected, served.config, served.listed),
        *_not_removed(expected, served.config),
        *_wrong_default(expected, served.config),
        *_without_cdi(expected, served.config),
    )


def handlers_to_run(expected: Expectation) -> tuple[str, ...]:
    """Return the handlers to try, empty for the default one."""
    default = () if expected.default is None else ("",)
    return (*(name for name, _ in expected.served), *default)


def run_faults(expected: Expectation, runs: Iterable[HandlerRun]) -> tuple[str, ...]:
    """Describe each handler that failed to start, or started something unexpected, in one line."""
    wanted = dict(expected.served)
    return tuple(
        fault
        for each in runs
        if (fault := _run_fault(each, wanted.get(each.handler or expected.default or "")))
    )


def _run_fault(run: HandlerRun, wanted: str | None) -> str | None:
    who = f"handler {run.handler}" if run.handler else "the default handler"
    if run.failure:
        return f"{who} started nothing: {run.failure}"
    if run.binary is None or wanted is None or _same(run.binary, wanted):
        return None
    return f"{who} started {run.binary}, not {wanted}"


def part_met(expected: Expectation, config: EffectiveConfig | None) -> Expectation:
    """Return the part of an expectation that a config meets: handlers and default."""
    if config is None:
        return Expectation()
    handlers = config.handlers
    return Expectation(
        served=tuple(
            (name, binary)
            for name, binary in expected.served
            if name in handlers and _same(handlers[name].binary_path, binary)
        ),
        default=expected.default if expected.default == config.default else None,
    )


def executed(expected: Expectation, config: EffectiveConfig | None) -> tuple[tuple[str, str], ...]:
    """Return the expected handlers with the binary each executes: a path, or a name in the PATH.

    A default handler that is not ours counts too; one whose shim is not a runc shim names no
    binary.
    """
    found = [(f"handler {name}", binary) for name, binary in expected.served]
    default = None if config is None else config.handlers.get(expected.default or "")
    if default is not None and default.name not in dict(expected.served):
        binary = _low_level(default)
        if binary is not None:
            found.append((f"the default handler {default.name}", binary))
    return tuple(found)


def _low_level(handler: ServedHandler) -> str | None:
    """Return the low-level runtime that starts a handler's containers.

    Without a binary a runc shim looks up ``runc`` (go-runc: DefaultCommand), CRI-O the handler's
    name (pkg/config: ValidateRuntimePath).
    """
    if handler.binary_path is not None:
        return handler.binary_path
    kind = handler.runtime_type or "oci"
    if kind.startswith("io.containerd.runc."):
        return "runc"
    return handler.name if kind == "oci" else None


def _expects_no_cri(expected: Expectation, lack: Lack) -> bool:
    """Return whether no handler is expected and the config disables the CRI."""
    wanted = bool(expected.served) or expected.default is not None or expected.cdi is not None
    return not wanted and lack.kind is LackKind.DISABLED


def _missing(
    expected: Expectation, served: EffectiveConfig, listed: frozenset[str] | None
) -> Iterator[str]:
    for name, binary in expected.served:
        handler = served.handlers.get(name)
        if handler is None:
            yield f"handler {name} is not served"
        elif not _same(handler.binary_path, binary):
            found = handler.binary_path or "no binary of its own"
            yield f"handler {name} has {found}, not {binary}"
        elif expected.runnable and handler.flaw:
            yield f"handler {name} {handler.flaw}"
        elif listed is not None and name not in listed:
            yield f"handler {name} is configured but not listed as served"


def _not_removed(expected: Expectation, served: EffectiveConfig) -> Iterator[str]:
    for name, binary in expected.absent:
        handler = served.handlers.get(name)
        if handler is not None and _same(handler.binary_path, binary):
            yield f"handler {name} is still served with {binary}"


def _wrong_default(expected: Expectation, served: EffectiveConfig) -> Iterator[str]:
    if expected.default is not None and served.default != expected.default:
        yield f"the default handler is {served.default or 'none'}, not {expected.default}"
    if expected.absent_default is not None and served.default == expected.absent_default:
        yield f"the default handler is still {served.default}"


def _without_cdi(expected: Expectation, served: EffectiveConfig) -> Iterator[str]:
    directories = served.cdi_dirs
    if expected.cdi is None or directories is None:
        return
    if not directories:
        yield "CDI is not enabled"
    elif expected.cdi and all(_real(each) != _real(expected.cdi) for each in directories):
        yield f"CDI specs are read from {', '.join(directories)}, not from {expected.cdi}"


def _real(directory: str) -> str:
    """Return a directory with the link /var/run resolved."""
    path = posixpath.normpath(directory)
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def _same(found: str | None, wanted: str) -> bool:
    return found is not None and posixpath.normpath(found) == posixpath.normpath(wanted)
