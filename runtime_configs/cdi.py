"""Whether an engine's files have to enable CDI where no handler does."""

from __future__ import annotations

from typing import TypeAlias

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import ConfigError

Numbers: TypeAlias = tuple[int, int, int]


def is_enabled(
    request: ConfigRequest, engine: str, value: object, *, since: Numbers, by_default: Numbers
) -> bool:
    """Return whether CDI is enabled by a file's ``value``, else by the engine's default.

    ``since`` is the first version with CDI, ``by_default`` the first that enables it by itself.
    Raises ConfigError for an older one.
    """
    version = request.version
    if version is not None and version.numbers < since:
        raise ConfigError(
            request.top_level,
            f"{engine} {version.major}.{version.minor} does not support CDI",
            f"update it to {since[0]}.{since[1]} or later, or leave --cdi-only out",
        )
    if isinstance(value, bool):
        return value
    return version is not None and version.numbers >= by_default
