"""Three-way merge: the file before us, what we wrote, and the present file.

The result is the present file without our changes. Unchanged lines of ours are replaced as lines,
which restores every byte; the rest is edited key by key. The decoded documents determine the
meaning of the result, and it is returned only if it has that meaning. An unedited file needs no
merge, so the merge of lines is imported only for edited ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from runtime_configs.formats.documents import edited_to, load
from runtime_configs.formats.key_case import EXACT, Keys, like
from runtime_configs.formats.values import MISSING, Table, same, table
from runtime_configs.model import ConfigError, Format

_BOM = "\ufeff".encode()


def merge3(
    before: bytes | None,
    ours: bytes | None,
    now: bytes | None,
    format: Format,
    *,
    path: str,
    keys: Keys = EXACT,
) -> bytes | None:
    """Return the file without our changes; None stands for an absent file.

    ``keys`` are those that the engine matches in any case: another spelling is the same key.

    Each key that we set gets its old value, or is removed; one that somebody changed or removed
    stays so. Tables that only we created and elements that we added to a list are removed. What
    others changed, added, moved or commented stays as they wrote it. A file that somebody deleted
    stays deleted. Raises ConfigError if the file does not parse and our lines can't be found by
    their text alone.
    """
    if now == ours:
        return before
    if now is None or ours is None or format is Format.OPAQUE:
        return now
    # A new first line is inserted after a byte order mark, so the mark is no part of a line.
    mark = _BOM if now.startswith(_BOM) else b""
    contents = before and before.removeprefix(mark), ours.removeprefix(mark), now.removeprefix(mark)
    result = _without_mark(contents, format, path, keys)
    return None if result is None else mark + result


def _without_mark(
    contents: tuple[bytes | None, bytes, bytes], format: Format, path: str, keys: Keys
) -> bytes | None:
    before, ours, now = contents
    if now == ours:
        return before
    if before in (now, ours):
        return now
    if format is Format.TEXT:
        return _text(contents, path, keys)
    return _document(contents, format, path, keys)


def _document(
    contents: tuple[bytes | None, bytes, bytes], format: Format, path: str, keys: Keys
) -> bytes | None:
    from runtime_configs.formats.hunks import undone

    before, ours, now = contents
    base = before or b""
    by_lines, complete = undone(base, ours, now)
    try:
        found = load(now, format, path=path, exact=True)
        old, new = (
            like(load(each, format, path=path, exact=True), found, keys) for each in (base, ours)
        )
    except ConfigError:
        if not complete:
            raise
        return by_lines if before is not None or by_lines.strip() else None
    wanted = merged(old, new, found)
    try:
        result = _written(by_lines, wanted, (old, new), format, path)
    except ConfigError:
        result = _written(now, wanted, (old, new), format, path)
    return rest_of(before, ours, result, format, path=path)


def rest_of(
    before: bytes | None, ours: bytes, content: bytes, format: Format, *, path: str
) -> bytes | None:
    """Return a file without our changes; None if it was absent and holds nothing of others."""
    others = before is not None or _comments(content) - _comments(ours)
    return content if others or load(content, format, path=path) else None


def _text(contents: tuple[bytes | None, bytes, bytes], path: str, keys: Keys) -> bytes | None:
    """Merge a template: key by key if it is TOML except for its directives, else by lines.

    The directives of a template that we created stay if anything else stays.
    """
    from runtime_configs.formats.hunks import without_lines
    from runtime_configs.formats.template_mask import directives, masked, unmasked

    before, ours, now = contents
    base = directives(ours) if before is None else before
    texts = masked(base), masked(ours), masked(now)
    try:
        for each in texts:
            load(each, Format.TOML, path=path)
        result = unmasked(merge3(*texts, Format.TOML, path=path, keys=keys) or b"")
    except ConfigError:
        result = without_lines(base, ours, now)
    others = set(result.splitlines()) - set(base.splitlines())
    return result if before is not None or any(map(bytes.strip, others)) else None


def merged(
    base: Mapping[str, object], ours: Mapping[str, object], now: Mapping[str, object]
) -> Table:
    """Return what ``now`` means without the changes that lead from ``base`` to ``ours``."""
    result: Table = {}
    for key in [*now, *(key for key in base if key not in now)]:
        value = _value(base.get(key, MISSING), ours.get(key, MISSING), now.get(key, MISSING))
        if value is not MISSING:
            result[key] = value
    return result


def _value(base: object, ours: object, now: object) -> object:
    """Return one key's value; MISSING stands for none."""
    if same(base, ours):
        return now
    if same(now, ours):
        return base
    if isinstance(ours, Mapping) and isinstance(now, Mapping):
        rest = merged(base if isinstance(base, Mapping) else {}, ours, now)
        return rest if rest or isinstance(base, Mapping) else base
    if isinstance(ours, list) and isinstance(now, list):
        return _elements(base if isinstance(base, list) else [], ours, now)
    return now


def _elements(
    base: Sequence[object], ours: Sequence[object], now: Sequence[object]
) -> list[object]:
    """Return a list without the elements that we added, and with those that we removed."""
    result = list(now)
    for element in _without(ours, base):
        index = _index(result, element)
        if index >= 0:
            del result[index]
    for element in _without(base, ours):
        if _index(result, element) < 0:
            result.insert(min(_index(base, element), len(result)), element)
    return result


def _without(elements: Sequence[object], others: Sequence[object]) -> list[object]:
    rest = list(others)
    kept: list[object] = []
    for element in elements:
        index = _index(rest, element)
        if index < 0:
            kept.append(element)
        else:
            del rest[index]
    return kept


def _index(elements: Sequence[object], wanted: object) -> int:
    return next((i for i, element in enumerate(elements) if same(element, wanted)), -1)


def _written(
    text: bytes,
    expected: Mapping[str, object],
    tables: tuple[Mapping[str, object], Mapping[str, object]],
    format: Format,
    path: str,
) -> bytes:
    """Return a text edited to decode to ``expected``; ``tables`` are those before us and ours."""
    decoded = load(text, format, path=path, exact=True)
    return edited_to(text, _without_new_empties(expected, decoded, *tables), format, path=path)


def _without_new_empties(
    expected: Mapping[str, object],
    text: Mapping[str, object],
    before: Mapping[str, object],
    ours: Mapping[str, object],
) -> Table:
    """Leave out empty tables that the text does not have, except those that we removed.

    Such a table was emptied by others. To write it would be another change: with an empty table of
    runtimes containerd 1.x has no built-in runtime.
    """
    result: Table = {}
    for key, value in expected.items():
        if not isinstance(value, Mapping):
            result[key] = value
            continue
        inner = _without_new_empties(value, *(table(each, key) for each in (text, before, ours)))
        if inner or key in text or (key in before and key not in ours):
            result[key] = inner
    return result


def _comments(text: bytes) -> Counter[bytes]:
    lines = (line.strip() for line in text.splitlines())
    return Counter(line for line in lines if line.startswith(b"#"))
