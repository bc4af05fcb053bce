"""Config files without their secrets, for readers of a log: TOML, JSON, YAML, templates.

In TOML the keys decide. Any other text, and a broken one, is judged line by line, up to where the
strings and brackets of a value are closed. What cannot be judged counts as secret. Text in the form
of a secret is one under any key. The time is proportional to the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from runtime_configs.formats.documents import load
from runtime_configs.formats.secrets import REDACTED, WORD, names_secret, without_secret_shapes
from runtime_configs.formats.template_mask import masked, unmasked
from runtime_configs.formats.toml_spans import Statement, StatementKind, scan
from runtime_configs.model import ConfigError, Format

_BOM = "\ufeff"
_SEPARATOR = re.compile(r"[=:]")
_BLANKS = re.compile(r"[ \t\r]*+")
_TOKEN = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}"
    r'|"(?!"")(?:[^"\\\n]++|\\[^\n])*+"'
    r"|'(?!'')[^'\n]*+'"
    r"|(?<=\w)'"
    r"|[\[{\]}\n]|\#[^\n]*+|[^\[\]{}\"'\#\n]++",
    re.DOTALL,
)
_LONG = re.compile("\"\"\"|'''")
_ESCAPE = re.compile(
    r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|(/)|.)", re.DOTALL
)
_REST_OF_NAME = re.compile(r"[\w.-]*+[\"'`]?")
_NO_VALUE = re.compile(r"[\s,;\[\]{}()]*+")

_Spans = Iterator[tuple[int, int]]
"""The secret values in order: each from behind ``=`` or ``:`` to the end of a line."""


def redacted(text: str) -> str:
    """Return a text with REDACTED in place of its secrets; the number of lines stays."""
    # JSON and TOML may spell any letter of a key or an address as an escape.
    plain = _ESCAPE.sub(_unescaped, text)
    shown = _redacted(plain)
    if plain == text:
        return shown
    lines = zip(text.split("\n"), plain.split("\n"), shown.split("\n"), strict=True)
    return "\n".join(line if clear == masked else masked for line, clear, masked in lines)


def _redacted(text: str) -> str:
    if text.startswith(_BOM):
        return _BOM + _redacted(text.removeprefix(_BOM))
    if (toml := _as_toml(text)) is None:
        return _replaced(text, _by_lines(text, 0, len(text)))
    found = _replaced(toml, _by_keys(toml)).encode("utf-8", "surrogateescape")
    return unmasked(found).decode("utf-8", "surrogateescape")


def _unescaped(escape: re.Match[str]) -> str:
    """Return the character of an escape, unless it would change strings or lines."""
    digits = escape[1] or escape[2] or escape[3]
    letter = escape[4] or ("" if digits is None else chr(min(int(digits, 16), 0x10FFFF)))
    harmless = letter.isprintable() and not letter.isspace() and letter not in "\"'`\\"
    return letter if letter and harmless else escape[0]


def _replaced(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces: list[str] = []
    position = 0
    for start, end in spans:
        more = f"\n{REDACTED}" * text.count("\n", start, end)
        pieces += [text[position:start], " ", REDACTED, more]
        position = end
    return without_secret_shapes("".join([*pieces, text[position:]]))


def _as_toml(text: str) -> str | None:
    """Return a text as TOML, with its directives masked; None if it is no TOML."""
    content = text.encode("utf-8", "surrogateescape")
    if b"{{" in content:
        content = masked(content)
    try:
        load(content, Format.TOML, path="")
    except ConfigError:
        return None
    return content.decode("utf-8", "surrogateescape")


def _by_keys(text: str) -> _Spans:
    position, in_secret_table = 0, False
    for statement in scan(text):
        # The text between two statements is comments.
        yield from _by_lines(text, position, statement.start, in_secret_table=in_secret_table)
        position = statement.end
        start = _secret_of(text, statement)
        if start is not None:
            yield start, _end_of_line(text, position)
        if statement.kind is not StatementKind.KEY:
            in_secret_table = any(map(names_secret, statement.path))
    yield from _by_lines(text, position, len(text), in_secret_table=in_secret_table)


def _secret_of(text: str, statement: Statement) -> int | None:
    """Return where a statement's secret value begins: its own, or the first one inside it."""
    if statement.kind is StatementKind.KEY and any(map(names_secret, statement.path)):
        return text.rindex("=", statement.start, statement.value_start) + 1
    start = _value_start(text, statement.value_start, statement.end)
    return _after_word(text, statement.value_start, statement.end) if start is None else start


