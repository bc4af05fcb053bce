"""Log lines on stderr, one per step: what happened, where, and how long it took.

The lines are part of the product's interface (``docs/logs.md`` lists the events). The standard
library's ``logging`` costs more to import and to keep resident than this whole module.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TextIO

from runtime_configs.formats.secrets import REDACTED, names_secret, without_secret_shapes


class Level(IntEnum):
    """The severity of a line."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


_COLOURS = {Level.WARNING: 33, Level.ERROR: 31}
"""Yellow and red, as ``styled`` takes them."""
_DECIMALS = 6
"""Decimals of seconds in a JSON line."""

_TEXT_CLOCK = "%Y-%m-%d %H:%M:%S"
_JSON_CLOCK = "%Y-%m-%dT%H:%M:%S"
_ESCAPES = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def redacted(name: str, value: object) -> object:
    """Return the value, or a placeholder if its name or form is that of a secret."""
    if names_secret(name):
        return REDACTED
    if isinstance(value, str):
        return without_secret_shapes(value)
    if isinstance(value, Mapping):
        return {str(key): redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(name, inner) for inner in value]
    return value


def one_line(text: str) -> str:
    """Escape what would end a line or control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else _ESCAPES.get(ord(char)) or ascii(char)[1:-1]
        for char in text
    )


def text_line(
    moment: float, level: Level, event: str, message: str, fields: Mapping[str, object]
) -> str:
    """Return ``DATE TIME LEVEL message key=value…`` in local time; the event is for machines."""
    del event
    clock = time.strftime(_TEXT_CLOCK, time.localtime(moment))
    words = [
        f"{clock}.{_milliseconds(moment):03d}",
        f"{level.name:<7}",
        one_line(without_secret_shapes(message)),
    ]
    words += [
        f"{one_line(key)}={_text_value(redacted(key, value))}" for key, value in fields.items()
    ]
    return " ".join(words)


def json_line(
    moment: float, level: Level, event: str, message: str, fields: Mapping[str, object]
) -> str:
    """Return one JSON object; ``time`` is RFC 3339 in UTC."""
    import json  # not needed for text lines, and every millisecond of a start counts

    clock = time.strftime(_JSON_CLOCK, time.gmtime(moment))
    record: dict[str, object] = {
        "time": f"{clock}.{_milliseconds(moment):03d}Z",
        "level": level.name.lower(),
        "event": event,
        "message": without_secret_shapes(message),
    }
    for key, value in fields.items():
        # A field must not replace one of the four that every reader relies on.
        shown = redacted(key, value)
        shown = round(shown, _DECIMALS) if isinstance(shown, float) else shown
        record[f"{key}_" if key in record else key] = shown
    return json.dumps(record, default=str)


def _milliseconds(moment: float) -> int:
    return int(moment * 1000) % 1000


def _text_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return _text_value(",".join(str(item) for item in value))
    text = one_line(str(value))
    if text and not any(char in text for char in ' "='):
        return text
    return '"' + text.replace('"', '\\"') + '"'


Form = Callable[[float, Level, str, str, Mapping[str, object]], str]


class _Output:
    """The destination and form of log lines; one per process."""

    def __init__(self) -> None:
        self.form: Form = text_line
        self.threshold = Level.INFO
        self.stream: TextIO | None = None
        """None: the ``sys.stderr`` of the moment."""
        self.color = "never"

    def write(self, level: Level, event: str, message: str, fields: Mapping[str, object]) -> None:
        """Write one line in one call, so that lines of two processes do not mix."""
        stream = self.stream or sys.stderr
        if level < self.threshold or stream is None:
            return
        line = self.form(time.time(), level, event, message, fields) + "\n"
        if level in _COLOURS and self.form is text_line and wants_colour(self.color, stream):
            line = line.replace(level.name, styled(level.name, _COLOURS[level]), 1)
        try:
            stream.write(line)
            stream.flush()
        except (OSError, ValueError):
            # A closed log stream must never end a setup halfway.
            return


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person reads the stream."""
    return stream is not None and not stream.closed and stream.isatty()


def wants_colour(color: str, stream: TextIO | None) -> bool:
    """Return whether output to the stream is coloured."""
    return color == "always" or (color == "auto" and is_terminal(stream))


def styled(text: str, code: int) -> str:
    """Return a text with which a terminal does what the number says (ECMA-48, SGR)."""
    return f"\033[{code}m{text}\033[0m"


_output = _Output()


def configure(
    log_format: str, *, debug: bool, stream: TextIO | None = None, color: str = "never"
) -> None:
    """Choose the form of lines (``text`` or ``json``) and whether debug lines are shown.

    ``color`` is ``auto``, ``always`` or ``never``, and applies to text lines only.
    """
    _output.color = color
    _output.form = json_line if log_format == "json" else text_line
    _output.threshold = Level.DEBUG if debug else Level.INFO
    _output.stream = stream


def template(event: str, message: str) -> str:
    """Return a template of an error line for a process without this module: see ``keeper.tell``."""
    form = _output.form
    text = form is text_line
    moment = f"{_TEXT_CLOCK}.000" if text else f'{{"time": "{_JSON_CLOCK}.000Z"'
    shown = time.strftime(moment, time.localtime(0) if text else time.gmtime(0))
    line = form(0.0, Level.ERROR, event, message, {}).removeprefix(shown).replace("%", "%%")
    return ("L" if text else "Z") + moment + line


def debugging() -> bool:
    """Return whether debug lines are shown, to avoid costly work otherwise."""
    return _output.threshold <= Level.DEBUG


def traceback_of(error: BaseException) -> None:
    """Log a failure's traceback at debug level."""
    if debugging():
        import traceback

        trace = "".join(traceback.format_exception(error))
        get(__name__).debug("program.traceback", "where it happened", traceback=trace)


class Log:
    """A module's log; ``event`` is a stable name such as ``engine.reloaded``."""

    def __init__(self, module: str) -> None:
        self.module = module

    def step(self, event: str, message: str, /, **fields: object) -> None:
        """Log a completed step; ``seconds`` is how long it took."""
        _output.write(Level.INFO, event, message, fields)

    def warning(self, event: str, message: str, /, **fields: object) -> None:
        """Log something that needs attention while the work continues."""
        _output.write(Level.WARNING, event, message, fields)

    def error(self, event: str, message: str, /, **fields: object) -> None:
        """Log an error that ended the work."""
        _output.write(Level.ERROR, event, message, fields)

    def debug(self, event: str, message: str, /, **fields: object) -> None:
        """Log a detail for debugging, with the module's name."""
        _output.write(Level.DEBUG, event, message, {"module": self.module, **fields})


def stopwatch() -> Callable[[], float]:
    """Return a function that returns the seconds since now, for a step's ``seconds``."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


def get(module: str) -> Log:
    """Return the log of a module, named by its ``__name__``."""
    return Log(module)
