"""NRI mode: whether the engine accepts plugins, and which setting prevents it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from runtime_configs.distros.table import DISTRIBUTIONS
from runtime_configs.formats.documents import load
from runtime_configs.formats.values import lookup
from runtime_configs.model import ConfigError, EngineName, Format, HostView
from toolkit.errors import ToolkitError
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, ok, problem, warning

_FIX = (
    "enable NRI in the engine (containerd from 2.0 on has it on by default, before that "
    'disable = false in plugins."io.containerd.nri.v1.nri"), or name its socket with --nri-socket'
)
_OFF = {
    ("plugins", "io.containerd.nri.v1.nri", "disable_connections"): True,
    ("plugins", "io.containerd.nri.v1.nri", "disable"): True,
    ("crio", "nri", "nri_disable_connections"): True,
    ("crio", "nri", "enable_nri"): False,
}
"""Keys, each with the value that disables plugins (containerd 1.7 to 2.3, CRI-O 1.26)."""


def plugin_socket(context: Context) -> Iterator[Finding]:
    """Connect to the plugins' socket; a close before the registration has no effect."""
    root, settings = context.node.root, context.node.settings.nri
    if not settings.enabled:
        return
    path = root.host_path(settings.socket)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)  # noqa: FBT003 - takes no keyword
        try:
            connection.connect(root.access(path))
        except FileNotFoundError:
            off = _switched_off(context.node.view)
            fix = "change that line and restart the engine" if off else _FIX
            yield problem("NRI", f"no NRI socket at {path}{off and f': {off}'}", fix)
        except BlockingIOError:
            yield warning("NRI", f"{path} has connections that the engine has not accepted yet")
        except OSError as error:
            yield problem("NRI", f"the NRI socket {path} can't be used: {error.strerror}", _FIX)
        else:
            yield ok("NRI", f"{path} takes connections")


def _switched_off(view: HostView) -> str:
    """Return the line of the engine's config that disables plugins; empty where none is found."""
    for path in _configs(view):
        try:
            content = view.read(path)
            document = {} if content is None else load(content, Format.TOML, path=path)
        except (ConfigError, ToolkitError):
            continue
        for key, value in _OFF.items():
            if lookup(document, key) is value:
                return f"{path} has {key[-1]} = {str(value).lower()}"
    return ""


def _configs(view: HostView) -> Iterator[str]:
    rows = [each for each in DISTRIBUTIONS if each.engine is not EngineName.DOCKER]
    yield from dict.fromkeys(each.top_level for each in rows)
    yield from view.glob("/etc/containerd/conf.d/*.toml")
    yield from view.glob("/etc/crio/crio.conf.d/*")
