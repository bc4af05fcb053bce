"""The whole job on a containerd of the demo's own: set up, run a container, put everything back."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.screen import Screen
from testbed.containerd import MACHINE, RELEASES, RealContainerd, real_containerd
from testbed.images import BUSYBOX_IMAGE
from testbed.packages import REPOSITORY
from testbed.sample_payload import make_sample_payload

CONFIG = b"""\
# The admin's own file: comments, order and spacing are theirs.
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "IMAGE"   # made on the spot

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
""".replace(b"IMAGE", BUSYBOX_IMAGE.encode())
PATIENCE = 30.0
"""Seconds that the program gets for a setup, and for its end."""


class DemoError(Exception):
    """Something did not come out as it should; the message says what."""


class Demo:
    """One containerd and one installer in a private directory."""

    def __init__(self, engine: RealContainerd, screen: Screen) -> None:
        self.engine = engine
        self.screen = screen
        self.directory = engine.directory
        self.trace = self.directory / "trace"
        self.ready_file = self.directory / "run/toolkit-ready"
        self.log = self.directory / "installer.log"
        self.payload = Path(os.environ.get("TOOLKIT_SOURCE_ROOT") or self.directory / "payload")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOST_ROOT_MOUNT": "/",
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": str(engine.config),
            "RUNTIME_DROP_IN_CONFIG": str(engine.config.parent / "conf.d/99-nvidia.toml"),
            "CONTAINERD_SOCKET": str(engine.socket),
            "TOOLKIT_INSTALL_DIR": str(self.directory / "nvidia"),
            "TOOLKIT_SOURCE_ROOT": str(self.payload),
            "TOOLKIT_PID_FILE": str(self.directory / "run/toolkit.pid"),
            "TOOLKIT_READY_FILE": str(self.ready_file),
        }
        if "TOOLKIT_SOURCE_ROOT" not in os.environ:
            self.environment["TOOLKIT_PACKAGE_TYPE"] = "deb"

    def run(self) -> None:
        """Show every step; raises DemoError at the first that goes wrong."""
        self.start_engine()
        before = self.files()
        with self.screen.step("nvidia-toolkit plan: what a setup would change, nothing done yet"):
            self.screen.quote(self.program("plan"))
        with self.installer() as process:
            self.wait_ready(process)
            self.show_handlers("The handlers as CRI reports them", "nvidia")
            self.run_container()
            self.terminate(process)
        self.compare(before)

    def start_engine(self) -> None:
        """Start containerd with the demo's config, and make the payload."""
        with self.screen.step("A containerd of the demo's own, on its own socket"):
            self.engine.config.write_bytes(CONFIG)
            self.engine.process.environment["SAMPLE_TRACE"] = str(self.trace)
            self.engine.process.sample_driver = not Path("/proc/driver/nvidia").exists()
            self.engine.process.network = False
            began = time.monotonic()
            self.engine.start()
            self.screen.say(f"containerd {self.engine.release.version}, without any network")
            self.screen.say(
                f"its CRI is ready {time.monotonic() - began:.2f} s after it was started"
            )
            self.screen.say(f"socket {self.engine.socket}, config {self.engine.config}:")
            self.screen.quote(CONFIG.decode())
            self.engine.import_image()
            self.screen.say(f"image {BUSYBOX_IMAGE}: a static busybox, packed on the spot")
            if "TOOLKIT_SOURCE_ROOT" in os.environ:
                self.screen.say(f"payload: {self.payload}")
            else:
                make_sample_payload(self.payload, package_type="deb")
                self.screen.say("payload: a SAMPLE in place of NVIDIA's files")
                self.screen.say("         (TOOLKIT_SOURCE_ROOT=DIR make demo takes the real ones)")

    @contextmanager
    def installer(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the daemon; at the end it is gone."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self.command(), env=self.environment, stdin=subprocess.DEVNULL, stderr=log
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Show the setup as the daemon logs it."""
        with self.screen.step("nvidia-toolkit: the setup"):
            began = time.monotonic()
            before = self.engine.process.pid
            while not self.ready_file.exists():
                if process.poll() is not None or time.monotonic() > began + PATIENCE:
                    raise DemoError(f"the setup failed:\n{self.log.read_text()}")
                time.sleep(0.005)
            took = time.monotonic() - began
            self.screen.quote(self.log.read_text())
            self.screen.say(f"containerd's PID was {before} and is {self.engine.process.pid}")
            self.screen.good(f"from the program's start to handlers verified: {took:.2f} s")

    def show_handlers(self, title: str, default: str) -> None:
        """Ask CRI, with the tests' own client, which handlers it serves."""
        with self.screen.step(title):
            served = self.engine.cri.served()
            for name, binary in sorted(served.handlers.items()):
                mark = "  (default)" if name == served.default else ""
                self.screen.say(f"{name:<14} {binary or 'runc'}{mark}")
            if served.default != default:
                raise DemoError(f"the default handler is {served.default}, not {default}")

    def run_container(self) -> None:
        """Run a container through the handler ``nvidia``."""
        with self.screen.step("A container through the handler nvidia, runc underneath"):
            script = "echo hello from $(uname -s); id; echo its network:; cat /proc/net/dev"
            # containerd 2 asks every handler's runtime for its features at start.
            self.trace.unlink(missing_ok=True)
            printed = self.engine.cri.run_to_end("nvidia", ("/bin/sh", "-c", script))
            self.screen.quote(printed)
            if "hello from Linux" not in printed:
                raise DemoError("the container did not say what it was told to")
            if self.trace.exists():
                lines = self.trace.read_text().splitlines()
                self.screen.say(f"the runtime was called {len(lines)} times, the first time as")
                self.screen.quote(lines[0].rpartition(" ")[0])

    def terminate(self, process: subprocess.Popen[bytes]) -> None:
        """Send SIGTERM and show the revert."""
        with self.screen.step("SIGTERM: everything back"):
            already = len(self.log.read_text())
            began = time.monotonic()
            process.terminate()
            code = process.wait(PATIENCE)
            took = time.monotonic() - began
            self.screen.quote(self.log.read_text()[already:])
            if code:
                raise DemoError(f"the program ended with exit code {code}")
            self.screen.good(f"exit code 0 after {took:.2f} s")
        self.show_handlers("The handlers as CRI reports them now", "runc")

    def files(self) -> dict[Path, tuple[str, int, int, int]]:
        """Return sha256, mode and owner of every file of the engine's configuration."""
        found = {}
        for path in sorted(self.engine.config.parent.rglob("*")):
            state = path.stat()
            content = path.read_bytes() if path.is_file() else b""
            digest = hashlib.sha256(content).hexdigest()
            found[path] = (digest, state.st_mode, state.st_uid, state.st_gid)
        return found

    def compare(self, before: dict[Path, tuple[str, int, int, int]]) -> None:
        """Compare the engine's files with what they were."""
        with self.screen.step("The config, byte for byte"):
            after = self.files()
            for path, (digest, mode, *_) in after.items():
                self.screen.say(f"{digest[:16]}  {mode:o}  {path}")
            with tempfile.NamedTemporaryFile(dir=self.directory) as original:
                original.write(CONFIG)
                original.flush()
                same = subprocess.run(
                    ("/usr/bin/cmp", original.name, self.engine.config), check=False
                )
            if after != before or same.returncode:
                raise DemoError(f"the configuration differs: {before} before, {after} now")
            self.screen.good("cmp and sha256: the same as before, mode and owner included")

    def program(self, *arguments: str) -> str:
        """Run the program to its end and return what it prints."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoError(f"nvidia-toolkit {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the program's command line."""
        return (str(REPOSITORY / ".venv/bin/nvidia-toolkit"), *arguments)


def main() -> int:
    """Run the demo; nothing of it is left afterwards."""
    # A demo that is told to stop still ends its engine and removes its directory.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    screen = Screen()
    release = next(each for each in (*reversed(RELEASES), MACHINE) if each.runs_here())
    try:
        with real_containerd(release) as engine:
            Demo(engine, screen).run()
    except (DemoError, RuntimeError, TimeoutError) as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    print(f"\nAll of it in {screen.total():.1f} s; no process and no file of it is left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
