"""dockerd's command line, as far as it concerns ``daemon.json``."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import ConfigError


def flags(arguments: Sequence[str]) -> dict[str, str]:
    """Return the long flags with their values, the last of each; both ``--x V`` and ``--x=V``."""
    found: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            following = arguments[index + 1 : index + 2]
            if not equals and following and not following[0].startswith("-"):
                value = following[0]
            found[flag] = value
    return found


def without_config_file(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments without the program's name and without ``--config-file``."""
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        del rest[0]
    kept: list[str] = []
    skip = False
    for argument in rest:
        if skip:
            skip = False
        elif argument == "--config-file":
            skip = True
        elif not argument.startswith("--config-file="):
            kept.append(argument)
    return tuple(kept)


def refuse_conflicts(request: ConfigRequest) -> None:
    """Reject a key that dockerd also has as a flag: dockerd accepts only one of them.

    ``findConfigurationConflicts`` in moby's ``daemon/config/config.go``; it compares a repeated
    flag by its key (``--add-runtime``: ``runtimes``). Raises ConfigError.
    """
    given = flags(request.engine_arguments)
    wanted = []
    if request.desired.handlers:
        wanted.append(("--add-runtime", "runtimes", "move its handlers into the file"))
    if request.desired.default is not None:
        wanted.append(("--default-runtime", "default-runtime", "or use --set-as-default=false"))
    if request.desired.enable_cdi:
        wanted.append(("--feature", "features", "or use --enable-cdi-in-runtime=false"))
    for flag, key, fix in wanted:
        if flag in given:
            value = f"{flag}={given[flag]}"
            raise ConfigError(
                request.top_level,
                f'dockerd runs with {value} and would refuse a file that has "{key}"',
                f"remove the flag from dockerd's command line, {fix}",
            )