def _by_lines(text: str, position: int, limit: int, *, in_secret_table: bool = False) -> _Spans:
    while position < limit:
        end = _line_end(text, position)
        line = text[position:end].strip()
        if line.startswith("[") and "]" in line and not line.endswith(","):
            in_secret_table = names_secret(line)
            start = _value_start(text, position, end)
            if start is None and (comment := text.find("#", position, end)) >= 0:
                start = _after_word(text, comment, end)
            if start is not None:
                yield start, end
        elif (start := _line_value(text, position, end, anything=in_secret_table)) is not None:
            end = _value_end(text, position, start, limit)
            yield start, end
        elif in_secret_table and line:
            yield _after_blanks(text, position), end
        elif (start := _after_word(text, position, end)) is not None:
            yield start, end
        elif WORD.search(text, position, end) is not None and not _is_comment(text, position):
            # An argument such as "--password", or its name: the value is on the next line.
            end, position = _line_end(text, end + 1), end + 1
            if position < end:
                yield _after_blanks(text, position), end
        position = end + 1


def _line_value(text: str, line: int, end: int, *, anything: bool) -> int | None:
    """Return where a line's first secret value begins; with ``anything`` every value is secret.

    A value that may continue over lines that look like keys cannot be judged by those lines.
    """
    if anything or _LONG.search(text, line, end) is not None:
        separator = _SEPARATOR.search(text, line, end)
        return None if separator is None else separator.end()
    return _value_start(text, line, end)


def _value_start(text: str, start: int, end: int) -> int | None:
    """Return where the value of the first secret name in a range begins."""
    if (word := WORD.search(text, start, end)) is None:
        return None
    separator = _SEPARATOR.search(text, word.end(), end)
    return None if separator is None else separator.end()


def _after_word(text: str, start: int, end: int) -> int | None:
    """Return where a value begins that follows a secret's name without ``=`` or ``:``.

    Arguments (``--password``), ``Bearer`` and prose are like this. None if nothing follows.
    """
    if (word := WORD.search(text, start, end)) is None:
        return None
    rest = _end_of(_REST_OF_NAME, text, word.end(), end)
    return None if _end_of(_NO_VALUE, text, rest, end) == end else rest


def _end_of(pattern: re.Pattern[str], text: str, start: int, limit: int) -> int:
    found = pattern.match(text, start, limit)
    return start if found is None else found.end()


def _value_end(text: str, line: int, start: int, limit: int) -> int:
    """Return the end of the last line of a value that begins at ``start``, on this line.

    It is where all its strings and brackets are closed; in YAML, lines that are indented below the
    key belong to the value too. A comment's value ends with the comment.
    """
    comment = _is_comment(text, line)
    position, depth, began = start, 0, False
    while position < limit:
        token = _TOKEN.match(text, position, limit)
        if token is None:
            position, began = (_end_of_comment(text, line) if comment else limit), True
            break
        piece = token.group()
        if piece == "\n" and (
            (began and not depth) or (comment and not _is_comment(text, token.end()))
        ):
            break
        depth = max(0, depth + (piece in "[{") - (piece in "]}"))
        began = began or not (piece.isspace() or (piece[0] == "#" and not comment))
        position = token.end()
    end = _end_of_line(text, position) if began else _line_end(text, line)
    in_yaml = text[start - 1] == ":" and not comment
    return _end_of_block(text, line, start, end) if in_yaml else end


def _end_of_block(text: str, line: int, start: int, end: int) -> int:
    """Return the end of the following lines that are indented below a key or are its items."""
    indent = _after_blanks(text, line) - line
    listed = _after_blanks(text, start) == _line_end(text, start)
    position = end + 1
    while position < len(text):
        first, last = _after_blanks(text, position), _line_end(text, position)
        below = first - position > indent - (listed and text.startswith("-", first))
        if first < last and not below:
            break
        end = last if below else end
        position = last + 1
    return end


def _end_of_comment(text: str, line: int) -> int:
    end = _line_end(text, line)
    while _is_comment(text, end + 1):
        end = _line_end(text, end + 1)
    return end


def _is_comment(text: str, line: int) -> bool:
    return text.startswith("#", _after_blanks(text, line))


def _after_blanks(text: str, position: int) -> int:
    return _end_of(_BLANKS, text, position, len(text))


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline


def _end_of_line(text: str, position: int) -> int:
    """Return a position, or the end of the line before it if it is past that."""
    return position - (text[position - 1 : position] == "\n")
