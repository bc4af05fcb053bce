"""The CDI spec for management containers, the control device nodes, and links to the nodes.

A start waits for a driver that is not loaded yet. Later the spec follows the driver, and is removed
while there is none.
"""

from __future__ import annotations

import posixpath

from msgspec import Struct

from toolkit import logs
from toolkit.engine.wait import Reminder
from toolkit.errors import PayloadError
from toolkit.host import followed
from toolkit.host.clock import Clock
from toolkit.host.commands import CommandRunner
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.journal.store import JOURNAL_DIRECTORY, PRIVATE_DIRECTORY
from toolkit.payload.cdi_sources import entries
from toolkit.payload.cdi_spec import read_spec
from toolkit.payload.dev_char import DevCharLinks
from toolkit.payload.driver import Driver
from toolkit.payload.spec_file import SpecChange, SpecFile
from toolkit.settings import Settings

log = logs.get(__name__)

POLL_SECONDS = 5.0
"""Seconds between two looks for a driver."""
FAILURES = 3
"""Attempts with a loaded driver before the program's error is final."""


class SpecState(Struct, frozen=True, kw_only=True):
    """The result for the spec."""

    changed: bool = False
    """It was replaced, made or removed."""
    lack: str = ""
    """Why containers cannot use it: it does not exist, or it names missing files."""
    failure: str = ""
    """Why ``nvidia-ctk`` could not describe the driver."""


