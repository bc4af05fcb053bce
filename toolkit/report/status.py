"""What is set up on this node, and what its engine serves; reads only."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.model import EffectiveConfig, EngineName
from toolkit.apply.plan import expectation
from toolkit.apply.served import faults_of, handler_runs, view_of
from toolkit.daemon import ready_file
from toolkit.daemon.drift import drift_of
from toolkit.engine.facts import Expectation, HandlerRun
from toolkit.engine.verify import part_met, run_faults, shortcomings
from toolkit.engine.wait import LOOK_SECONDS
from toolkit.errors import ToolkitError
from toolkit.host.clock import SystemClock, UninterruptedClock
from toolkit.journal.record import Record, State
from toolkit.node import Node, choose_engine, control_of
from toolkit.payload.records import PayloadRecord
from toolkit.request import config_request

T = TypeVar("T")

UNKNOWN = "unknown"


class Verification(Struct, frozen=True, kw_only=True):
    """What the engine serves and can execute, compared with the settings."""

    engine: EngineName | None = None
    """None in NRI mode and with ``--no-runtime-config``: no handler is wanted of any engine."""
    served: Mapping[str, str | None] = {}
    """The handlers that the engine reports, with their binaries."""
    default: str | None = None
    plugin: int | None = None
    """In NRI mode, the process whose plugin is registered with the engine."""
    missing: tuple[str, ...]
    tried: tuple[HandlerRun, ...] = ()
    """With ``verify --run``: what each handler started."""


def ask(node: Node, *, run: bool = False) -> Verification:
    """Ask the engine which handlers it serves; ``run`` starts something with each of them.

    Raises ToolkitError if no engine can be chosen.
    """
    if node.settings.nri.enabled:
        return _plugin(node)
    if node.settings.lifecycle.no_runtime_config:
        return _files(node)
    control = node.control(choose_engine(node, node.store.load()).name)
    facts = control.facts(UninterruptedClock().now() + LOOK_SECONDS)
    request = config_request(node.settings, facts, node.toolkit_dir)
    expected, config = expectation(request, None), facts.served.config
    spec = node.installer.cdi.path()
    if expected.cdi is not None and spec is not None:
        expected = replace(expected, cdi=posixpath.dirname(spec))
    view, hook = view_of(node, facts.engine, facts.process), request.hook_binary
    served = part_met(expected, config)
    runs: tuple[HandlerRun, ...] = ()
    if run:
        runs = handler_runs(node, control, served, SystemClock())
    return Verification(
        engine=facts.engine,
        served=_binaries(config),
        default=None if config is None else config.default,
        missing=(
            *shortcomings(expected, facts.served),
            *faults_of(view, served, config, hook),
            *run_faults(served, runs),
        ),
        tried=runs,
    )


def _plugin(node: Node) -> Verification:
    """Return whether an installer's plugin is registered: its ready file exists just as long."""
    holder = _holder(node)
    if holder is not None:
        return Verification(missing=(), plugin=int(holder["pid"]))
    socket = node.root.host_path(node.settings.nri.socket)
    lack = "" if os.path.exists(node.root.access(socket)) else ", which is not there"
    missing = f"no NRI plugin of this installer is connected to {socket}{lack}"
    return Verification(missing=(missing,))


def _files(node: Node) -> Verification:
    """Return whether the toolkit's files are installed, which is all that is wanted."""
    missing = f"the toolkit's files are not in {node.toolkit_dir}, or not as they were installed"
    there = node.installer.installed() is not None
    return Verification(missing=() if there else (missing,))


def _binaries(config: EffectiveConfig | None) -> dict[str, str | None]:
    """Return the handlers and binaries that a running engine reports."""
    if config is None:
        return {}
    return {name: each.binary_path for name, each in config.handlers.items()}


