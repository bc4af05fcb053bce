"""A test run in PID and mount namespaces of its own.

What else runs on the machine is not seen by the tests: a kubelet, mounts that come and go, a second
run of the same tests. What a test leaves running or mounted ends with the run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess

CLONE_NEWNS = 0x20000
CLONE_NEWPID = 0x20000000
PR_SET_PDEATHSIG = 1
FROM_THE_KERNEL = 0x80
"""``si_code`` of a signal that a terminal sends: every process of the run has got it already."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def enter() -> None:
    """Return in a descendant inside new namespaces; the caller's process ends with its exit code.

    Without the right to make namespaces nothing changes.
    """
    attempt = ("unshare", "--pid", "--fork", "--mount-proc", "true")
    if subprocess.run(attempt, check=False, capture_output=True).returncode:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(CLONE_NEWPID | CLONE_NEWNS)
    init = os.fork()
    if init:
        _follow(init)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    subprocess.run(("/bin/mount", "--no-mtab", "--make-rslave", "/"), check=True)
    subprocess.run(("/bin/mount", "--no-mtab", "-t", "proc", "proc", "/proc"), check=True)
    tests = os.fork()
    if tests:
        _follow(tests)


def _follow(child: int) -> None:
    """Pass signals on to a child, reap what is orphaned, and exit as the child does."""
    signals = (*FORWARDED, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while True:
        while True:
            try:
                dead, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(1)
            if dead == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
            if dead == 0:
                break
        taken = signal.sigwaitinfo(signals)
        if taken.si_signo in FORWARDED and taken.si_code != FROM_THE_KERNEL:
            os.kill(child, taken.si_signo)
