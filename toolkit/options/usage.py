"""The text of help and manual page besides the options: commands, examples, exit codes."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.options import engine, general
from toolkit.options.option import Option

SUMMARIES = {
    "plan": "show what a setup would change, as a diff, and whether the engine would reload",
    "revert": "restore what an earlier setup changed",
    "status": "show what is installed and whether it is intact",
    "verify": "ask the engine which handlers it serves",
    "doctor": "check the host before anything is done and name the fix of each problem",
}
"""The subcommands, each with what it does."""

DESCRIPTION = (
    "Without a command: install the NVIDIA container toolkit on this node, make its engine"
    " serve the handlers, wait, and restore everything at SIGTERM."
)
RULES = (
    "A flag takes precedence over its variables, and the first variable that is set over the"
    " others. A Boolean takes a value only after an equals sign: --debug=false."
    " Lists are comma separated."
)
COMMON = (
    ("-h, --help", "a screen of help; after a command, that command's"),
    ("--help-all", "the same with every option"),
    ("-v, --version", "the version"),
)
"""Options besides the table."""
DOCUMENTATION = "Documentation: man nvidia-toolkit, and the directory docs of the source."

MAIN: tuple[Option[object], ...] = (
    general.RUNTIME,
    general.HOST_ROOT,
    engine.CONFIG,
    engine.SOCKET,
    general.INSTALL_DIR,
    general.DEBUG,
)
"""The options that most calls of any command need."""
DAEMON: tuple[Option[object], ...] = (
    engine.HANDLER_NAME,
    engine.SET_AS_DEFAULT,
    engine.RESTART_MODE,
    general.NO_DAEMON,
    general.ON_EXIT,
)
"""Further options that most setups need."""

EXAMPLES: Mapping[str | None, tuple[tuple[str, str], ...]] = {
    None: (
        ("doctor", "what would stop a setup on this node"),
        ("plan --runtime=docker", "what a setup of Docker would change"),
        ("--runtime=containerd", "set up, stay, restore at SIGTERM"),
        ("--no-daemon", "set up and leave everything in place"),
    ),
    "plan": (
        ("plan | patch -p1 -d COPY", "apply the diff to a copy of /"),
        ("plan --detailed-exitcode", "exit with 5 if something would change"),
    ),
    "revert": (
        ("revert", "after a kill, --no-daemon or --on-exit=keep"),
        ("revert --purge", "even if the engine can't be asked who uses the files"),
    ),
    "status": (("status --output=json", "for a program"),),
    "verify": (("verify && kubectl uncordon NODE", "continue only if everything is served"),),
    "doctor": (
        ("doctor --runtime=crio", "look at CRI-O"),
        ("doctor --output=json", "for a program"),
    ),
}
"""By command: the arguments, and their purpose."""

EXIT_CODES: Mapping[str | None, tuple[tuple[str, str], ...]] = {
    None: (
        ("0", "done"),
        ("1", "failed, and the node is as it was before"),
        ("2", "a flag, a variable or the command line can't be used"),
        ("3", "failed, and the node could not be restored; the message says what is left"),
        ("4", "another instance holds the lock"),
        ("5", "plan --detailed-exitcode: there is something to do"),
    ),
    "plan": (
        ("0", "done"),
        ("1", "a start would refuse; the message is the one that it would end with"),
        ("4", "a start would refuse, because another installer is running"),
        ("5", "with --detailed-exitcode: there is something to do"),
    ),
    "revert": (
        ("0", "restored, or nothing to do"),
        ("3", "not restored; the message says what is left"),
        ("4", "a daemon runs: stop it instead"),
    ),
    "status": (("0", "always"),),
    "verify": (("0", "all expected handlers and the default are served"), ("1", "they are not")),
    "doctor": (("0", "nothing would stop a setup"), ("1", "a problem would")),
}
"""By command; 2 is the same for all of them."""


def main_options(command: str | None) -> tuple[Option[object], ...]:
    """Return the options of the short help: the command's own first."""
    own = (option for option in general.COMMAND.options if command in option.commands)
    return (*own, *MAIN, *(DAEMON if command is None else ()))
