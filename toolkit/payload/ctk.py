"""Describe the driver by the installed ``nvidia-ctk``.

The program runs in this container, not in the host's root: it sees the driver as this container
does. The paths in its spec are then changed to those of the host.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from toolkit.errors import PayloadError
from toolkit.host.commands import CommandRunner
from toolkit.host.paths import HostRoot
from toolkit.payload.driver import Driver
from toolkit.payload.source import CDI_HOOK, CTK

COMMAND_SECONDS = 60.0
"""Limit of one call, in seconds."""


class Ctk(Struct, frozen=True, kw_only=True):
    """The program in one toolkit directory, which is a host path."""

    toolkit: str
    host: HostRoot
    commands: CommandRunner
    """Runs programs in this process's own root."""

    def create_device_nodes(self, driver: Driver) -> None:
        """Create the control device nodes. Raises PayloadError with the program's own message."""
        dev_root = f"--dev-root={driver.dev_root}"
        self._run("system", "create-device-nodes", "--control-devices", dev_root)

    def management_spec(self, driver: Driver, kind: str, directory: str) -> bytes:
        """Return a CDI spec of all devices; ``directory``, on the host, is for temporary files.

        Raises PayloadError as ``create_device_nodes`` does, and if there is no spec of the kind.
        """
        vendor, _, name = kind.partition("/")
        with TemporaryDirectory(prefix="cdi-", dir=self.host.access(directory)) as work:
            spec = Path(work, "generated.yaml")
            self._run(
                "cdi",
                "generate",
                "--mode=management",
                "--format=yaml",
                f"--driver-root={driver.root}",
                f"--dev-root={driver.dev_root}",
                f"--vendor={vendor}",
                f"--class={name}",
                f"--nvidia-cdi-hook-path={posixpath.join(self.toolkit, CDI_HOOK)}",
                f"--output={spec}",
            )
            for number, (source, target) in enumerate(driver.moves()):
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
            return _checked(spec, kind)

    def _run(self, *arguments: str) -> None:
        program = f"{self.host.access(self.toolkit)}/{CTK}.real"
        result = self.commands.run((program, *arguments), COMMAND_SECONDS)
        if result.status != 0:
            words = " ".join(each for each in arguments if not each.startswith("-"))
            raise PayloadError(f"{CTK} {words}: {result.reason}")


def _checked(spec: Path, kind: str) -> bytes:
    try:
        content = spec.read_bytes()
    except OSError as error:
        raise PayloadError(f"{CTK} cdi generate wrote no spec: {error.strerror}") from error
    if b"cdiVersion" not in content or kind.encode() not in content:
        raise PayloadError(f"{CTK} cdi generate wrote no spec of the kind {kind}")
    return content
