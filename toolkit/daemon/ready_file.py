"""The ready file: it exists only while the engine serves what we set up.

It outlives a SIGKILL, so it holds what a reader needs to see whether its writer still runs.
"""

from __future__ import annotations

import os
import posixpath

from toolkit.host.writer import FileMetadata, FileWriter


def boot_id(proc: str = "/proc") -> str:
    """Return the kernel's identifier of this boot; empty where it cannot be read."""
    try:
        with open(f"{proc}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def start_time_of(pid: str = "self", proc: str = "/proc") -> str:
    """Return the start time of a process in clock ticks since boot; an exec does not change it.

    Raises OSError where the process does not exist.
    """
    with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rsplit(")", 1)[1].split()[19]


def content() -> str:
    """Return the content of the file while this process marks the node ready."""
    return f"pid={os.getpid()}\nstart_time={start_time_of()}\nboot_id={boot_id()}\n"


class ReadyFile:
    """Creates and removes the file.

    Raises HostPathError where the disk refuses, and where a symbolic link is in its place, as the
    target is not ours.
    """

    def __init__(self, writer: FileWriter, path: str) -> None:
        self._writer = writer
        self.path = path
        """On the host."""

    def missing_directories(self) -> tuple[str, ...]:
        """Return the directories to be made for it, outermost first."""
        return self._writer.missing_directories(posixpath.dirname(self.path))

    def make(self) -> None:
        """Create the file: the handlers are served."""
        self._writer.make_directories(posixpath.dirname(self.path))
        self._writer.write(self.path, content().encode(), FileMetadata(mode=0o644), follow=False)

    def remove(self) -> None:
        """Remove the file: they are not served, or may not be."""
        self._writer.remove(self.path, follow=False)
