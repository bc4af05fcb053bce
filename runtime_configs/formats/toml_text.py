"""Write TOML keys and values, and rewrite values in their present style."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, time

from runtime_configs.formats.toml_spans import items
from runtime_configs.formats.values import Verbatim

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SIMPLE_PAIR = re.compile(r"([A-Za-z0-9_-]+|\"[^\"\\]*\"|'[^']*')([ \t]*=[ \t]*)(?=[^=])")
_COMMA = re.compile(r"\s*,")
_INDENT = re.compile(r"\n([ \t]*)\Z")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*?)?(?=\r?\n)")


def quoted(text: str) -> str:
    """Return a basic string."""
    # JSON's escapes are TOML's, but for one more control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def key_text(name: str) -> str:
    """Return a part of a key, bare if TOML allows it."""
    return name if _BARE.fullmatch(name) else quoted(name)


def value_text(value: object) -> str:  # noqa: PLR0911 - one for each type
    """Return a value on one line. Raises TypeError for a type that TOML lacks."""
    match value:
        case bool():
            return "true" if value else "false"
        case Verbatim():
            return str(value)
        case str():
            return quoted(value)
        case int() | float():
            return repr(value)
        case date() | time():
            return value.isoformat()
        case Mapping():
            pairs = (f"{key_text(str(key))} = {value_text(inner)}" for key, inner in value.items())
            inside = ", ".join(pairs)
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(map(value_text, value))}]"
        case _:
            raise TypeError(f"TOML has no {type(value).__name__}")


def rewritten(text: str, old: object, new: object, newline: str) -> str:
    """Return ``text``, the spelling of ``old``, edited to decode to ``new``.

    Unchanged elements of arrays and inline tables keep their spelling and comments.
    """
    if isinstance(old, list) and isinstance(new, (list, tuple)):
        return _rewritten_array(text, old, new, newline)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _rewritten_inline_table(text, old, new, newline)
    return value_text(new)


def _rewritten_array(text: str, old: Sequence[object], new: Sequence[object], newline: str) -> str:
    from difflib import SequenceMatcher  # only for an array that changes

    matcher = SequenceMatcher(None, [repr(v) for v in old], [repr(v) for v in new], autojunk=False)
    for kind, old_start, old_end, new_start, new_end in reversed(matcher.get_opcodes()):
        if kind == "equal":
            continue
        for index in range(old_end - 1, old_start - 1, -1):
            text = _without_item(text, index)
        for offset, value in enumerate(new[new_start:new_end]):
            text = _with_item(text, old_start + offset, value_text(value), newline)
    return text


def _rewritten_inline_table(
    text: str, old: Mapping[str, object], new: Mapping[str, object], newline: str
) -> str:
    spans = items(text)
    pairs = [_SIMPLE_PAIR.match(text, *span) for span in spans]
    names = [pair.group(1).strip("\"'") for pair in pairs if pair is not None]
    if names != list(old):
        return value_text(new)
    for index in range(len(spans) - 1, -1, -1):
        pair, name, (_, end) = pairs[index], names[index], spans[index]
        if pair is None or name not in new:
            text = _without_item(text, index)
        elif repr(old[name]) != repr(new[name]):
            changed = rewritten(text[pair.end() : end], old[name], new[name], newline)
            text = text[: pair.end()] + changed + text[end:]
    count = sum(name in new for name in names)
    for name, value in new.items():
        if name not in old:
            text = _with_item(text, count, f"{key_text(name)} = {value_text(value)}", newline)
            count += 1
    return text


def _with_item(text: str, index: int, item: str, newline: str) -> str:
    """Insert an element (or a pair of an inline table) before the one at ``index``, or last."""
    spans = items(text)
    if not spans:
        inside = text[1:-1] if text[1:-1].strip() else ""
        pad = " " if text[0] == "{" else ""
        return f"{text[0]}{pad}{item}{inside or pad}{text[-1]}"
    start, end = spans[min(index, len(spans) - 1)]
    on_own_line = _INDENT.search(text, 0, start)
    if index < len(spans):
        gap = newline + on_own_line.group(1) if on_own_line else " "
        return f"{text[:start]}{item},{gap}{text[start:]}"
    comma = _COMMA.match(text, end)
    line_end = _REST_OF_LINE.match(text, comma.end() if comma else end)
    if on_own_line is None or line_end is None:
        return f"{text[:end]}, {item}{text[end:]}"
    place, line = line_end.end(), newline + on_own_line.group(1) + item
    if comma:
        return f"{text[:place]}{line},{text[place:]}"
    return f"{text[:end]},{text[end:place]}{line}{text[place:]}"


def _without_item(text: str, index: int) -> str:
    """Remove an element (or a pair of an inline table) with its comma and its own line."""
    spans = items(text)
    start, end = spans[index]
    comma = _COMMA.match(text, end)
    rest = _REST_OF_LINE.match(text, comma.end() if comma else end)
    if (own_line := _INDENT.search(text, 0, start)) is not None and rest is not None:
        cut = own_line.start() - (text[own_line.start() - 1] == "\r")
        head = text[:cut]
        if comma is None and index > 0:
            before = spans[index - 1][1]
            head = head[:before] + head[before:].replace(",", "", 1)
        return head + text[rest.end() :]
    if index + 1 < len(spans):
        return text[:start] + text[spans[index + 1][0] :]
    if index > 0:
        return text[: spans[index - 1][1]] + text[end:]
    inside = text[1:start] + text[comma.end() if comma else end : -1]
    return f"{text[0]}{inside if inside.strip() else ''}{text[-1]}"
