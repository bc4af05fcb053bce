"""Edit a JSON document as text: only changed members are touched.

New members follow the last one of their object, in its own style. All other numbers, escapes and
repeated names stay as written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from msgspec import Struct

from runtime_configs.formats.json_spans import Member, members_of
from runtime_configs.formats.values import Verbatim, same

_OWN_LINE = re.compile(r"\r?\n[ \t]*\Z")


class _Style(Struct, frozen=True):
    """How the members of an object are written."""

    gap: str
    """Between a comma and the next member: of those on lines of their own, newline and indent."""
    step: str = "  "
    """By how much deeper lines are indented."""
    colon: str = ": "


def edited(text: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """Return the text of ``old``, edited to decode to ``new``; the caller checks the result."""
    text = text if text.strip() else "{}\n"
    start, end = text.index("{"), text.rindex("}") + 1
    newline = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    around = _Style(newline + text[text.rfind("\n", 0, start) + 1 : start])
    return text[:start] + _edited_object(text[start:end], old, new, around) + text[end:]


def _edited_object(
    text: str, old: Mapping[str, object], new: Mapping[str, object], around: _Style
) -> str:
    """Return the text of an object; ``around`` is the style of the line on which it begins."""
    members = members_of(text, 0)
    if not members:
        return _rendered(new, around)
    style = _style_of(text, members, around)
    counting = {each.name: each for each in members}
    parts: list[tuple[str, str]] = []
    for each in members:
        if each.name not in new:
            continue
        value = text[each.value : each.end]
        was, will = old[each.name], new[each.name]
        if each is counting[each.name] and not same(was, will):
            if isinstance(was, Mapping) and isinstance(will, Mapping):
                value = _edited_object(value, was, will, style)
            else:
                value = _rendered(will, style)
        blanks = text[each.end : each.after] if each is not members[-1] else ""
        part = text[each.start : each.value] + value + blanks
        parts.append((text[each.begin : each.start], part))
    added = {name: value for name, value in new.items() if name not in old}
    parts += [(style.gap, _member(name, value, style)) for name, value in added.items()]
    if not parts:
        return "{}"
    opening, closing = text[: members[0].start], text[members[-1].end :]
    return opening + parts[0][1] + "".join(f",{gap}{each}" for gap, each in parts[1:]) + closing


def _style_of(text: str, members: list[Member], around: _Style) -> _Style:
    last = members[-1]
    gap = text[last.begin : last.start]
    if (own_line := _OWN_LINE.search(gap)) is not None:
        gap = own_line.group()
        step = gap.removeprefix(around.gap)
        return _Style(gap, around.step if step == "" or "\n" in step else step)
    head = text[last.start : last.value]
    colon = head[head.rindex(":") :]
    if len(members) == 1:
        gap = "" if colon == ":" else " "
    return _Style(gap, around.step, colon)


def _rendered(value: object, style: _Style) -> str:
    """Return the text of a member's value, in the style of its object."""
    inner = _Style(style.gap + style.step, style.step, style.colon) if "\n" in style.gap else style
    match value:
        case Verbatim():
            return str(value)
        case Mapping():
            parts = [_member(str(name), each, inner) for name, each in value.items()]
            opening, closing = "{}"
        case list() | tuple():
            parts = [_rendered(each, inner) for each in value]
            opening, closing = "[]"
        case _:
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not parts or inner is style:
        return f"{opening}{f',{style.gap}'.join(parts)}{closing}"
    return f"{opening}{inner.gap}{f',{inner.gap}'.join(parts)}{style.gap}{closing}"


def _member(name: str, value: object, style: _Style) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}{style.colon}{_rendered(value, style)}"
