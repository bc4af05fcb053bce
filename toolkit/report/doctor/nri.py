"""NRI mode: whether the engine takes plugins."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, ok, problem, warning

_MEND = (
    "enable NRI in the engine (containerd from 2.0 on has it on by default, before that "
    'disable = false in plugins."io.containerd.nri.v1.nri"), or name it with --nri-socket'
)


def plugin_socket(sight: Context) -> Iterator[Finding]:
    """Connect to the socket for plugins; to hang up before the registration harms nobody."""
    root, settings = sight.node.root, sight.node.settings.nri
    if not settings.enabled:
        return
    path = root.host_path(settings.socket)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)  # noqa: FBT003 - takes no keyword
        try:
            connection.connect(root.access(path))
        except FileNotFoundError:
            yield problem("NRI", f"no NRI socket at {path}", _MEND)
        except BlockingIOError:
            yield warning("NRI", f"{path} has connections that the engine has not accepted yet")
        except OSError as error:
            yield problem("NRI", f"the NRI socket {path} can't be used: {error.strerror}", _MEND)
        else:
            yield ok("NRI", f"{path} takes connections")
