"""The text of ``--help``, one screen, and ``--help-all``, the whole table."""

from __future__ import annotations

import textwrap

import click

from toolkit.options.catalog import GROUPS
from toolkit.options.option import Option
from toolkit.options.usage import (
    COMMON,
    DESCRIPTION,
    DOCUMENTATION,
    EXAMPLES,
    EXIT_CODES,
    RULES,
    SUMMARIES,
    main_options,
)

_COLUMN = 16
"""Column of the descriptions: the longest variable still fits next to it on 80 columns,
unbroken."""
_COLUMN_OF_OPTIONS = 28
_COLUMN_OF_EXAMPLES = 42
_WIDEST = 76
"""Maximum width of a flag's spellings on one line: 80 minus the indent."""


def help_text(program: str, command: str | None, *, whole: bool) -> str:
    """Return the help of the program or a command; ``whole`` includes every option."""
    formatter = click.HelpFormatter()
    if command is None:
        formatter.write_usage(program, "[COMMAND] [OPTIONS] [INSTALL-DIRECTORY]")
        formatter.write_paragraph()
        formatter.write_text(DESCRIPTION)
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))
    else:
        formatter.write_usage(f"{program} {command}", "[OPTIONS]")
        formatter.write_paragraph()
        summary = SUMMARIES[command]
        formatter.write_text(f"{summary[0].upper()}{summary[1:]}.")
    if whole:
        _write_table(formatter, command)
    else:
        with formatter.section("Options"):
            rows = [(_spelled(each), each.help) for each in main_options(command)]
            rows.append(("--help-all", "every option, with its variables and default"))
            formatter.write_dl(rows, col_max=_COLUMN_OF_OPTIONS)
    with formatter.section("Examples"):
        examples = [(f"{program} {line}", what) for line, what in EXAMPLES[command]]
        formatter.write_dl(examples, col_max=_COLUMN_OF_EXAMPLES)
    with formatter.section("Exit codes"):
        formatter.write_dl(list(EXIT_CODES[command]))
    formatter.write_paragraph()
    formatter.write_text(DOCUMENTATION)
    return formatter.getvalue()


def _write_table(formatter: click.HelpFormatter, command: str | None) -> None:
    for group in GROUPS:
        shown = (each for each in group.options if each.taken_by(command) and not each.hidden)
        rows = [row for option in shown for row in _rows(option)]
        if rows:
            with formatter.section(group.title):
                formatter.write_dl(rows, col_max=_COLUMN)
    with formatter.section("Common options"):
        formatter.write_dl(COMMON, col_max=_COLUMN)
    formatter.write_paragraph()
    formatter.write_text(RULES)


def _spelled(option: Option[object]) -> str:
    """Return the letter, the first long name and the metavar."""
    letters = [flag for flag in option.flags if len(flag) == len("-x")]
    return f"{', '.join((*letters, option.flags[0]))} {option.value.metavar}".rstrip()


def _rows(option: Option[object]) -> list[tuple[str, str]]:
    # Letters first, as everywhere; the metavar appears once, after the last spelling.
    spellings = ", ".join(sorted(option.flags, key=lambda flag: len(flag) > len("-x")))
    left = f"{spellings} {option.value.metavar}".rstrip()
    notes = []
    if option.all_variables:
        notes.append(f"variables: {option.shown_variables}")
    if option.shown_default:
        notes.append(f"default: {option.shown_default}")
    text = f"{option.help}  [{'; '.join(notes)}]" if notes else option.help
    *before, last = textwrap.wrap(left, _WIDEST, break_on_hyphens=False)
    return [*((line, "") for line in before), (last, text)]