class Cdi:
    """The spec, the nodes and the links of one install directory."""

    def __init__(
        self, *, settings: Settings, root: HostRoot, writer: FileWriter, commands: CommandRunner
    ) -> None:
        """Set the parts. ``commands`` runs programs in this process's own root."""
        install_dir = root.host_path(settings.install_dir)
        self._settings = settings.cdi
        self._stays = not settings.lifecycle.no_daemon
        """Whether this process can wait for a driver."""
        self._root = root
        self._writer = writer
        self._commands = commands
        self._toolkit = posixpath.join(install_dir, "toolkit")
        self._journal = posixpath.join(install_dir, JOURNAL_DIRECTORY)
        self._driver = Driver(settings.driver, root)
        self._file = SpecFile(directory=self._journal, writer=writer)
        self._links = DevCharLinks(
            driver=self._driver,
            enabled=settings.cdi.dev_char_links,
            writer=writer,
            directory=self._journal,
        )
        self._sources: dict[str, str] = {}
        """What the last spec was made from, in its state before that."""
        self.state = SpecState()
        """The state of the spec in this process."""

    def path(self) -> str | None:
        """Return the spec's path on the host; None where none is wanted."""
        if not self._settings.enabled or not self._settings.output_dir:
            return None
        name = f"{self._settings.kind.replace('/', '-')}.yaml"
        return posixpath.join(self._root.host_path(self._settings.output_dir), name)

    def planned(self) -> tuple[SpecChange, ...]:
        """Return the specs that a setup would write and remove; reads only."""
        return self._file.planned(self.path())

    def lacking(self) -> str | None:
        """Return what of the driver a setup would wait for; None if it would not wait."""
        return None if self.path() is None else self._driver.missing()

    def require_driver(self) -> None:
        """Raise PayloadError if a spec needs a driver and this process cannot wait for it."""
        missing = self.lacking()
        if missing is not None and not self._stays:
            raise _no_driver(missing)

    def apply(self, clock: Clock, *, waits: bool = True) -> None:
        """Make nodes, spec and links, as far as they are wanted; the payload is in place.

        A spec of an earlier start that is not wanted any more stays until the commit. Raises
        PayloadError if the driver is loaded and ``nvidia-ctk`` cannot describe it, or as
        ``require_driver`` does. Raises InterruptedBySignalError while waiting for a driver. Without
        ``waits`` neither is raised: a spec that no container may use is removed, and ``state`` has
        the reason.
        """
        self._write_spec(clock, waits=waits)
        # Last: the program creates control device nodes.
        self._links.apply()

    def follow(self, clock: Clock) -> None:
        """Make nodes, spec and links again for the present driver, and commit them."""
        self.apply(clock, waits=False)
        self.commit()

    def followed(self) -> tuple[tuple[str, str], ...]:
        """Return the entries that spec and links depend on, for ``toolkit.host.followed``.

        Each has its state from before it was used. One that was not looked at then has a state that
        no look returns. If both follow an entry, the earlier state counts.
        """
        return tuple(dict((*self._links.entries(), *self._spec_entries())).items())

    def undo(self) -> None:
        """Restore spec and links from before this setup; can be repeated."""
        self._file.undo()
        self._links.undo()

    def commit(self) -> None:
        """Make spec and links final; can be repeated."""
        self._file.commit()
        self._links.commit()

    def remove_spec(self) -> None:
        """Remove the spec if it is still ours: nothing that runs needs it any more."""
        self._file.remove()

    def remove(self) -> None:
        """Remove spec and links if they are still ours."""
        self.remove_spec()
        self._links.remove()

    def _write_spec(self, clock: Clock, *, waits: bool) -> None:
        path = self.path()
        self.state = SpecState()
        if path is None:
            if self._settings.enabled:
                log.warning("cdi.skipped", "no CDI spec: --cdi-output-dir is empty")
            self._file.leave()
            return
        described = (self._awaited(clock), "", "") if waits else self._at_present(path)
        content, lack, failure = described
        changed = self._file.write(path, content)
        if content is not None:
            lack = self._missing_path(content)
        self.state = SpecState(changed=changed, lack=lack, failure=failure)

    def _awaited(self, clock: Clock) -> bytes:
        """Call ``nvidia-ctk`` until there is a driver to describe; log each reason to wait once."""
        failures = 0
        logged: set[str] = set()
        reminder = Reminder("the NVIDIA driver", clock.now())
        while True:
            clock.check()
            missing = self._driver.missing()
            if missing is None:
                try:
                    return self._generate()
                except PayloadError as error:
                    missing = error.message
                    failures += self._driver.has_libraries()
                    if failures >= FAILURES:
                        raise
            if not self._stays and not failures:
                raise _no_driver(missing)
            reminder.look(clock.now())
            if missing not in logged:
                logged.add(missing)
                log.warning("cdi.waiting", "waiting for the NVIDIA driver", reason=missing)
            clock.sleep(POLL_SECONDS)

    def _at_present(self, path: str) -> tuple[bytes | None, str, str]:
        """Return the spec or None, the reason to have none, and the error of ``nvidia-ctk``."""
        self._look()
        missing = self._driver.missing()
        if missing is not None:
            return None, missing, ""
        try:
            return self._generate(), "", ""
        except PayloadError as error:
            there = self._file.current(path)
            usable = there is not None and not self._missing_path(there)
            return there if usable else None, error.message, error.message

    def _generate(self) -> bytes:
        """Make the nodes and return the spec. Raises PayloadError with the program's message."""
        from toolkit.payload.ctk import Ctk

        ctk = Ctk(toolkit=self._toolkit, host=self._root, commands=self._commands)
        if self._settings.create_device_nodes:
            ctk.create_device_nodes(self._driver)
        self._look()
        self._writer.make_directories(self._journal, PRIVATE_DIRECTORY)
        return ctk.management_spec(self._driver, self._settings.kind, self._journal)

    def _look(self) -> None:
        """Record the state of what the spec is made from, before it is made."""
        self._sources = {each: followed.state_of(each) for each in self._entries()}

    def _entries(self) -> tuple[str, ...]:
        return entries(self._driver.root, self._driver.dev_root, proc=self._root.proc)

    def _spec_entries(self) -> tuple[tuple[str, str], ...]:
        """Return what the spec is made from and what it names, each with its state."""
        path = self.path()
        if path is None:
            return ()
        known = self._sources
        pairs = [(entry, known.get(entry, followed.UNKNOWN)) for entry in self._entries()]
        content = self._file.current(path)
        named = () if content is None else self._named(content)
        places = [followed.NAMED + place for _, place in named]
        return (*pairs, *((each, followed.state_of(each)) for each in places))

    def _missing_path(self, content: bytes) -> str:
        """Return a message for a missing path that a spec names; empty where none is missing."""
        for path, place in self._named(content):
            if followed.state_of(followed.NAMED + place) == followed.MISSING:
                return f"the CDI spec names {path}, which is not there"
        return ""

    def _named(self, content: bytes) -> tuple[tuple[str, str], ...]:
        """Return each path that a spec names, and where this process sees it."""
        try:
            paths = read_spec(content).paths
        except ValueError as error:
            log.warning("cdi.unreadable", "the CDI spec can't be read back", reason=str(error))
            return ()
        return tuple((each, self._driver.place(each)) for each in paths)


def _no_driver(missing: str) -> PayloadError:
    return PayloadError(
        f"the CDI spec needs the NVIDIA driver: {missing}",
        "load the driver first, or run without --no-daemon, which waits for it",
    )
