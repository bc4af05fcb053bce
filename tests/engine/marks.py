"""Low-level runtimes that tell that they were started: what a pod really ran."""

from __future__ import annotations

from testbed.containerd import RealContainerd


class Marks:
    """Programs below the engine's directory, each of which leaves its name and becomes runc."""

    def __init__(self, engine: RealContainerd) -> None:
        self.directory = engine.directory / "bin"
        self._file = engine.directory / "marks"
        (self.directory / "runc").rename(self.directory / "real-runc")
        self.binary("runc")

    def binary(self, name: str) -> str:
        """Make one and return its path."""
        program = self.directory / name
        program.write_text(
            f'#!/bin/sh\necho {name} >>{self._file}\nexec {self.directory}/real-runc "$@"\n'
        )
        program.chmod(0o755)
        return str(program)

    def path(self, name: str) -> str:
        """Return where one lies."""
        return str(self.directory / name)

    def clear(self) -> None:
        """Forget what was started."""
        self._file.unlink(missing_ok=True)

    def left(self) -> set[str]:
        """Return the names of those that were started."""
        return set(self._file.read_text().split()) if self._file.exists() else set()