def status_of(node: Node) -> dict[str, object]:
    """Return what is set up and whether it is as we left it.

    Names what could not be read with the reason, and reports all else.
    """
    looks = _Looks()
    record = looks.at("journal", node.store.load, None)
    intent = looks.at("journal's intent", node.store.load_intent, None)
    journal = next(iter(looks.failed.values()), None)
    holder = looks.at("ready file", lambda: _holder(node), None)
    document: dict[str, object] = {
        "state": f"unknown: {journal}" if journal else _state(record, intent, holder),
        "pid": None if holder is None else int(holder["pid"]),
        "ready": None if "ready file" in looks.failed else holder is not None,
        "mode": _mode(node),
        "driver": looks.at("driver", lambda: _driver(node), None),
    }
    if record is not None:
        document |= _set_up(node, record, looks)
    if document.get("unexecutable"):
        document |= {"state": "set up, but a handler can't be executed", "ready": False}
    if looks.failed:
        document["unknown"] = dict(looks.failed)
    return document


def _set_up(node: Node, record: Record, looks: _Looks) -> dict[str, object]:
    """Return what a record says, compared with the host."""
    document: dict[str, object] = {
        "engine": None if record.engine is None else record.engine.value,
        "handlers": dict(record.handlers),
        "default": record.default,
        "files": {
            each.path: looks.at(each.path, partial(drift_of, node, each), UNKNOWN)
            for each in record.files
        },
    }
    if record.payload is not None:
        document["payload"] = looks.at("payload", lambda: _payload(node, record.payload), None)
    seen = looks.at("engine", lambda: _served(node, record), None)
    document["served"], document["unexecutable"] = seen or (None, ())
    return document


def _payload(node: Node, document: Mapping[str, object] | None) -> dict[str, object]:
    kept = PayloadRecord.from_json(document or {})
    return {
        "directory": posixpath.join(kept.install_dir, "toolkit"),
        "digest": kept.digest,
        "intact": node.installer.installed() == kept.digest,
    }


def _served(node: Node, record: Record) -> tuple[object, tuple[str, ...]]:
    """Return what the engine serves, or why nothing is known, and what of it cannot be executed."""
    try:
        control = control_of(node, record)
        if control is None:
            return None, ()
        facts = control.facts(UninterruptedClock().now() + LOOK_SECONDS)
    except ToolkitError as error:
        return str(error), ()
    if facts.served.lack is not None:
        return facts.served.lack.reason, ()
    config = facts.served.config
    expected = part_met(Expectation(served=record.handlers, default=record.default), config)
    view = view_of(node, facts.engine, facts.process)
    return _binaries(config), faults_of(view, expected, config)


class _Looks:
    """Reads one thing after the other, and keeps the reason where one could not be read."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def at(self, what: str, look: Callable[[], T], otherwise: T) -> T:
        """Return the result of one read."""
        try:
            return look()
        except (ToolkitError, OSError, ValueError, RecursionError) as error:
            self.failed[what] = str(error) or type(error).__name__
            return otherwise


def _state(record: Record | None, intent: Record | None, holder: Mapping[str, str] | None) -> str:
    if intent is not None:
        return "a setup is under way or was interrupted"
    if record is None:
        return "not set up"
    if record.state is not State.COMMITTED:
        return record.state.value
    return "ready" if holder is not None else "set up, not verified at present"


def _mode(node: Node) -> str:
    if node.settings.nri.enabled:
        return "NRI plugin: no engine config is touched"
    if node.settings.lifecycle.no_runtime_config:
        return "files only: no engine config is touched"
    return "engine config"


def _holder(node: Node) -> dict[str, str] | None:
    """Return what the ready file says of a daemon that still runs, else None."""
    content = node.view.read(node.root.host_path(node.settings.lifecycle.ready_file))
    if content is None:
        return None
    text = content.decode(errors="replace")
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    pid = found.get("pid", "")
    if not pid.isascii() or not pid.isdigit() or found.get("boot_id") != ready_file.boot_id():
        return None
    try:
        same = ready_file.start_time_of(pid) == found.get("start_time")
    except OSError:
        return None
    return found if same else None


def _driver(node: Node) -> str | None:
    loaded = Path(posixpath.join(node.root.proc, "driver/nvidia")).is_dir()
    return "loaded" if loaded else "not loaded: the wrappers run the low-level runtime alone"
