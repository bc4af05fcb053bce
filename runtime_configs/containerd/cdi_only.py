"""CDI without handlers: whether containerd's files have to enable it."""

from __future__ import annotations

from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd.merged import read_merged
from runtime_configs.model import ConfigError, HostView

FIRST: Final = (1, 7, 0)
"""The first version with ``enable_cdi``, false by default."""
ON: Final = (2, 0, 0)
"""The first version with a default of true (``plugins/cri/config``; tests/engine shows it)."""


def is_settled(request: ConfigRequest, view: HostView) -> bool:
    """Return whether nothing has to be written. Raises ConfigError for a version without CDI."""
    if not request.desired.enable_cdi:
        return True
    version = request.version
    if version is not None and version.numbers < FIRST:
        raise ConfigError(
            request.top_level,
            f"containerd {version.major}.{version.minor} does not support CDI",
            "update it to 1.7 or later, or leave --cdi-only out",
        )
    said = read_merged(request, view).cri.get("enable_cdi")
    if isinstance(said, bool):
        return said
    return version is not None and version.numbers >= ON
