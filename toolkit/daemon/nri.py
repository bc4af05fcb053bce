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
    from toolkit.daemon.keeper_state import Watch
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


class ReadyMark:
    """The ready file while the plugin serves: it exists while the engine has the plugin registered.

    Not while ``held``: then the plugin's CDI devices name files that do not exist.

    Its directory is on a temporary file system that belongs to the installer alone. So this class
    does not use the writer of the host's files, whose modules would cost 5 MB.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.held = not path

    def is_missing(self, status: NriStatus) -> bool:
        """Return whether the file should exist and was removed."""
        return self.stands(status) and not os.path.exists(self._path)

    def stands(self, status: NriStatus) -> bool:
        """Return whether the file should exist."""
        return status.ready and not self.held

    def hold(self) -> None:
        """Remove the file, and do not make it any more."""
        if not self.held:
            self.held = True
            self.remove()

    def follow(self, status: NriStatus) -> None:
        """Make or remove the file. Raises OSError where the disk refuses."""
        if self.stands(status):
            from toolkit.daemon.ready_file import content

            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            beside = f"{self._path}.new"
            _unlink(beside)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(beside, flags, 0o644), "w", encoding="ascii") as file:
                file.write(content())
            os.replace(beside, self._path)
        if not self.stands(status):  # the other thread has set ``held`` meanwhile
            self.remove()

    def remove(self) -> None:
        """Remove the file: nothing is served."""
        if self._path:
            _unlink(self._path)


def _unlink(path: str) -> None:
    """Remove a file that may be gone already; of a link, the link itself."""
    try:  # noqa: SIM105 - contextlib is not imported here
        os.unlink(path)
    except FileNotFoundError:
        pass


class NriKeeper(keeper.Keeper):
    """The keeper, where the node is ready only while the plugin serves."""

    def __init__(self, watch: Watch, plugin: Plugin, mark: ReadyMark) -> None:
        super().__init__(watch)
        self._plugin = plugin
        self._mark = mark
        self._ready = not mark.held

    def is_ready(self) -> bool:
        """Return whether the ready file should exist."""
        return self._mark.stands(self._plugin.status)

    def _ready_file_differs(self) -> str:
        """Make the ready file again if it was removed."""
        if self._mark.is_missing(self._plugin.status):
            self._mark.follow(self._plugin.status)
            if not self._plugin.status.ready:  # the connection closed meanwhile
                self._mark.remove()
        return ""

    def _unmark(self) -> None:
        self._mark.hold()


def main(fields: dict[str, Any]) -> None:
    """Serve and watch until something happens, then become the daemon again."""
    signals.block_signals()
    watch = keeper.given(fields)
    nri = fields["nri"]
    sys.path.append(nri["packages"])
    from toolkit import logs
    from toolkit.nri.plugin import Plugin

    log_format, debug = nri["log"]
    logs.configure(log_format, debug=debug)
    mark = ReadyMark(watch.ready_file)
    plugin = Plugin(
        index=nri["index"],
        namespaces=frozenset(nri["namespaces"]),
        cdi_kind=nri["cdi_kind"],
        socket=nri["socket"],
        socket_path=nri["socket_path"],
        on_state=mark.follow,
    )
    plugin.start()
    stays = NriKeeper(watch, plugin, mark)
    reason = stays.until_something_happens()
    plugin.stop()
    stays.end()
    handover.become(watch, reason, stays.wait)
