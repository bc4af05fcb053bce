"""How the table of options reads in ``--help``."""

from __future__ import annotations

import click

from toolkit.options.catalog import GROUPS
from toolkit.options.option import Option

SUMMARIES = {
    "plan": "show what a setup would change, as a diff, and whether the engine would reload",
    "revert": "restore what an earlier setup changed",
    "status": "show what is installed and whether it is intact",
    "verify": "ask the engine which handlers it serves",
    "doctor": "check the host before anything is done and name the fix of each problem",
}
"""The subcommands, each with what it does."""

_COLUMN = 16
"""Where meanings begin: the longest variable still fits beside it on 80 columns, unbroken."""

_WHOLE = "Without a command: install the NVIDIA container toolkit on this node, make its engine"
_WHOLE += " serve the handlers, wait, and put everything back at SIGTERM."


def write_help(formatter: click.HelpFormatter, program: str, command: str | None) -> None:
    """Write the help of the program, or of one of its commands."""
    if command is None:
        formatter.write_usage(program, "[COMMAND] [OPTIONS] [INSTALL-DIRECTORY]")
        formatter.write_paragraph()
        formatter.write_text(_WHOLE)
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))
    else:
        formatter.write_usage(f"{program} {command}", "[OPTIONS]")
        formatter.write_paragraph()
        summary = SUMMARIES[command]
        formatter.write_text(f"{summary[0].upper()}{summary[1:]}.")
    for group in GROUPS:
        rows = [_row(option) for option in group.options if _is_shown(option, command)]
        if rows:
            with formatter.section(group.title):
                formatter.write_dl(rows, col_max=_COLUMN)
    with formatter.section("Always there"):
        formatter.write_dl(
            [("-h, --help", "show this text"), ("-v, --version", "show the version")],
            col_max=_COLUMN,
        )
    formatter.write_paragraph()
    formatter.write_text(
        "A flag wins over its variables, the first variable that is set over the others."
        " A Boolean takes a value only behind an equals sign: --debug=false."
        " Lists are comma separated."
    )


def _is_shown(option: Option[object], command: str | None) -> bool:
    return not option.hidden and (not option.commands or command in option.commands)


def _row(option: Option[object]) -> tuple[str, str]:
    # Letters first, as everywhere; a metavar stands once, behind the last spelling.
    spellings = ", ".join(sorted(option.flags, key=lambda flag: len(flag) > len("-x")))
    left = f"{spellings} {option.metavar}".rstrip()
    notes = []
    if option.all_variables:
        notes.append(f"variables: {variables_text(option)}")
    if option.shown_default:
        notes.append(f"default: {option.shown_default}")
    return left, f"{option.help}  [{'; '.join(notes)}]" if notes else option.help


def variables_text(option: Option[object]) -> str:
    """Return the variables in the order of looking; a slash stands between those of engines."""
    chains = [", ".join(option.variables), " / ".join(name for _, name in option.engine_variables)]
    return ", then ".join(chain for chain in chains if chain)
