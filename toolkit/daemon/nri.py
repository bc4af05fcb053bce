"""The resident process in NRI mode: the plugin, with the keeper's watch beside it.

Run by ``toolkit/daemon/stay.py`` in place of the daemon, as ``toolkit.daemon.keeper`` is in the
other modes. The setup's libraries alone would take more memory than this whole process. When a
signal is pending or a watched file differs, it disconnects from the engine and becomes the daemon
again.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from toolkit.daemon import handover, keeper
from toolkit.host import signals

if TYPE_CHECKING:
    from toolkit.nri.plugin import NriStatus, Plugin
    from toolkit.settings import Settings


def plugin_settings(settings: Settings, *, socket_path: str) -> dict[str, Any]:
    """Return what ``main`` reads; ``socket_path`` is the NRI socket as this process opens it."""
    from google import protobuf

    nri = settings.nri
    return {
        # Run with -S, the program finds third-party packages only by this path.
        "packages": os.path.dirname(os.path.dirname(os.path.dirname(protobuf.__file__))),
        "log": (settings.log_format.value, settings.debug),
        "index": nri.index,
        "socket": nri.socket,
        "namespaces": (nri.namespace, *nri.management_namespaces),
        "cdi_kind": settings.cdi.kind,
        "socket_path": socket_path,
    }


class NriKeeper(keeper.Keeper):
    """The keeper, where the node is ready only while the engine has the plugin registered.

    The ready file's directory is on a temporary file system that belongs to the installer alone. So
    this class does not use the writer of the host's files, whose modules would cost 5 MB.
    """

    plugin: Plugin
    """Set before it starts."""

    def is_ready(self) -> bool:
        """Return whether the ready file should exist."""
        return self._ready and self.plugin.status.ready

    def follow(self, status: NriStatus) -> None:
        """Make or remove the ready file. Raises OSError where the disk refuses."""
        path = self.watch.ready_file
        if self._ready and status.ready:
            from toolkit.daemon.ready_file import content

            os.makedirs(os.path.dirname(path), exist_ok=True)
            beside = f"{path}.new"
            keeper.remove(beside)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(beside, flags, 0o644), "w", encoding="ascii") as file:
                file.write(content())
            os.replace(beside, path)
        # The other thread may have marked the node not ready meanwhile.
        if not self._ready or not status.ready:
            keeper.remove(path)

    def _ready_file_differs(self) -> str:
        """Make the ready file again if it was removed."""
        if self.is_ready() and not os.path.exists(self.watch.ready_file):
            self.follow(self.plugin.status)
            if not self.is_ready():  # the connection closed meanwhile
                keeper.remove(self.watch.ready_file)
        return ""


def main(fields: dict[str, Any]) -> None:
    """Serve and watch until something happens, then become the daemon again."""
    signals.block_signals()
    stays = NriKeeper(keeper.given(fields))
    nri = fields["nri"]
    sys.path.append(nri["packages"])
    from toolkit import logs
    from toolkit.nri.plugin import Plugin

    log_format, debug = nri["log"]
    logs.configure(log_format, debug=debug)
    stays.plugin = Plugin(
        index=nri["index"],
        namespaces=frozenset(nri["namespaces"]),
        cdi_kind=nri["cdi_kind"],
        socket=nri["socket"],
        socket_path=nri["socket_path"],
        on_state=stays.follow,
    )
    stays.plugin.start()
    reason = stays.until_something_happens()
    stays.plugin.stop()
    stays.end()
    handover.become(stays.watch, reason, stays.wait)
