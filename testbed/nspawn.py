"""A Debian with systemd, booted in systemd-nspawn: the node that the installer works on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.containerd import ContainerdRelease, low_level_runtime, sandbox_image
from testbed.cri import CriClient
from testbed.images import BUSYBOX_IMAGE, write_oci_archive
from testbed.packages import REPOSITORY, busybox
from testbed.supervised import Supervised, private_directory, wait_for

CONTAINER = """
set -e
mkdir -p "$1/host"
mount --no-mtab --rbind / "$1/host"
mount --no-mtab -t proc proc /outer/proc
shift
exec chroot /outer "$@"
"""
"""A container with ``hostPID``: the node's PID namespace with its /proc, and a mount namespace of
its own whose root is the machine that the tests run on, with the node's root mounted below it."""
WRITABLE_CGROUPS = """
while read -r _ directory kind options _; do
    case "$kind $options" in
        cgroup\\ ro,*) mount --no-mtab -o remount,rw,bind "$directory" ;;
    esac
done </proc/self/mounts
"""
"""On a machine with cgroup version 1 nspawn mounts the controllers read-only: no pod could run."""


class Node:
    """A booted node; the paths of its files as the tests see them are below ``root``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        """Its file system, without what the node itself mounts (/run, /tmp, /proc)."""
        self.host_root = directory / "container/host"
        """Where the container of ``start_installer`` has the node's root."""
        self.process = Supervised(
            directory / "supervisor",
            (
                *("/usr/bin/systemd-nspawn", "-q", "-b", "-D", str(self.root)),
                *(
                    "-M",
                    directory.name.replace("_", "-0"),
                    "--private-network",
                    "--capability=all",
                    "--keep-unit",
                ),
                *("--register=no", "--console=pipe", "--bind=/:/outer"),
                # runc makes a session keyring and, under cgroup 2, a BPF program for devices.
                "--system-call-filter=@keyring bpf",
            ),
            {"PATH": os.environ["PATH"]},
        )

    def boot(self) -> None:
        """Boot it, also once more after its end, and wait until containerd serves CRI."""
        self.process.stop()
        self.process.start()
        self.process.hold()
        try:
            wait_for(self._find_init, "the node's init")
            wait_for(self.cri.ready, "the node's containerd")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.process.log()[-4000:]}") from None
        self.run("sh", "-c", WRITABLE_CGROUPS)

    def stop(self) -> None:
        """End every process of the node at once; an orderly shutdown would take seconds."""
        init = self._find_init()
        if init is not None:
            os.kill(init, signal.SIGKILL)
        self.process.stop()

    @property
    def booted(self) -> bool:
        """Whether its systemd runs: not from a shutdown to the next ``boot``."""
        return self._find_init() is not None

    @property
    def init(self) -> int:
        """The PID of its systemd in the tests' PID namespace."""
        found = self._find_init()
        if found is None:
            raise RuntimeError("the node does not run")
        return found

    @property
    def socket(self) -> Path:
        """Its containerd's socket as the tests reach it."""
        return Path(f"/proc/{self.init}/root/run/containerd/containerd.sock")

    @property
    def cri(self) -> CriClient:
        """CRI on the node; logs of containers lie in the node's /var/log/pods."""
        logs = Path("/var/log/pods")
        return CriClient(self.socket, logs, seen_as=self.root / "var/log/pods")

    def run(self, *command: str) -> str:
        """Run a command on the node, as its root user would, and return what it prints."""
        entered = ("nsenter", "--all", "--target", str(self.init), "--", *command)
        done = subprocess.run(entered, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def unit_pid(self, unit: str = "containerd") -> int:
        """Return a unit's main process in the node's PID namespace; 0: none."""
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", unit))

    def automatic_restarts(self, unit: str = "containerd") -> int:
        """Return how often systemd itself started a unit again, which waits for ``RestartSec``."""
        return int(self.run("systemctl", "show", "--property=NRestarts", "--value", unit))

    def import_image(self) -> str:
        """Give containerd the busybox image, also as its sandbox image; return its name."""
        write_oci_archive(self.root / "root/busybox.tar", busybox())
        ctr = ("ctr", "--namespace", "k8s.io", "images")
        self.run(*ctr, "import", "/root/busybox.tar")
        sandbox = sandbox_image(self.run("containerd", "config", "dump"))
        self.run(*ctr, "tag", "--force", BUSYBOX_IMAGE, sandbox)
        self.cri.wait_image(BUSYBOX_IMAGE)
        self.cri.wait_image(sandbox)
        return BUSYBOX_IMAGE

    def start_installer(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> InstallerContainer:
        """Start the installer as a container with ``hostPID`` does, its output in files.

        Paths of the tests' machine are its own (the payload, for instance); the node is below
        ``host_root``, which ``HOST_ROOT_MOUNT`` names.
        """
        program = (str(REPOSITORY / ".venv/bin/python"), "-m", "toolkit", *arguments)
        return self.start_container(program, environment)

    def start_container(
        self, program: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> InstallerContainer:
        """Start any program of the tests' machine in the place of the installer's container."""
        variables = {"PATH": os.environ["PATH"], "HOST_ROOT_MOUNT": str(self.host_root)}
        variables |= environment or {}
        assignments = [f"{name}={value}" for name, value in variables.items()]
        command = (
            *("nsenter", "--mount", "--pid", "--target", str(self.init), "--"),
            *("unshare", "--mount", "sh", "-c", CONTAINER, "sh"),
            f"/outer{self.host_root.parent}",
            *("env", "--chdir", str(REPOSITORY), "-i", *assignments, *program),
        )
        return InstallerContainer(command, Path(tempfile.mkdtemp(dir=self.directory)))

    def _find_init(self) -> int | None:
        for child in children_of(self.process.pid):
            status = Path(f"/proc/{child}/status").read_text()
            if (
                "\nNSpid:" in status
                and status.split("\nNSpid:")[1].split("\n")[0].split()[-1] == "1"
            ):
                return child
        return None


class InstallerContainer:
    """A program in a container on the node."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self.stdout_file = directory / "stdout"
        self.stderr_file = directory / "stderr"
        self.started_at = time.monotonic()
        with self.stdout_file.open("wb") as out, self.stderr_file.open("wb") as err:
            self._nsenter = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self.stdout_file.read_text()

    @property
    def stderr(self) -> str:
        """What it logged so far."""
        return self.stderr_file.read_text()

    @property
    def pid(self) -> int:
        """The program's PID in the tests' PID namespace."""
        return wait_for(lambda: children_of(self._nsenter.pid), "the container's process")[0]

    def kill(self, signal_number: signal.Signals) -> None:
        """Signal the program itself, not the nsenter in front of it."""
        os.kill(self.pid, signal_number)

    def running(self) -> bool:
        """Say whether it still runs."""
        return self._nsenter.poll() is None

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end and return its exit code; a timeout shows its log."""
        try:
            return self._nsenter.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {timeout} s:\n{self.stderr[-4000:]}") from None

    def end(self) -> None:
        """Kill it where it still runs."""
        if self.running():
            self.kill(signal.SIGKILL)
            self.wait()


@contextmanager
def booted_node(release: ContainerdRelease | None = None) -> Iterator[Node]:
    """Boot a copy of the node's tree, with the given containerd; nothing of it stays."""
    tree = REPOSITORY / ".cache/node/bookworm"
    if not tree.exists():
        subprocess.run((REPOSITORY / "tools/node-tree",), check=True)
    with private_directory("node-") as directory:
        node = Node(directory)
        subprocess.run(("/bin/cp", "-a", "--reflink=auto", tree, node.root), check=True)
        if release is not None:
            for program in release.programs.iterdir():
                shutil.copy2(program, node.root / "usr/bin" / program.name)
        original = (node.root / "usr/sbin/runc").rename(node.root / "usr/sbin/runc.debian")
        low_level_runtime(node.root / "usr/sbin/runc", Path("/usr/sbin") / original.name)
        try:
            node.boot()
            yield node
        finally:
            node.stop()


def children_of(pid: int) -> list[int]:
    """Return the PIDs of a process's children."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return []
    return found
