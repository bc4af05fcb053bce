"""The CDI spec for management containers, made by the installed ``nvidia-ctk``; device nodes.

The program runs in this container, not in the host's root: it sees the driver as this container
does. The paths in its spec are then changed to those of the host. A start waits for a driver that
is not loaded yet. Later the spec follows the driver, and is removed while there is none.
"""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path

from msgspec import Struct

from toolkit import logs
from toolkit.engine.wait import Reminder
from toolkit.errors import HostPathError, PayloadError
from toolkit.host import followed
from toolkit.host.clock import Clock
from toolkit.host.commands import CommandRunner
from toolkit.host.mounts import below
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.journal.store import PRIVATE_DIRECTORY
from toolkit.payload import cdi_sources
from toolkit.payload.cdi_sources import device_directory
from toolkit.payload.cdi_spec import read_spec
from toolkit.payload.source import CDI_HOOK, CTK
from toolkit.payload.spec_file import SpecChange, SpecFile
from toolkit.settings import CdiSettings, DriverSettings, Settings

log = logs.get(__name__)

POLL_SECONDS = 5.0
"""Seconds between two looks for a driver."""
COMMAND_SECONDS = 60.0
"""Limit of one call of ``nvidia-ctk``, in seconds."""
FAILURES = 3
"""Attempts with a loaded driver before the program's error is final."""

_DEVICES = ("nvidiactl", "nvidia0", "dxg", "nvgpu", "nvhost-gpu")
_LIBRARIES = (
    "lib*/libcuda.so.*",
    "lib/*/libcuda.so.*",
    "usr/lib*/libcuda.so.*",
    "usr/lib/*/libcuda.so.*",
)


class SpecState(Struct, frozen=True, kw_only=True):
    """The result for the spec."""

    changed: bool = False
    """It was replaced, made or removed."""
    lack: str = ""
    """Why containers cannot use it: it does not exist, or it names missing files."""
    failure: str = ""
    """Why ``nvidia-ctk`` could not describe the driver."""


