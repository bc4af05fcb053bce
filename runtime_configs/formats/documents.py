"""Read and edit TOML and JSON documents by key path, preserving their style.

Every byte outside the changed keys stays: comments, order, indentation, quoting, newlines, byte
order mark, large integers, escapes. Each result is parsed again and returned only if it decodes to
exactly the desired document.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from runtime_configs.formats import toml_edit
from runtime_configs.formats.toml_spans import has_long_key
from runtime_configs.formats.toml_text import value_text
from runtime_configs.formats.values import (
    MISSING,
    REMOVE,
    KeyPath,
    Table,
    Verbatim,
    differences,
    same,
    with_value,
)
from runtime_configs.model import ConfigError, Format

_BOM: Final = "\ufeff"
_KEPT: Final = 16
"""The number of cached documents: a plan reads the same bytes several times."""


class Change(Struct, frozen=True, kw_only=True):
    """One key to set, or to delete with REMOVE."""

    path: KeyPath
    value: object
    """A mapping replaces the whole table, sub-tables included."""


def load(content: bytes, format: Format, *, path: str, exact: bool = False) -> Mapping[str, object]:
    """Decode a document to plain values. An empty or blank one has no keys.

    ``exact`` keeps the spelling of JSON numbers. The result is cached and must not be modified.
    Raises ConfigError with line and column if the document does not parse or is not UTF-8.
    """
    return _parse(_decoded(content, path), format, path, exact=exact)


def apply_changes(content: bytes, changes: Sequence[Change], format: Format, *, path: str) -> bytes:
    """Return the document with the changes applied in order.

    A key that already has its value keeps its bytes; without any change the content is returned
    as it is. A table that is only implied by those below it goes with the last of them. Raises
    ConfigError for a document that does not parse or can't be edited.
    """
    target = load(content, format, path=path, exact=True)
    for change in changes:
        value = change.value
        if value is not REMOVE:
            value = _normal(value, format, path, change.path)
        target = with_value(target, change.path, value)
    return edited_to(content, target, format, path=path)


def edited_to(content: bytes, target: Mapping[str, object], format: Format, *, path: str) -> bytes:
    """Return the document, edited to decode to ``target``, which comes from an exact ``load``.

    Raises ConfigError if that is not possible.
    """
    text = _decoded(content, path)
    bom = _BOM if text.startswith(_BOM) else ""
    current = _parse(text, format, path, exact=True)
    if same(current, target):
        return content
    edit = toml_edit.edited
    if format is Format.JSON:
        from runtime_configs.formats import json_edit  # of TOML's two engines none needs it

        edit = json_edit.edited
    try:
        with contextlib.suppress(ConfigError, ValueError, TypeError):
            result = bom + edit(text.removeprefix(bom), current, target)
            if _means(_parse(result, format, path, exact=True), target):
                return result.encode()
    except RecursionError as error:
        raise _too_deep(path) from error
    wanted = ", ".join(".".join(key) for key, _, _ in differences(current, target))
    raise ConfigError(
        path, f"cannot edit {wanted}: rewrite the inline table as [table] sections",
        "spell the tables around them out",
    )  # fmt: skip


def _means(result: Mapping[str, object], target: Mapping[str, object]) -> bool:
    """Return whether a result is the target, except for empty tables that it does not spell."""
    return all(
        was is MISSING and isinstance(wanted, Mapping) and _hollow(wanted)
        for _, was, wanted in differences(result, target)
    )


def _hollow(table: Mapping[str, object]) -> bool:
    return all(isinstance(value, Mapping) and _hollow(value) for value in table.values())


def _normal(value: object, format: Format, path: str, key: KeyPath) -> object:
    """Return the value as it decodes after it is written."""
    try:
        if format is Format.JSON:
            text = json.dumps({"value": value}, allow_nan=False)
        else:
            text = f"value = {value_text(value)}"
        return _parse(text, format, path, exact=True)["value"]
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(path, f"{'.'.join(key)} can't be set: {error}") from error


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        where = _end_of(content[: error.start].decode("utf-8"))
        raise ConfigError(path, f"not UTF-8 ({where})", "save the file in UTF-8") from error


def _end_of(text: str) -> str:
    """Return where a text ends, for a message."""
    line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return f"line {line}, column {column}"


def _parse(text: str, format: Format, path: str, *, exact: bool) -> Mapping[str, object]:
    """Decode a text. Raises ConfigError."""
    try:
        # Only JSON has both forms: TOML is not parsed twice.
        return _parsed(text.removeprefix(_BOM), format, exact and format is Format.JSON)
    except RecursionError as error:
        raise _too_deep(path) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(path, f"not valid JSON: {error.msg} ({where})", "fix the file") from error
    except ValueError as error:
        message = str(error).replace("at end of document", f"at {_end_of(text)}")
        raise ConfigError(path, f"not valid {format.upper()}: {message}", "fix the file") from error


@lru_cache(maxsize=_KEPT)
def _parsed(text: str, format: Format, exact: bool) -> Mapping[str, object]:  # noqa: FBT001 - a cache's key
    if format is Format.JSON:
        return _json(text, exact=exact)
    if format is not Format.TOML:
        raise ValueError("it is read as text")
    if has_long_key(text):
        raise RecursionError
    return tomllib.loads(text)


def _json(text: str, *, exact: bool) -> Table:
    """Decode an object. ``NaN`` and the like, which only Python accepts, are errors."""
    if not text.strip():
        # So dockerd reads it (getConflictFreeConfiguration in moby's daemon/config/config.go).
        return {}
    number = Verbatim if exact else None
    decoder = json.JSONDecoder(parse_int=number, parse_float=number, parse_constant=_refused)
    value = decoder.decode(text)
    if not isinstance(value, dict):
        raise json.JSONDecodeError("the top level is not an object", text, 0)
    return value


def _refused(constant: str) -> object:
    raise ValueError(f"{constant} is not a JSON value")


def _too_deep(path: str) -> ConfigError:
    return ConfigError(path, "nested too deeply to be read", "simplify the file")
