"""The layout of a command's result for a person: columns, within 80 characters.

Pure functions from a document to lines, so that tests compare the documentation's samples with
them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from msgspec import Struct

from toolkit.logs import one_line

WIDTH = 80
_DIGEST = 12
"""Letters of a digest that are shown."""


class Line(Struct, frozen=True, kw_only=True):
    """A line, and the part of it in colour."""

    text: str
    colour: str = ""
    """A name that ``toolkit.report.terminal`` knows; empty: none."""
    letters: int | None = None
    """The number of coloured letters, from the first; None: all."""


_OF_DIFF = {"+": "green", "-": "red", "@": "cyan", "#": "dim"}


def status_lines(document: Mapping[str, object]) -> Iterator[Line]:
    """Return what is set up: one value, file or handler per line."""
    payload = document.get("payload")
    rows = {
        "state": document["state"],
        "ready": _ready(document),
        **{name: document[name] for name in ("mode", "driver", "engine") if name in document},
        **({"payload": _payload(payload)} if isinstance(payload, Mapping) else {}),
    }
    served = document.get("served")
    if isinstance(served, str):
        rows["served"] = served
    for name, value in rows.items():
        yield from _row(name, "-" if value is None else str(value))
    files = cast("Mapping[str, str]", document.get("files") or {})
    if files:
        yield Line(text="files")
        column = max(map(len, files.values()))
        for path, state in files.items():
            colour = "" if state == "as we left it" else "yellow"
            yield Line(text=f"  {state:<{column}}  {one_line(path)}", colour=colour)
    yield from _handlers(document)
    for each in cast("Iterable[str]", document.get("unexecutable") or ()):
        yield Line(text=one_line(each), colour="red")
    for what, why in cast("Mapping[str, str]", document.get("unknown") or {}).items():
        yield from _row("unknown", f"{what}: {why}", colour="cyan")


def plan_lines(diff: Iterable[str], remarks: Iterable[str]) -> Iterator[Line]:
    """Return a diff, with all else as ``#`` lines, which ``patch`` skips."""
    for text in (*diff, *(f"# {one_line(each)}" for each in remarks)):
        yield Line(text=text, colour=_OF_DIFF.get(text[:1], ""))


def handler_lines(handlers: Mapping[str, str | None], default: str | None) -> Iterator[Line]:
    """Return one handler per line, with its binary."""
    column = max(map(len, handlers), default=0)
    for name, path in sorted(handlers.items()):
        mark = " (default)" if name == default else ""
        yield Line(text=one_line(f"{name:<{column}}  {path or '-'}{mark}"))


def _handlers(document: Mapping[str, object]) -> Iterator[Line]:
    """Return the handlers that were set up, with those that the engine serves."""
    ours = cast("Mapping[str, str]", document.get("handlers") or {})
    served = document.get("served")
    if not isinstance(served, Mapping):
        if ours:
            yield Line(text=f"handlers, as set up (default {document.get('default')})")
            for line in handler_lines(ours, None):
                yield Line(text=f"  {line.text}")
        return
    yield Line(text=f"handlers, as the engine serves them (default {document.get('default')})")
    names = sorted({*ours, *served})
    column = max(map(len, names), default=0)
    for name in names:
        path, colour = served.get(name) or "-", ""
        if name in ours and served.get(name) != ours[name]:
            found = f"served with {path}" if name in served else "not served"
            path, colour = f"{found}, set up with {ours[name]}", "red"
        yield Line(text=one_line(f"  {name:<{column}}  {path}"), colour=colour)


def _ready(document: Mapping[str, object]) -> str:
    ready, pid = document.get("ready"), document.get("pid")
    if ready is None:
        return "unknown"
    return f"yes, PID {pid}" if ready else "no"


def _payload(payload: Mapping[str, object]) -> str:
    state = "intact" if payload["intact"] else "not as it was installed"
    return f"{payload['directory']}, {str(payload['digest'])[:_DIGEST]}, {state}"


def _row(name: str, text: str, colour: str = "") -> Iterator[Line]:
    before = f"{name:<8} "
    for line in wrapped(text, len(before)):
        yield Line(text=f"{before}{line}", colour=colour)
        before = " " * len(before)


def wrapped(text: str, indent: int) -> list[str]:
    """Return a text's lines, broken only at spaces, so that a path can be copied whole."""
    return textwrap.wrap(
        one_line(text), WIDTH - indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