class ManagementSpec:
    """The spec and the control device nodes of one install directory."""

    def __init__(
        self,
        *,
        settings: Settings,
        root: HostRoot,
        writer: FileWriter,
        commands: CommandRunner,
        file: SpecFile,
    ) -> None:
        """Set the parts. ``commands`` runs programs in this process's own root."""
        self._cdi: CdiSettings = settings.cdi
        self._stays = not settings.lifecycle.no_daemon
        """Whether this process can wait for a driver."""
        self._driver: DriverSettings = settings.driver
        self._root = root
        self._writer = writer
        self._commands = commands
        self._file = file
        self._toolkit = posixpath.join(root.host_path(settings.install_dir), "toolkit")
        self._sources: dict[str, str] = {}
        """What the last spec was made from, in its state before that."""
        self.state = SpecState()

    def apply(self, clock: Clock, *, waits: bool = True) -> str | None:
        """Make the nodes and write the spec; return its path, None where none is wanted.

        A spec of an earlier start that is not wanted any more stays until the commit. Raises
        PayloadError if the driver is loaded and ``nvidia-ctk`` cannot describe it, or as
        ``require_driver`` does. Raises InterruptedBySignalError while waiting for a driver. Without
        ``waits`` neither is raised: a spec that no container may use is removed, and ``state`` has
        the reason.
        """
        path = self.path()
        self.state = SpecState()
        if path is None:
            if self._cdi.enabled:
                log.warning("cdi.skipped", "no CDI spec: --cdi-output-dir is empty")
            self._file.leave()
            return None
        described = (self._described(clock), "", "") if waits else self._described_now(path)
        content, lack, failure = described
        changed = self._file.write(path, content)
        if content is not None:
            lack = self._missing_path(content)
        self.state = SpecState(changed=changed, lack=lack, failure=failure)
        return path

    def followed(self) -> tuple[tuple[str, str], ...]:
        """Return what the spec depends on, as ``toolkit.host.followed`` reads it.

        Each entry has its state from before the spec was made. An entry that was not looked at then
        has a state that no look returns.
        """
        path = self.path()
        if path is None:
            return ()
        known = self._sources
        pairs = [(entry, known.get(entry, followed.UNKNOWN)) for entry in self._entries()]
        content = self._file.current(path)
        named = () if content is None else self._named(content)
        entries = [followed.NAMED + place for _, place in named]
        return (*pairs, *((each, followed.state_of(each)) for each in entries))

    def planned(self) -> tuple[SpecChange, ...]:
        """Return what ``apply`` and the commit would write and remove; reads only."""
        return self._file.planned(self.path())

    def lacking(self) -> str | None:
        """Return what a setup would wait for before it writes the spec; None: for nothing."""
        return None if self.path() is None else self._missing_driver()

    def require_driver(self) -> None:
        """Raise PayloadError if a spec needs a driver and this process cannot wait for it."""
        missing = self.lacking()
        if missing is not None and not self._stays:
            raise _no_driver(missing)

    def path(self) -> str | None:
        """Return the spec's path on the host; None where none is wanted."""
        if not self._cdi.enabled:
            return None
        if not self._cdi.output_dir:
            return None
        name = f"{self._cdi.kind.replace('/', '-')}.yaml"
        return posixpath.join(self._root.host_path(self._cdi.output_dir), name)

    def _described(self, clock: Clock) -> bytes:
        """Call ``nvidia-ctk`` until there is a driver to describe; log each reason to wait once."""
        failures = 0
        logged: set[str] = set()
        reminder = Reminder("the NVIDIA driver", clock.now())
        while True:
            clock.check()
            missing = self._missing_driver()
            if missing is None:
                try:
                    return self._generate()
                except PayloadError as error:
                    missing = error.message
                    # Kernel modules are loaded before a driver container exposes its files.
                    failures += _has_libraries(self._roots()[0])
                    if failures >= FAILURES:
                        raise
            if not self._stays and not failures:
                raise _no_driver(missing)
            reminder.look(clock.now())
            if missing not in logged:
                logged.add(missing)
                log.warning("cdi.waiting", "waiting for the NVIDIA driver", reason=missing)
            clock.sleep(POLL_SECONDS)

    def _described_now(self, path: str) -> tuple[bytes | None, str, str]:
        """Return the spec or None, the reason to have none, and the error of ``nvidia-ctk``."""
        self._look()
        missing = self._missing_driver()
        if missing is not None:
            return None, missing, ""
        try:
            return self._generate(), "", ""
        except PayloadError as error:
            there = self._file.current(path)
            usable = there is not None and not self._missing_path(there)
            return there if usable else None, error.message, error.message

    def _look(self) -> None:
        """Record the state of what the spec is made from, before it is made."""
        self._sources = {each: followed.state_of(each) for each in self._entries()}

    def _entries(self) -> tuple[str, ...]:
        return cdi_sources.entries(*self._roots(), proc=self._root.proc)

    def _named(self, content: bytes) -> tuple[tuple[str, str], ...]:
        """Return each path that a spec names, and where this process sees it."""
        try:
            paths = read_spec(content).paths
        except ValueError as error:
            log.warning("cdi.unreadable", "the CDI spec can't be read back", reason=str(error))
            return ()
        return tuple((each, self._place(each)) for each in paths)

    def _missing_path(self, content: bytes) -> str:
        """Return a message for a missing path that a spec names; empty where none is missing."""
        for path, place in self._named(content):
            if followed.state_of(followed.NAMED + place) == followed.MISSING:
                return f"the CDI spec names {path}, which is not there"
        return ""

    def _place(self, path: str) -> str:
        """Return where this process sees a host path, which may be one of the driver's."""
        given = path
        for there, here in (
            (self._driver.dev_root, self._driver.dev_root_in_container),
            (self._driver.root, self._driver.root_in_container),
        ):
            inside = below(path, there)
            if inside is not None and _plain(there) != "/":
                given = self._root.host_path(here) + inside
                break
        try:
            return self._root.access(given)
        except HostPathError:
            return given

    def _missing_driver(self) -> str | None:
        """Return what is missing of the driver; None where it is loaded and its files exist."""
        driver, dev = self._roots()
        if not driver.is_dir():
            return f"there is nothing at the driver root {self._driver.root}"
        loaded = any(Path(self._root.proc, "driver", name).exists() for name in ("nvidia", "nvgpu"))
        if not loaded and not any(self._is_served(dev / "dev" / name) for name in _DEVICES):
            return f"no driver is loaded, and {dev / 'dev'} has no NVIDIA device"
        return None

    def _is_served(self, node: Path) -> bool:
        """Return whether a device node has a driver behind it: nodes outlive their driver."""
        try:
            state = node.stat()
            devices = Path(self._root.proc, "devices").read_text()
        except OSError:
            return node.exists()
        characters = devices.partition("Block devices:")[0]
        majors = {line.split()[0] for line in characters.splitlines() if line.strip()}
        return not stat.S_ISCHR(state.st_mode) or str(os.major(state.st_rdev)) in majors

    def _generate(self) -> bytes:
        """Return the spec. Raises PayloadError with the program's own message."""
        driver, dev = self._roots()
        vendor, _, name = self._cdi.kind.partition("/")
        if self._cdi.create_device_nodes:
            self._run("system", "create-device-nodes", "--control-devices", f"--dev-root={dev}")
        self._look()
        self._writer.make_directories(self._file.directory, PRIVATE_DIRECTORY)
        import tempfile  # imported here: few starts need it

        with tempfile.TemporaryDirectory(
            prefix="cdi-", dir=self._root.access(self._file.directory)
        ) as work:
            spec = Path(work, "generated.yaml")
            self._run(
                "cdi",
                "generate",
                "--mode=management",
                "--format=yaml",
                f"--driver-root={driver}",
                f"--dev-root={dev}",
                f"--vendor={vendor}",
                f"--class={name}",
                f"--nvidia-cdi-hook-path={posixpath.join(self._toolkit, CDI_HOOK)}",
                f"--output={spec}",
            )
            for number, (source, target) in enumerate(self._moves(driver, dev)):
                moved = Path(work, f"moved-{number}.yaml")
                self._run(
                    "cdi",
                    "transform",
                    "root",
                    f"--from={source}",
                    f"--to={target}",
                    f"--input={spec}",
                    f"--output={moved}",
                )
                spec = moved
            return self._checked(spec)

    def _checked(self, spec: Path) -> bytes:
        try:
            content = spec.read_bytes()
        except OSError as error:
            raise PayloadError(f"{CTK} cdi generate wrote no spec: {error.strerror}") from error
        if b"cdiVersion" not in content or self._cdi.kind.encode() not in content:
            raise PayloadError(f"{CTK} cdi generate wrote no spec of the kind {self._cdi.kind}")
        return content

    def _moves(self, driver: Path, dev: Path) -> tuple[tuple[str, str], ...]:
        """Return how paths are moved, as (from, to) pairs; devices first, if they are elsewhere."""
        moves = []
        if _plain(self._driver.dev_root) != _plain(self._driver.root):
            moves.append((device_directory(str(dev)), device_directory(self._driver.dev_root)))
        moves.append((str(driver), self._driver.root))
        return tuple(each for each in moves if _plain(each[0]) != _plain(each[1]))

    def _roots(self) -> tuple[Path, Path]:
        """Return the driver root and the root of ``/dev`` as this process sees them."""
        return (
            self._seen(self._driver.root_in_container),
            self._seen(self._driver.dev_root_in_container),
        )

    def _seen(self, given: str) -> Path:
        return Path(self._root.access(self._root.host_path(given)))

    def _run(self, *arguments: str) -> None:
        program = f"{self._root.access(self._toolkit)}/{CTK}.real"
        result = self._commands.run((program, *arguments), COMMAND_SECONDS)
        if result.status != 0:
            words = " ".join(each for each in arguments if not each.startswith("-"))
            raise PayloadError(f"{CTK} {words}: {result.reason}")


def _no_driver(missing: str) -> PayloadError:
    return PayloadError(
        f"the CDI spec needs the NVIDIA driver: {missing}",
        "load the driver first, or run without --no-daemon, which waits for it",
    )


def _has_libraries(driver: Path) -> bool:
    return any(next(driver.glob(pattern), None) is not None for pattern in _LIBRARIES)


def _plain(path: str) -> str:
    return path.rstrip("/") or "/"
