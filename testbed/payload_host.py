"""A host for tests of the payload: a directory tree, the sample payload, an installer."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from testbed.sample_payload import VERSION, make_sample_payload
from toolkit.host.clock import UninterruptedClock
from toolkit.host.commands import CommandRunner
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.options.build import build_settings
from toolkit.options.command_line import read
from toolkit.options.lookup import Sources
from toolkit.payload.installer import PayloadInstaller, PayloadPlan
from toolkit.payload.low_level import LowLevelRuntimes
from toolkit.payload.records import PayloadRecord
from toolkit.settings import Settings

RUNC = LowLevelRuntimes(paths=("/usr/bin/runc", "runc", "crun"), engine_runtime="/usr/bin/runc")
FIRST = VERSION
SECOND = "1.99.1"

Snapshot = dict[str, tuple[str, int, bytes | str]]


def settings_of(*flags: str) -> Settings:
    """Return the settings of a command line, with no variables set."""
    line = read(flags)
    assert line.error is None
    return build_settings(Sources(flags=line.flags, environ={}))


@dataclass(slots=True)
class PayloadHost:
    """One host below ``base`` with its payloads beside it; host paths are those of the tree."""

    base: Path
    low_level: LowLevelRuntimes = RUNC
    root: HostRoot = field(init=False)

    def __post_init__(self) -> None:
        tree = self.base / "host"
        for directory in ("bin", "usr/bin", "etc", "usr/local"):
            (tree / directory).mkdir(parents=True, exist_ok=True)
        if not (tree / "bin/sh").exists():
            shutil.copy(Path("/bin/sh").resolve(), tree / "bin/sh")
        self.root = HostRoot(root=str(tree))

    @property
    def tree(self) -> Path:
        """The host's root directory."""
        return Path(self.root.root)

    @property
    def install_dir(self) -> Path:
        """Where this process sees the install directory."""
        return self.tree / "usr/local/nvidia"

    @property
    def toolkit(self) -> Path:
        """Where this process sees the toolkit directory."""
        return self.install_dir / "toolkit"

    def payload(
        self,
        release: str = FIRST,
        package_type: Literal["deb", "rpm"] = "deb",
        *,
        ship_config: bool = False,
    ) -> Path:
        """Return a payload of this release, made at the first call."""
        path = self.base / f"{package_type}-{release}"
        if not path.exists():
            make_sample_payload(path, package_type, release=release, ship_config=ship_config)
        return path

    def installer(
        self,
        *flags: str,
        release: str = FIRST,
        writer: FileWriter | None = None,
        commands: CommandRunner | None = None,
    ) -> PayloadInstaller:
        """Return an installer of a payload, as a new process would have it."""
        settings = settings_of("--toolkit-source-root", str(self.payload(release)), *flags)
        return PayloadInstaller(
            settings=settings,
            root=self.root,
            writer=writer or self.writer(),
            commands=commands,
        )

    def writer(self) -> HostFiles:
        """Return the real writer."""
        return HostFiles(self.root)

    def plan(self, *flags: str, release: str = FIRST) -> PayloadPlan:
        """Return what an installation would do."""
        return self.installer(*flags, release=release).plan(self.low_level)

    def install(
        self, *flags: str, release: str = FIRST, writer: FileWriter | None = None
    ) -> PayloadRecord:
        """Install a payload from start to end."""
        installer = self.installer(*flags, release=release, writer=writer)
        plan = installer.plan(self.low_level)
        record = installer.intent(plan)
        installer.stage(plan, UninterruptedClock())
        installer.swap(record)
        installer.commit(record)
        return record


def real_root(base: Path) -> PayloadHost:
    """Return a host whose paths are the real ones, so that its wrappers can be started."""
    host = PayloadHost(base)
    host.root = HostRoot(root="/")
    return host


def snapshot(directory: Path) -> Snapshot:
    """Return every entry of a tree: kind, mode, bytes or target."""
    found: Snapshot = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(directory))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", 0o777, os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("directory", stat.S_IMODE(status.st_mode), "")
        else:
            found[name] = ("file", stat.S_IMODE(status.st_mode), path.read_bytes())
    return found


def leave_foreign_tree(host: PayloadHost) -> Snapshot:
    """Leave a tree such as another installer's: own wrappers, one file more, one less."""
    host.toolkit.mkdir(parents=True)
    for name in ("nvidia-container-runtime", "nvidia-container-runtime.real", "nvidia-ctk"):
        (host.toolkit / name).write_text(f"#!/bin/sh\nexec {name} of somebody else\n")
        (host.toolkit / name).chmod(0o755)
    (host.toolkit / "libnvidia-container.so.1.17.0").write_bytes(b"\x7fELF of somebody else")
    (host.toolkit / "libnvidia-container.so.1").symlink_to("libnvidia-container.so.1.17.0")
    config = host.toolkit / ".config/nvidia-container-runtime/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[nvidia-container-runtime]\nruntimes = ["/opt/bin/runc"]\n')
    return snapshot(host.toolkit)
