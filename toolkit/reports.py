"""What `plan`, `status`, `verify` and `revert` print: results on stdout, for people or as JSON."""

from __future__ import annotations

import json
import os
import posixpath
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from runtime_configs.model import EffectiveConfig
from toolkit import ready
from toolkit.diffs import unified_diff
from toolkit.doctor import Verdict, examine, given_paths
from toolkit.drift import drift_of
from toolkit.engine.facts import HostFacts
from toolkit.errors import ExitCode, JournalError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal import Record, State
from toolkit.node import Node, choose_engine, open_node
from toolkit.payload.installer import PayloadRecord
from toolkit.plan import FileChange, Plan
from toolkit.revert import RevertReport
from toolkit.settings import Output, Settings
from toolkit.setup import LOOK_SECONDS, make_plan
from toolkit.wanted import desired_handlers

_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m", "#": "\033[2m"}
_PLAIN = "\033[0m"


def plan(settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
    """Show what a set-up would change. Raises ToolkitError where that can't be told."""
    node = open_node(settings)
    record = node.store.load()
    planned = make_plan(node, record, UninterruptedClock(), patience=None).plan
    if output is Output.JSON:
        _print_json(_plan_document(planned))
    else:
        lines = [*_diff_lines(planned.differing), *_remarks(node, planned)]
        _print_lines(lines, coloured=_on_terminal())
    changes = detailed_exitcode and not planned.nothing_to_do
    return ExitCode.CHANGES if changes else ExitCode.DONE


def verify(settings: Settings, output: Output) -> ExitCode:
    """Ask the engine which handlers it serves; DONE where all wanted ones are among them."""
    node = open_node(settings)
    control = node.control(choose_engine(node))
    facts = control.facts(UninterruptedClock().now() + LOOK_SECONDS)
    answer = _answer(facts)
    missing = _missing(node, facts)
    if output is Output.JSON:
        _print_json(
            {
                "engine": facts.engine.value,
                "served": _served(answer),
                "default": None if answer is None else answer.default,
                "missing": missing,
                "ok": not missing,
            }
        )
    else:
        _print_lines([*_served_lines(answer), *(f"missing: {each}" for each in missing)])
    return ExitCode.FAILED if missing else ExitCode.DONE


def status(settings: Settings, output: Output) -> ExitCode:
    """Show what is installed, what of it is as we left it, and whether GPU pods can start."""
    node = open_node(settings)
    try:
        document = _status(node)
    except JournalError as error:
        document = {"state": f"unknown: {error}"}
    if output is Output.JSON:
        _print_json(document)
        return ExitCode.DONE
    _print_lines(f"{name}: {_shown(value)}" for name, value in document.items())
    return ExitCode.DONE


def doctor(settings: Settings, output: Output) -> ExitCode:
    """Show what the checks of the host found; FAILED where something would stop a set-up."""
    findings = examine(open_node(settings))
    if output is Output.JSON:
        _print_json({"findings": [asdict(each) for each in findings]})
    else:
        for each in findings:
            mend = f" -> {each.mend}" if each.mend else ""
            _print_lines([f"{each.verdict.value:8} {each.check}: {each.message}{mend}"])
    failed = any(each.verdict is Verdict.PROBLEM for each in findings)
    return ExitCode.FAILED if failed else ExitCode.DONE


def reverted(report: RevertReport | None, output: Output) -> ExitCode:
    """Show what a revert did."""
    if output is Output.JSON:
        _print_json(
            {
                "files": [] if report is None else list(report.files),
                "reloaded": report is not None and report.reloaded,
                "payload": "none" if report is None else report.payload,
                "held_by": [] if report is None else list(report.kept_for),
                "warnings": [] if report is None else list(report.warnings),
            }
        )
        return ExitCode.DONE
    if report is None:
        _print_lines(["nothing to revert: no set-up of ours is on this host"])
        return ExitCode.DONE
    lines = [f"put back: {path}" for path in report.files]
    lines.append(f"engine reloaded: {'yes' if report.reloaded else 'no'}")
    lines.append(f"payload: {report.payload}")
    lines += [f"warning: {each}" for each in report.warnings]
    _print_lines(lines)
    return ExitCode.DONE


def _plan_document(planned: Plan) -> dict[str, object]:
    return {
        "changes": [
            {
                "path": each.path,
                "action": _action(each),
                "diff": unified_diff(each.path, each.now, each.after),
            }
            for each in planned.differing
        ],
        "payload": {"action": planned.payload.action.value, "digest": planned.payload.digest},
        "reload": {
            "needed": planned.reload.needed,
            "mode": planned.reload.mode.value,
            "reason": planned.reload.reason,
        },
    }


def _action(change: FileChange) -> str:
    if change.now is None:
        return "create"
    return "remove" if change.after is None else "edit"


def _diff_lines(changes: Iterable[FileChange]) -> list[str]:
    text = "".join(unified_diff(each.path, each.now, each.after) for each in changes)
    return text.split("\n")[:-1]


def _remarks(node: Node, planned: Plan) -> list[str]:
    payload = planned.payload
    lines = [
        (
            f"payload: {payload.action.value} {payload.toolkit_dir}"
            f" (digest {payload.digest[:12]}, {payload.size} bytes, from {payload.source})"
        )
    ]
    if node.store.load_intent() is not None:
        lines.append("journal: an interrupted set-up is settled first")
    lines += [f"path: {each}" for each in map(node.root.explain, given_paths(node))]
    if planned.facts is not None:
        lines += _engine_remarks(planned.facts)
    lines += [f"note: {each}" for each in planned.notes]
    wanted = "yes" if planned.reload.needed else "no"
    lines.append(f"reload: {wanted}, {planned.reload.reason}")
    return [f"# {each}" for each in lines]


def _engine_remarks(facts: HostFacts) -> list[str]:
    version = "of unknown version" if facts.version is None else facts.version.text
    lines = [f"engine: {facts.engine.value} {version} at {facts.socket} ({facts.distribution})"]
    if facts.unreachable is not None:
        lines.append(f"engine: not reachable: {facts.unreachable}; a set-up would wait and fail")
    return lines


def _answer(facts: HostFacts) -> EffectiveConfig | None:
    """Return what the engine says that it serves; what its files say of one that is down is none.

    None where it did not answer.
    """
    return facts.effective if facts.unreachable is None else None


def _served(answer: EffectiveConfig | None) -> dict[str, str | None]:
    if answer is None:
        return {}
    return {name: each.binary_path for name, each in answer.handlers.items()}


def _served_lines(answer: EffectiveConfig | None) -> list[str]:
    if answer is None:
        return []
    return [
        f"{name} {handler.binary_path or '-'}{' (default)' if name == answer.default else ''}"
        for name, handler in sorted(answer.handlers.items())
    ]


def _missing(node: Node, facts: HostFacts) -> list[str]:
    """Return a line for everything wanted that the engine does not serve."""
    answer = _answer(facts)
    if answer is None:
        return [facts.unreachable or "the engine could not be asked"]
    chosen = node.settings.engines[facts.engine]
    wanted = desired_handlers(
        facts.engine, chosen, posixpath.join(node.store.install_dir, "toolkit")
    )
    lines = []
    for handler in wanted.handlers:
        found = answer.handlers.get(handler.name)
        if found is None:
            lines.append(f"handler {handler.name}: not served")
        elif found.binary_path != handler.binary_path:
            lines.append(
                f"handler {handler.name}: served with {found.binary_path},"
                f" not with {handler.binary_path}"
            )
    if wanted.default is not None and answer.default != wanted.default:
        lines.append(f"default handler: {answer.default}, not {wanted.default}")
    return lines


def _status(node: Node) -> dict[str, object]:
    record, intent = node.store.load(), node.store.load_intent()
    holder = _holder(node)
    document: dict[str, object] = {
        "state": _state(record, intent, holder),
        "pid": None if holder is None else int(holder["pid"]),
        "ready": holder is not None,
        "mode": _mode(node),
        "driver": "loaded" if _driver_loaded(node) else "not loaded: wrappers run the engine's own",
    }
    if record is None:
        return document
    document["engine"] = None if record.engine is None else record.engine.value
    document["handlers"] = dict(record.handlers)
    document["default"] = record.default
    document["files"] = {each.path: drift_of(node, each).value for each in record.files}
    if record.payload is not None:
        kept = PayloadRecord.from_json(record.payload)
        document["payload"] = {
            "directory": posixpath.join(kept.install_dir, "toolkit"),
            "digest": kept.digest,
            "intact": node.installer.installed() == kept.digest,
        }
    document["served"] = _ask(node, record)
    return document


def _ask(node: Node, record: Record) -> object:
    if record.engine is None:
        return None
    try:
        facts = node.control(record.engine).facts(UninterruptedClock().now() + LOOK_SECONDS)
    except ToolkitError as error:
        return str(error)
    answer = _answer(facts)
    return _served(answer) if answer is not None else facts.unreachable


def _state(record: Record | None, intent: Record | None, holder: Mapping[str, str] | None) -> str:
    if intent is not None:
        return "a set-up is under way or was interrupted"
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
    """Return what the ready file says of a daemon that still lives, else None."""
    content = node.view.read(node.root.host_path(node.settings.lifecycle.ready_file))
    if content is None:
        return None
    found = dict(line.split("=", 1) for line in content.decode().splitlines() if "=" in line)
    if found.get("boot_id") != ready.boot_id():
        return None
    try:
        same = ready.start_time_of(found.get("pid", "")) == found.get("start_time")
    except OSError:
        return None
    return found if same else None


def _driver_loaded(node: Node) -> bool:
    return Path(posixpath.join(node.root.proc, "driver/nvidia")).is_dir()


def _shown(value: object) -> str:
    """Return a value as one line of text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _on_terminal() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _print_lines(lines: Iterable[str], *, coloured: bool = False) -> None:
    for line in lines:
        colour = _COLOURS.get(line[:1]) if coloured else None
        text = f"{colour}{line}{_PLAIN}" if colour else line
        sys.stdout.buffer.write(text.encode(errors="surrogateescape") + b"\n")


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
