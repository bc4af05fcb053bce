"""Generate documentation from the table of options.

``python -m toolkit.options.document`` prints the page of flags and variables. With a directory as
argument it writes the files below a system's ``share``: manual page and completion scripts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runtime_configs.distros.table import plain_row
from runtime_configs.model import EngineName
from toolkit.options.catalog import GROUPS
from toolkit.options.man_page import man_page
from toolkit.options.option import Option

_HEAD = """# Flags and variables

Written from the program's own table by `python -m toolkit.options.document`.

A flag takes precedence over its variables, and the first variable that is set over the others. A
variable that is set but empty counts as not set unless its row says otherwise. A Boolean is
`--flag`, `--flag=VALUE`, or the same with one dash; VALUE is `true`, `false`, `t`, `f`, `1`, `0`,
`yes` or `no` in any case, and a Boolean flag never takes the next argument. A list is comma
separated, and its flag may be repeated. Every value is checked before anything runs; a bad one ends
the program with exit code 2 and one line that names the flag or variable.
"""

_POD = """
## Variables set by the chart

With `--on-exit=auto` a daemon that is stopped asks the API server for its DaemonSet and its node
([upgrade](upgrade.md)), with the pod's service account. The chart sets these; they have no flags.

| variable | default | meaning |
|---|---|---|
| DAEMONSET_NAME | none | the DaemonSet that the pod belongs to |
| POD_NAMESPACE | none | the namespace of both |
| NODE_NAME | none | the node that the pod runs on |
| KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT | set by the kubelet | the address of the API \
server; \
without the first one this is not a pod |
"""
_ENTRY_POINT = """
## Read only by the container's entry point

| variable | default | meaning |
|---|---|---|
| TOOLKIT_VALIDATIONS_DIR | /run/nvidia/validations | if this directory exists, `entrypoint.sh` \
waits for its file driver-ready before a setup, and uses the variables set in it |
"""


def document() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for group in GROUPS:
        rows = [_row(option) for option in group.options if not option.hidden]
        parts.append(
            f"\n## {group.title}\n\n| flag | variables | default | meaning |\n"
            f"|---|---|---|---|\n{''.join(rows)}"
        )
    parts.append("\n## Default paths of each engine\n\n")
    parts.append("| engine | top-level config | drop-in | socket |\n|---|---|---|---|\n")
    for engine in EngineName:
        usual = plain_row(engine)
        drop_in = f"`{usual.drop_in}`" if usual.drop_in else "none"
        parts.append(f"| {engine} | `{usual.top_level}` | {drop_in} | `{usual.sockets[0]}` |\n")
    parts += [_POD, _ENTRY_POINT]
    return "".join(parts)


def _row(option: Option[object]) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    if option.value.metavar:
        flags += f" {option.value.metavar}".replace("|", "\\|").replace("<", "&lt;")
    variables = option.shown_variables or "none"
    meaning = option.help
    if option.commands:
        meaning += f" (only with {', '.join(option.commands)})"
    return f"| {flags} | {variables} | {option.shown_default or 'none'} | {meaning} |\n"


def shared_files() -> dict[str, str]:
    """Return the files below a system's ``share``, by path."""
    from toolkit.options.completion import script

    program = "nvidia-toolkit"
    return {
        f"man/man1/{program}.1": man_page(),
        f"bash-completion/completions/{program}": script(program, "bash"),
        f"zsh/site-functions/_{program}": script(program, "zsh"),
        f"fish/vendor_completions.d/{program}.fish": script(program, "fish"),
    }


def main(arguments: list[str]) -> None:
    """Print the page, or write the files below the given directory."""
    if not arguments:
        sys.stdout.write(document())
        return
    for name, text in shared_files().items():
        path = Path(arguments[0], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
