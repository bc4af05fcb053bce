"""The manual page, generated from the table: ``python -m toolkit.options.document share``."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.options.catalog import GROUPS
from toolkit.options.option import Option
from toolkit.options.usage import COMMON, DESCRIPTION, EXAMPLES, EXIT_CODES, RULES, SUMMARIES
from toolkit.version import VERSION

_PROGRAM = "nvidia-toolkit"
_FILES = (
    ("/usr/local/nvidia/toolkit", "the toolkit's files; --toolkit-install-dir names another"),
    ("/usr/local/nvidia/.toolkit-journal", "the replaced files, for the revert"),
    ("/run/nvidia/toolkit/toolkit.pid", "the lock of the one instance"),
    ("/run/nvidia/toolkit/toolkit-ready", "exists while GPU containers can start"),
)


def man_page() -> str:
    """Return the page in the macros of man(7)."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield f'.TH NVIDIA-TOOLKIT 1 "" "nvidia-toolkit {VERSION}" "User Commands"'
    yield ".SH NAME"
    yield f"{_text(_PROGRAM)} \\- install the NVIDIA container toolkit on a node"
    yield ".SH SYNOPSIS"
    yield f".B {_text(_PROGRAM)}"
    yield "[COMMAND] [OPTIONS] [INSTALL\\-DIRECTORY]"
    yield ".SH DESCRIPTION"
    yield _text(DESCRIPTION)
    yield ".SH COMMANDS"
    for name, summary in SUMMARIES.items():
        yield from _item(name, summary)
    yield ".SH OPTIONS"
    yield _text(RULES)
    for group in GROUPS:
        yield f'.SS "{_text(group.title)}"'
        for option in group.options:
            if not option.hidden:
                yield from _option(option)
    yield '.SS "Common options"'
    for flags, meaning in COMMON:
        yield from _item(flags, meaning)
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES[None]:
        yield from _item(code, meaning)
    yield ".SH FILES"
    for path, meaning in _FILES:
        yield from _item(path, meaning)
    yield ".SH EXAMPLES"
    for examples in EXAMPLES.values():
        for line, what in examples:
            yield from _item(f"{_PROGRAM} {line}", what)
    yield ".SH SEE ALSO"
    yield ".BR containerd (8),"
    yield ".BR dockerd (8),"
    yield ".BR crio (8)"


def _option(option: Option[object]) -> Iterator[str]:
    notes = f" (only with {', '.join(option.commands)})" if option.commands else ""
    yield from _item(
        f"{', '.join(option.flags)} {option.value.metavar}".rstrip(), f"{option.help}{notes}"
    )
    if option.all_variables:
        yield ".br"
        yield f"Variables: {_text(option.shown_variables)}"
    if option.shown_default:
        yield ".br"
        yield f"Default: {_text(option.shown_default)}"


def _item(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(term)}"
    yield _text(meaning)


def _text(text: str) -> str:
    """Escape a text so that troff finds no request or escape in it."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
