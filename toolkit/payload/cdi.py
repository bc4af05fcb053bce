"""The CDI spec for management containers, described by the installed ``nvidia-ctk``; device nodes.

The program runs here, not in the host's root: it looks at the driver as this container sees it, and
the paths in its spec are then moved to where the host has the driver. A driver that is not there
yet is waited for.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from toolkit import logs
from toolkit.engine.wait import Reminder
from toolkit.errors import PayloadError
from toolkit.host.clock import Clock
from toolkit.host.commands import CommandRunner
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.journal.store import PRIVATE_DIRECTORY
from toolkit.payload.source import CDI_HOOK, CTK
from toolkit.payload.spec_file import SpecChange, SpecFile
from toolkit.settings import CdiSettings, DriverSettings, Settings

log = logs.get(__name__)

POLL_SECONDS = 5.0
"""Between two looks for a driver."""
COMMAND_SECONDS = 60.0
"""What one call of ``nvidia-ctk`` may take."""
FAILURES = 3
"""Attempts with a driver that is there, before the program's word is taken for final."""

_DEVICES = ("nvidiactl", "nvidia0", "dxg", "nvgpu", "nvhost-gpu")
_LIBRARIES = (
    "lib*/libcuda.so.*",
    "lib/*/libcuda.so.*",
    "usr/lib*/libcuda.so.*",
    "usr/lib/*/libcuda.so.*",
)


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
        """Name the places. ``commands`` runs programs in this process's own root."""
        self._cdi: CdiSettings = settings.cdi
        self._stays = not settings.lifecycle.no_daemon
        """Whether this process can wait for a driver."""
        self._driver: DriverSettings = settings.driver
        self._root = root
        self._writer = writer
        self._commands = commands
        self._file = file
        self._toolkit = posixpath.join(root.host_path(settings.install_dir), "toolkit")

    def apply(self, clock: Clock) -> str | None:
        """Make the nodes and write the spec; return its path, None where none is wanted.

        The spec of an earlier start that is not wanted any more stays until the commit.
        Raises PayloadError where the driver is there and ``nvidia-ctk`` can't describe it, or as
        ``require_driver`` does; InterruptedBySignalError while waiting for a driver.
        """
        path = self.path()
        if path is None:
            if self._cdi.enabled:
                log.warning("cdi.skipped", "no CDI spec: --cdi-output-dir is empty")
            self._file.leave()
            return None
        self._file.write(path, self._described(clock))
        return path

    def planned(self) -> tuple[SpecChange, ...]:
        """Return what ``apply`` and the commit would write and remove; reads only."""
        return self._file.planned(self.path())

    def lacking(self) -> str | None:
        """Say what a setup would wait for before it writes the spec; None: for nothing."""
        return None if self.path() is None else self._missing_driver()

    def require_driver(self) -> None:
        """Raise PayloadError where a spec needs a driver and nobody stays to wait for it."""
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
        """Ask until there is a driver to be described; each reason to wait is said once."""
        failures = 0
        told: set[str] = set()
        reminder = Reminder("the NVIDIA driver", clock.now())
        while True:
            clock.check()
            missing = self._missing_driver()
            if missing is None:
                try:
                    return self._generate()
                except PayloadError as error:
                    missing = error.message
                    # Kernel modules are loaded before a driver container shows its files.
                    failures += _has_libraries(self._roots()[0])
                    if failures >= FAILURES:
                        raise
            if not self._stays and not failures:
                raise _no_driver(missing)
            reminder.look(clock.now())
            if missing not in told:
                told.add(missing)
                log.warning("cdi.waiting", "waiting for the NVIDIA driver", reason=missing)
            clock.sleep(POLL_SECONDS)

    def _missing_driver(self) -> str | None:
        """Say what is missing of the driver, or None where it is loaded and its files are there."""
        driver, dev = self._roots()
        if not driver.is_dir():
            return f"there is nothing at the driver root {self._driver.root}"
        loaded = any(Path(self._root.proc, "driver", name).exists() for name in ("nvidia", "nvgpu"))
        if not loaded and not any((dev / "dev" / name).exists() for name in _DEVICES):
            return f"no driver is loaded, and {dev / 'dev'} has no NVIDIA device"
        return None

    def _generate(self) -> bytes:
        """Return the spec. Raises PayloadError with the program's own words."""
        driver, dev = self._roots()
        vendor, _, name = self._cdi.kind.partition("/")
        if self._cdi.create_device_nodes:
            self._run("system", "create-device-nodes", "--control-devices", f"--dev-root={dev}")
        self._writer.make_directories(self._file.directory, PRIVATE_DIRECTORY)
        import tempfile  # a start counts milliseconds, and specs are made where they are wanted

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
        """Return from where to where paths are moved: devices first, if they lie elsewhere."""
        moves = []
        if _plain(self._driver.dev_root) != _plain(self._driver.root):
            moves.append((_device_directory(str(dev)), _device_directory(self._driver.dev_root)))
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


def _device_directory(root: str) -> str:
    """Return where the nodes are below a root; the root may be given as ``/dev`` itself."""
    return posixpath.join(_plain(root).removesuffix("/dev") or "/", "dev")
