"""The resident process in NRI mode: the plugin, with the keeper's watch beside it.

Run as ``python -I -S nri.py SETTINGS KEEPER-ARGUMENTS`` in place of the daemon, as
``toolkit.daemon.keeper`` is in the other modes, with the same arguments after the first. The
setup's libraries alone would take more memory than this whole process. When a signal is pending or
a watched file differs, it disconnects from the engine and becomes the daemon again.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.daemon.keeper import KeeperArguments
    from toolkit.nri.plugin import NriStatus, Plugin
    from toolkit.settings import Settings

PROBE_SECONDS = 0.5
"""With ``--health-address``: how old the state in an answer to a probe may be."""


def program(settings: Settings, *, socket_path: str) -> tuple[str, str]:
    """Return this program and its first argument, for ``become_idle``.

    ``socket_path`` is the NRI socket as this process opens it.
    """
    from google import protobuf

    nri = settings.nri
    document = {
        # Run with -S, the program finds third-party packages only by this path.
        "packages": os.path.dirname(os.path.dirname(os.path.dirname(protobuf.__file__))),
        "index": nri.index,
        "socket": nri.socket,
        "namespaces": [nri.namespace, *nri.management_namespaces],
        "cdi_kind": settings.cdi.kind,
        "socket_path": socket_path,
        "log_format": settings.log_format.value,
        "debug": settings.debug,
    }
    return __file__, json.dumps(document)


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


def main(arguments: list[str]) -> None:
    """Serve and watch until something happens, then become the daemon again."""
    document = json.loads(arguments[0])
    sys.path.append(document["packages"])
    from toolkit import logs
    from toolkit.daemon import keeper
    from toolkit.host import signals
    from toolkit.nri.plugin import Plugin

    signals.block_signals()
    given = keeper.KeeperArguments(arguments[1:])
    logs.configure(document["log_format"], debug=document["debug"])
    mark = ReadyMark(given.ready_file)
    plugin = Plugin(
        index=document["index"],
        namespaces=frozenset(document["namespaces"]),
        cdi_kind=document["cdi_kind"],
        socket=document["socket"],
        socket_path=document["socket_path"],
        on_state=mark.follow,
    )
    plugin.start()
    reason = until_something_happens(given, plugin, mark)
    plugin.stop()
    mark.remove()
    keeper.label(given, False)  # noqa: FBT003 - takes no keywords
    keeper.become(given, reason)


def until_something_happens(given: KeeperArguments, plugin: Plugin, mark: ReadyMark) -> str:
    """Answer probes until a signal is pending or a file differs; return which."""
    import time

    from toolkit.daemon import keeper

    now = time.monotonic()
    began, next_look = now, now + given.interval
    while True:
        wait = max(0.0, next_look - now) if given.interval > 0 else 3600.0
        wait = min(wait, keeper.follow(given))
        if given.followed is not None and given.followed.fault:
            mark.hold()
        if given.followed is not None and given.followed.settled:
            return f"{keeper.DRIVER}: {given.followed.fault or keeper.AGAIN}"
        if given.listener >= 0:
            wait = min(wait, PROBE_SECONDS)
        if keeper.wait(wait, given, mark.stands(plugin.status)):
            return "signal"
        now = time.monotonic()
        if given.interval > 0 and now >= next_look:
            next_look = now + given.interval
            _keep_mark(mark, plugin)
            keeper.label(given, mark.stands(plugin.status))
            found = keeper.difference("", "", given.watched)
            if found and now >= began + given.rest:
                return found
            if given.retry >= 0 and now >= began + given.retry:
                return "an earlier repair that failed"


def _keep_mark(mark: ReadyMark, plugin: Plugin) -> None:
    """Make the ready file again if it was removed."""
    if mark.is_missing(plugin.status):
        mark.follow(plugin.status)
        if not plugin.status.ready:  # the connection closed meanwhile, so the file is gone too
            mark.remove()


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    main(sys.argv[1:])
