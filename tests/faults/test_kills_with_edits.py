"""Kills at any moment, while somebody appends to the config: not a byte of theirs is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

from testbed.program import Installer

BASE = b"""# the site's own
version = 2
oom_score = -7 # keep
[plugins."io.containerd.grpc.v1.cri"]
  max_concurrent_downloads = 5
"""
NOBODYS = 0xFFFFFFFF
ENTRIES = ((1, 6), (2, 4), (4, 4), (16, 4), (32, 0))
OPTIONS = ("--runtime=containerd", "--restart-mode=none")
PACES = (0.04, 0.4, 2.0)
"""The most seconds between two lines of one round: a setup that never gets done is not undone."""
LONGEST = 3.0


def acl(user: int) -> bytes:
    """Return an ACL that lets one user read."""
    rows = (struct.pack("<HHI", tag, bits, user if tag == 2 else NOBODYS) for tag, bits in ENTRIES)
    return struct.pack("<I", 2) + b"".join(rows)


class Site:
    """A config with all that has to be kept, and somebody who appends to it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - moments, no secrets
        self.config = directory / "etc/config.toml"
        self.config.parent.mkdir()
        self.config.write_bytes(BASE)
        os.chown(self.config, 1234, 2345)
        self.config.chmod(0o640)
        os.setxattr(self.config, "user.label", b"theirs")
        try:
            os.setxattr(self.config, "system.posix_acl_access", acl(1000))
            os.setxattr(self.config.parent, "system.posix_acl_default", acl(1001))
        except OSError:
            pytest.skip("this file system has no ACLs")
        variables = {
            "CONTAINERD_CONFIG": str(self.config),
            "CONTAINERD_SOCKET": str(directory / "none.sock"),
            "TOOLKIT_RECONCILE_INTERVAL": "0.05",
            "TOOLKIT_DEBUG": "false",
        }
        self.installer = Installer(directory, variables)
        self.installer.pid_file.parent.mkdir()
        self.before = self.metadata()
        self.appended: list[bytes] = []
        self.longest = 0.5
        """Seconds within which a kill comes: up to ``LONGEST`` as long as a start takes here."""

    def metadata(self) -> tuple[object, ...]:
        status = self.config.stat()
        names = sorted(os.listxattr(self.config))
        kept = {name: os.getxattr(self.config, name) for name in names}
        return (status.st_mode, status.st_uid, status.st_gid, kept)

    def append_until(self, done: threading.Event) -> None:
        """Append lines, each through a descriptor that was opened a moment before."""
        pace = self.random.choice(PACES)
        while not done.wait(self.random.uniform(0, pace)):
            line = f"# edit {len(self.appended)}\n".encode()
            with self.config.open("ab", buffering=0) as stream:
                time.sleep(self.random.uniform(0, 0.004))
                stream.write(line)
            self.appended.append(line)

    def round(self) -> None:
        """Start, be killed or stopped at some moment, and revert, somebody appending meanwhile."""
        done = threading.Event()
        editor = threading.Thread(target=self.append_until, args=(done,))
        editor.start()
        try:
            for command in ((), ("revert",)):
                began = time.monotonic()
                process = self.installer.start(*command, *OPTIONS)
                time.sleep(self.random.uniform(0, self.longest))
                if not command and self.installer.ready_file.exists():
                    self.longest = max(0.2, 1.3 * (time.monotonic() - began))
                elif process.poll() is None:
                    self.longest = min(1.1 * self.longest, LONGEST)
                process.send_signal(self.random.choice([signal.SIGKILL] * 3 + [signal.SIGTERM]))
                process.wait(60)
        finally:
            done.set()
            editor.join()
        self.check(self.installer.run("revert", *OPTIONS))

    def check(self, done: object) -> None:
        """Compare all that is theirs, and look for anything that is ours."""
        content = self.config.read_bytes()
        said = f"{done}\n{self.installer.log()[-3000:]}"
        lines = content.removeprefix(BASE).splitlines(keepends=True)
        assert content.startswith(BASE), said
        assert sorted(lines) == sorted(self.appended), said
        assert lines == self.appended, said
        assert self.metadata() == self.before, said
        names = {each.name for each in self.config.parent.iterdir()}
        assert names == {self.config.name}, said
        assert not list(self.installer.pid_file.parent.iterdir()), said
        # Without an engine to be asked nobody knows whether a container uses the payload.
        left = self.installer.install_dir
        kept = {each.name for each in left.iterdir()} if left.exists() else set()
        assert kept <= {"toolkit", ".toolkit-journal"}, said
        shutil.rmtree(left, ignore_errors=True)


@pytest.mark.parametrize(
    "rounds", [5, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(0)])]
)
def test_no_byte_of_others_is_lost_whenever_it_is_killed(tmp_path: Path, rounds: int) -> None:
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    site = Site(tmp_path.resolve(), seed)
    for number in range(rounds):
        try:
            site.round()
        except AssertionError as error:
            raise AssertionError(f"round {number} of seed {seed}") from error
    sys.stderr.write(f"{rounds} rounds, {len(site.appended)} lines\n")
    assert site.appended
