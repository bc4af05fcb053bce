"""What stays resident, started as the daemon starts it, which becomes a program that says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from testbed.packages import REPOSITORY
from toolkit.daemon import handover
from toolkit.daemon.keeper_state import STAY, Handover, Resident, Watch

RESIDENT = Resident(lock_fd=3, lock_path="/run/toolkit.pid", lock_made=())
BACK = """
import os, signal
from toolkit.daemon.keeper_state import taken_over
print(os.getpid(), signal.SIGTERM in signal.sigpending(), taken_over(os.environ).woken)
"""
START = 'NVIDIA_TOOLKIT_RESIDENT="$$:$0:/usr/local/nvidia" exec "$@"'


class Kept:
    """The process."""

    def __init__(self, watch: Watch, pass_fds: Sequence[int] = ()) -> None:
        watch = replace(watch, command=(sys.executable, "-c", BACK))
        record = msgspec.to_builtins(
            Handover(resident=RESIDENT, watch=watch), builtin_types=(bytes,)
        )
        descriptor = handover.write(record)
        self.process = subprocess.Popen(
            ("/bin/sh", "-c", START, str(descriptor), sys.executable, "-I", "-S", STAY),
            pass_fds=(*pass_fds, descriptor),
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            text=True,
        )

    def woken(self) -> tuple[str, bool]:
        """Wait for the program; return why it was started, and whether a SIGTERM is pending."""
        printed, _ = self.process.communicate(timeout=60)
        pid, pending, reason = printed.strip().split(" ", 2)
        assert int(pid) == self.process.pid
        return reason, pending == "True"
