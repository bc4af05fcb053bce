"""What `plan`, `status`, `verify` and `revert` print: results on stdout, for people or as JSON.

Each function loads the code that computes its own result.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import to_builtins

from toolkit.engine.facts import HostFacts, Source
from toolkit.errors import ExitCode, ToolkitError
from toolkit.logs import is_terminal
from toolkit.node import Node, open_node
from toolkit.report.layout import Line, handler_lines, plan_lines, status_lines
from toolkit.report.terminal import print_json, print_lines
from toolkit.settings import Color, Output, Settings

if TYPE_CHECKING:
    from toolkit.apply.changes import FileChange
    from toolkit.report.preview import Preview
    from toolkit.report.status import Verification
    from toolkit.undo.engine import GoBackReport


def plan(node: Node, output: Output, *, detailed_exitcode: bool) -> ExitCode:
    """Show what a setup would change.

    Raises the ToolkitError that a start would end with, after the text where there is a plan.
    """
    from toolkit.daemon.lock_and_ready import require_free
    from toolkit.report.preview import preview

    require_free(node)
    found = preview(node)
    if output is Output.TEXT:
        diff = "".join(_diff(node, each) for each in found.plan.differing).split("\n")[:-1]
        print_lines(plan_lines(diff, _remarks(node, found)), node.settings.color)
    if found.refusal is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()  # the text comes before the error
        raise found.refusal
    if output is Output.JSON:
        print_json(_plan_document(node, found))
    changes = detailed_exitcode and not found.nothing_to_do
    return ExitCode.CHANGES if changes else ExitCode.DONE


def verify(settings: Settings, output: Output, *, run: bool) -> ExitCode:
    """Ask the engine which handlers it serves; return DONE where all wanted ones are served."""
    from toolkit.report.status import ask

    found = ask(open_node(settings), run=run)
    if output is Output.JSON:
        print_json({**to_builtins(found), "ok": not found.missing})
    else:
        print_lines(_verified(found), settings.color)
    return ExitCode.FAILED if found.missing else ExitCode.DONE


def status(settings: Settings, output: Output) -> ExitCode:
    """Show what is installed, whether it is as we left it, and whether GPU pods can start.

    Returns DONE even if nothing can be read: the output says so.
    """
    from toolkit.report.status import status_of

    try:
        document = status_of(open_node(settings))
    except ToolkitError as error:
        document = {"state": f"unknown: {error}"}
    if output is Output.JSON:
        print_json(document)
        return ExitCode.DONE
    print_lines(status_lines(document), settings.color)
    return ExitCode.DONE


def doctor(settings: Settings, output: Output) -> ExitCode:
    """Show the findings; return FAILED where one would stop a setup."""
    from toolkit.report.doctor import Verdict, examine
    from toolkit.report.doctor.layout import doctor_lines, doctor_records

    findings = examine(open_node(settings))
    if output is Output.JSON:
        print_json({"findings": to_builtins(findings)})
    else:
        laid_out = doctor_lines if is_terminal(sys.stdout) else doctor_records
        print_lines(laid_out(findings), settings.color)
    failed = any(each.verdict is Verdict.PROBLEM for each in findings)
    return ExitCode.FAILED if failed else ExitCode.DONE


def reverted(report: GoBackReport | None, output: Output, color: Color) -> ExitCode:
    """Show what a revert did."""
    from toolkit.undo.engine import GoBackReport

    done = report or GoBackReport()
    if output is Output.JSON:
        print_json(
            {
                "files": done.files,
                "reloaded": done.reloaded,
                "payload": done.payload,
                "held_by": done.kept_for,
                "warnings": done.warnings,
            }
        )
    else:
        print_lines(_reverted(report), color)
    return ExitCode.DONE


def _reverted(report: GoBackReport | None) -> Iterator[Line]:
    if report is None:
        yield Line(text="nothing to revert: no setup of ours is on this host")
        return
    for path in report.files:
        yield Line(text=f"restored: {path}")
    yield Line(text=f"engine reloaded: {'yes' if report.reloaded else 'no'}")
    yield Line(text=f"payload: {report.payload}")
    for warning in report.warnings:
        yield Line(text=f"warning: {warning}", colour="yellow")


def _plan_document(node: Node, found: Preview) -> dict[str, object]:
    planned = found.plan
    changes = [
        {"path": each.path, "action": _action(each), "diff": _diff(node, each)}
        for each in planned.differing
    ]
    changes += [{"path": each.path, "action": each.action, "diff": ""} for each in found.specs]
    changes += [{"path": each.path, "action": "remove", "diff": ""} for each in found.steps]
    return {
        "changes": changes,
        "payload": {"action": planned.payload.action.value, "digest": planned.payload.digest},
        "reload": to_builtins(planned.reload),
        "pending": list(found.pending),
    }


def _action(change: FileChange) -> str:
    if change.now is None:
        return "create"
    return "remove" if change.after is None else "edit"


def _diff(node: Node, change: FileChange) -> str:
    """Return a diff with the file's real path: `patch` refuses to follow a symbolic link."""
    from runtime_configs.formats.unified_diff import unified_diff

    path = node.root.resolve(change.path)
    return unified_diff(path, change.now, change.after, known=change.base)


def _remarks(node: Node, found: Preview) -> list[str]:
    from toolkit.report.paths import paths_read

    planned = found.plan
    payload = planned.payload
    lines = [
        (
            f"payload: {payload.action.value} {payload.toolkit_dir}"
            f" (digest {payload.digest[:12]}, {payload.size} bytes, from {payload.source})"
        )
    ]
    lines += [f"first: {each.path}: {each.reason}" for each in found.steps]
    lines += [f"CDI spec: {each.action} {each.path}" for each in found.specs]
    if found.driver_lacks is not None:
        end = "fail without" if node.settings.lifecycle.no_daemon else "wait for"
        lines.append(f"CDI spec: a setup would {end} the driver: {found.driver_lacks}")
    lines += [f"path: {what} {path}" for what, path in paths_read(node, planned.facts)]
    if planned.facts is not None:
        lines += _engine_remarks(planned.facts)
    lines += [f"note: {each}" for each in planned.notes]
    lines += [f"pending edit: {each}" for each in found.pending]
    wanted = "yes" if planned.reload.needed else "no"
    lines.append(f"reload: {wanted}, {planned.reload.reason}")
    return lines


def _engine_remarks(facts: HostFacts) -> list[str]:
    version = facts.shown_version
    if facts.version_source is Source.COMMAND:
        version += " (by its binary)"
    lines = [f"engine: {facts.engine.value} {version} at {facts.socket} ({facts.distribution})"]
    source = "none" if facts.effective_source is None else facts.effective_source.value
    lines.append(f"config source: {'; '.join((source, *facts.unread))}")
    if facts.unreachable is not None:
        lines.append(f"engine: not reachable: {facts.unreachable}; a setup would wait and fail")
    return lines


def _verified(found: Verification) -> Iterator[Line]:
    yield from handler_lines(found.served, found.default)
    for run in found.tried:
        who = run.handler or "the default handler"
        if run.untried:
            yield Line(text=f"not tried: {who}: {run.untried}", colour="yellow")
        elif not run.failure:
            yield Line(text=f"started: {who} {run.binary or '(its binary is not known)'}")
    if found.plugin is not None:
        yield Line(text=f"NRI plugin connected, PID {found.plugin}")
    for each in found.missing:
        yield Line(text=f"missing: {each}", colour="red")
