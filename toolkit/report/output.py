"""What `plan`, `status`, `verify` and `revert` print: results on stdout, for people or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from msgspec import to_builtins

from runtime_configs.formats.unified_diff import unified_diff
from runtime_configs.model import EffectiveConfig
from toolkit.apply.plan import FileChange
from toolkit.engine.facts import HostFacts, Source
from toolkit.errors import ExitCode, ToolkitError
from toolkit.logs import one_line
from toolkit.node import Node, open_node
from toolkit.report.doctor import Verdict, examine
from toolkit.report.paths import paths_read
from toolkit.report.preview import Preview, preview
from toolkit.report.status import ask, binaries, status_of
from toolkit.settings import Output, Settings
from toolkit.undo.revert import RevertReport

_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m", "#": "\033[2m"}
_PLAIN = "\033[0m"


def plan(settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
    """Show what a setup would change. Raises ToolkitError where that can't be told."""
    return planned(open_node(settings), output, detailed_exitcode=detailed_exitcode)


def planned(node: Node, output: Output, *, detailed_exitcode: bool) -> ExitCode:
    """Show it for a host that was looked at already."""
    found = preview(node)
    if output is Output.JSON:
        _print_json(_plan_document(node, found))
    else:
        lines = [*_diff_lines(node, found.plan.differing), *_remarks(node, found)]
        _print_lines(lines, coloured=_on_terminal())
    changes = detailed_exitcode and not found.nothing_to_do
    return ExitCode.CHANGES if changes else ExitCode.DONE


def verify(settings: Settings, output: Output) -> ExitCode:
    """Ask the engine which handlers it serves; DONE where all wanted ones are among them."""
    found = ask(open_node(settings))
    answer = found.answer
    if output is Output.JSON:
        _print_json(
            {
                "engine": None if found.engine is None else found.engine.value,
                "served": binaries(answer),
                "default": None if answer is None else answer.default,
                "plugin": found.plugin,
                "missing": list(found.missing),
                "ok": not found.missing,
            }
        )
    else:
        connected = [] if found.plugin is None else [f"NRI plugin connected, PID {found.plugin}"]
        missing = (f"missing: {each}" for each in found.missing)
        _print_lines([*_served_lines(answer), *connected, *missing])
    return ExitCode.FAILED if found.missing else ExitCode.DONE


def status(settings: Settings, output: Output) -> ExitCode:
    """Show what is installed, what of it is as we left it, and whether GPU pods can start.

    DONE also where nothing can be looked at: what it says is the answer.
    """
    try:
        document = status_of(open_node(settings))
    except ToolkitError as error:
        document = {"state": f"unknown: {error}"}
    if output is Output.JSON:
        _print_json(document)
        return ExitCode.DONE
    _print_lines(f"{name}: {_shown(value)}" for name, value in document.items())
    return ExitCode.DONE


def doctor(settings: Settings, output: Output) -> ExitCode:
    """Show what the checks of the host found; FAILED where something would stop a setup."""
    findings = examine(open_node(settings))
    if output is Output.JSON:
        _print_json({"findings": [to_builtins(each) for each in findings]})
    else:
        for each in findings:
            fix = f" -> {each.fix}" if each.fix else ""
            _print_lines([f"{each.verdict.value:8} {each.check}: {each.message}{fix}"])
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
        _print_lines(["nothing to revert: no setup of ours is on this host"])
        return ExitCode.DONE
    lines = [f"restored: {path}" for path in report.files]
    lines.append(f"engine reloaded: {'yes' if report.reloaded else 'no'}")
    lines.append(f"payload: {report.payload}")
    lines += [f"warning: {each}" for each in report.warnings]
    _print_lines(lines)
    return ExitCode.DONE


def _plan_document(node: Node, found: Preview) -> dict[str, object]:
    planned = found.plan
    changes = [
        {
            "path": each.path,
            "action": _action(each),
            "diff": _diff(node, each),
        }
        for each in planned.differing
    ]
    changes += [{"path": each.path, "action": each.action, "diff": ""} for each in found.specs]
    changes += [{"path": each.path, "action": "remove", "diff": ""} for each in found.removals]
    return {
        "changes": changes,
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


def _diff(node: Node, change: FileChange) -> str:
    """Return a diff that names the file itself: `patch` refuses to follow a symbolic link."""
    path = node.root.resolve(change.path)
    return unified_diff(path, change.now, change.after, known=change.base)


def _diff_lines(node: Node, changes: Iterable[FileChange]) -> list[str]:
    text = "".join(_diff(node, each) for each in changes)
    return text.split("\n")[:-1]


def _remarks(node: Node, found: Preview) -> list[str]:
    planned = found.plan
    payload = planned.payload
    lines = [
        (
            f"payload: {payload.action.value} {payload.toolkit_dir}"
            f" (digest {payload.digest[:12]}, {payload.size} bytes, from {payload.source})"
        )
    ]
    lines += [f"first: {each.path}: {each.reason}" for each in found.removals]
    lines += [f"CDI spec: {each.action} {each.path}" for each in found.specs]
    if found.driver_lacks is not None:
        end = "fail for want of" if node.settings.lifecycle.no_daemon else "wait for"
        lines.append(f"CDI spec: a setup would {end} the driver: {found.driver_lacks}")
    lines += [f"path: {each}" for each in paths_read(node, planned.facts)]
    if planned.facts is not None:
        lines += _engine_remarks(planned.facts)
    lines += [f"note: {each}" for each in planned.notes]
    wanted = "yes" if planned.reload.needed else "no"
    lines.append(f"reload: {wanted}, {planned.reload.reason}")
    return [f"# {one_line(each)}" for each in lines]


def _engine_remarks(facts: HostFacts) -> list[str]:
    version = "of unknown version" if facts.version is None else facts.version.text
    if facts.version_source is Source.COMMAND:
        version += " (by its binary)"
    lines = [f"engine: {facts.engine.value} {version} at {facts.socket} ({facts.distribution})"]
    source = "none" if facts.effective_source is None else facts.effective_source.value
    lines.append(f"config source: {'; '.join((source, *facts.unread))}")
    if facts.unreachable is not None:
        lines.append(f"engine: not reachable: {facts.unreachable}; a setup would wait and fail")
    return lines


def _served_lines(answer: EffectiveConfig | None) -> list[str]:
    if answer is None:
        return []
    return [
        f"{name} {handler.binary_path or '-'}{' (default)' if name == answer.default else ''}"
        for name, handler in sorted(answer.handlers.items())
    ]


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
