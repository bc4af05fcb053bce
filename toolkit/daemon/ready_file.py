"""What the ready file says; by it a reader sees whether its writer, maybe killed, still runs."""

from __future__ import annotations

import os


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
