"""`plan`, `status`, `verify` and `doctor` beside a real engine: they read, and tell what is so."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import PROGRAM, Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import installer_of, wait_idle

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize(
        "containerd_release",
        [each for each in RELEASES if each.series.startswith("2.")],
        ids=lambda each: f"containerd-{each.series}",
    ),
]
ROOT = Path(__file__).parents[2]
READERS = ("plan", "status", "verify", "doctor")
ESCAPE = re.compile(rb"\x1b\[[0-9;]*m")
CHANGING = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,flock"
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|rename|unlink|mkdir|rmdir|flock")


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    containerd.start()
    program = installer_of(containerd, TOOLKIT_DEBUG="false")
    yield program
    program.end()


def tree(installer: Installer, containerd: RealContainerd) -> dict[str, tuple[object, ...]]:
    return snapshot(installer.directory, besides=(containerd.root, containerd.state))


def test_patch_applies_the_plan_to_what_the_set_up_makes(
    containerd: RealContainerd, installer: Installer, tmp_path: Path
) -> None:
    (tmp_path / "etc").mkdir()
    copy = tmp_path / "etc/config.toml"
    copy.write_bytes(containerd.config.read_bytes())
    diff = installer.run("plan").stdout
    told = [line for line in diff.splitlines() if line.startswith("#")]
    assert told[0].startswith("# payload: install ")
    assert told[-1].startswith("# reload: yes, ")
    etc = str(containerd.config.parent)
    strip = len(Path(etc).parts)
    done = subprocess.run(
        ("/usr/bin/patch", f"-p{strip}", "--directory", str(tmp_path / "etc")),
        input=diff,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    installer.start()
    wait_idle(installer)
    for path in containerd.config.parent.rglob("*.toml"):
        assert (tmp_path / "etc" / path.relative_to(etc)).read_bytes() == path.read_bytes()


def test_a_plan_says_before_that_a_hard_link_will_be_severed(
    containerd: RealContainerd, installer: Installer
) -> None:
    other = installer.directory / "other-name.toml"
    other.hardlink_to(containerd.config)
    content = other.read_bytes()
    note = f"# note: {containerd.config} has 2 names (hard links): the others keep the old content"
    assert note in installer.run("plan").stdout
    installer.start()
    wait_idle(installer)
    assert note.removeprefix("# note: ") in installer.log()
    assert installer.stop() == 0, installer.log()
    assert other.read_bytes() == containerd.config.read_bytes() == content


def test_a_plan_has_colours_on_a_terminal_alone(installer: Installer) -> None:
    plain = installer.run("plan").stdout.encode()
    assert b"\x1b" not in plain
    shown = on_terminal(installer, "plan")
    assert b"\x1b[32m+" in shown
    assert ESCAPE.sub(b"", shown).replace(b"\r\n", b"\n") == plain
    installer.variables = {**installer.variables, "NO_COLOR": "1"}
    assert b"\x1b" not in on_terminal(installer, "plan")


def on_terminal(installer: Installer, command: str) -> bytes:
    terminal, end = pty.openpty()
    with subprocess.Popen((*PROGRAM, command), env=installer.environment, stdout=end) as process:
        os.close(end)
        found = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the last one that had it open is gone
                break
            found += part
            if not part:
                break
        process.wait(30)
    os.close(terminal)
    return found


def test_exit_codes_and_documents_follow_the_state(installer: Installer) -> None:
    assert installer.run("plan").returncode == 0
    assert installer.run("plan", "--detailed-exitcode").returncode == 5
    assert installer.run("verify").returncode == 1
    planned = json.loads(installer.run("plan", "--output=json").stdout)
    assert {each["action"] for each in planned["changes"]} == {"create", "edit"}
    assert planned["payload"]["action"] == "install"
    assert planned["reload"]["needed"] is True
    assert json.loads(installer.run("status", "--output=json").stdout)["state"] == "not set up"

    installer.start()
    wait_idle(installer)
    assert installer.run("plan", "--detailed-exitcode").returncode == 0
    nothing = installer.run("plan").stdout
    assert all(line.startswith("# ") for line in nothing.splitlines())
    assert nothing.splitlines()[-1] == "# reload: no, nothing differs and all is served"
    assert installer.run("verify").returncode == 0
    verified = json.loads(installer.run("verify", "--output=json").stdout)
    assert verified["ok"] is True
    assert verified["default"] == "nvidia"
    state = json.loads(installer.run("status", "--output=json").stdout)
    assert (state["state"], state["ready"]) == ("ready", True)
    assert installer.process is not None
    assert state["pid"] == installer.process.pid
    assert set(state["files"].values()) == {"as we left it"}
    assert state["payload"]["intact"] is True

    installer.end()
    killed = json.loads(installer.run("status", "--output=json").stdout)
    assert killed["ready"] is False
    assert killed["state"] == "set up, not verified at present"


def test_doctor_names_each_check_and_a_problem_with_its_mend(
    containerd: RealContainerd, installer: Installer
) -> None:
    document = json.loads(installer.run("doctor", "--output=json").stdout)
    checks = {each["check"] for each in document["findings"]}
    assert {"versions", "path", "privileges", "hostPID", "SELinux", "driver"} <= checks
    assert {"install directory", "pid file", "config file", "engine", "CRI"} <= checks
    assert {"restart", "payload", "journal", "lock", "plan"} <= checks
    assert installer.run("doctor").returncode == 0
    containerd.process.hold()
    containerd.process.kill(signal.SIGKILL)
    stopped = installer.run("doctor")
    assert stopped.returncode == 1
    (line,) = [each for each in stopped.stdout.splitlines() if each.startswith("problem")]
    assert " -> start containerd" in line
    assert "unknown  CRI: not looked at: containerd can't be reached" in stopped.stdout


def test_what_the_files_say_is_not_taken_for_the_word_of_an_engine_that_is_down(
    containerd: RealContainerd, installer: Installer
) -> None:
    assert installer.run("--no-daemon").returncode == 0
    containerd.process.hold()
    containerd.process.kill(signal.SIGKILL)
    verified = installer.run("verify", "--output=json")
    assert verified.returncode == 1
    document = json.loads(verified.stdout)
    assert (document["served"], document["default"], document["ok"]) == ({}, None, False)
    state = json.loads(installer.run("status", "--output=json").stdout)
    assert str(containerd.socket) in state["served"]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("state", ["before", "after"])
def test_a_command_that_reads_writes_nothing_and_takes_no_lock(
    containerd: RealContainerd, installer: Installer, command: str, state: str
) -> None:
    if state == "after":
        installer.start()
        wait_idle(installer)
    before = tree(installer, containerd)
    record = installer.directory / "root/trace"
    done = subprocess.run(
        (
            "/usr/bin/strace",
            "-f",
            "-qq",
            "-e",
            f"trace={CHANGING}",
            "-o",
            record,
            *PROGRAM,
            command,
        ),
        env={**installer.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    calls = [
        line
        for line in record.read_text().splitlines()
        if WRITING.search(line) and "/dev/" not in line and "/proc/" not in line
    ]
    record.unlink()
    written = [line for line in calls if "ENOENT" not in line]
    assert [line for line in written if str(containerd.directory) in line] == []
    assert tree(installer, containerd) == before


def test_the_documentation_shows_what_is_printed(installer: Installer) -> None:
    page = (ROOT / "docs/commands.md").read_text()
    assert sample("doctor") == names_in(document(installer, "doctor"))
    assert sample("status-before") == names_in(document(installer, "status"))
    assert sample("verify-before") == names_in(document(installer, "verify"))
    installer.start()
    wait_idle(installer)
    planned = installer.run("plan").stdout.splitlines()
    assert all(line.startswith("# ") for line in planned)
    assert f"`{planned[-1]}`" in page
    assert sample("status") == names_in(document(installer, "status"))
    assert sample("verify") == names_in(document(installer, "verify"))


def document(installer: Installer, command: str) -> object:
    found: object = json.loads(installer.run(command, "--output=json").stdout)
    return found


def sample(name: str) -> object:
    """Return the names in a document whose text the documentation shows."""
    return names_in(json.loads((ROOT / f"tests/unit/samples/{name}.json").read_text()))


def names_in(found: object) -> object:
    """Return what a document is about, without what differs from run to run."""
    if isinstance(found, dict):
        return {
            Path(name).name: value if name in ("id", "verdict", "state") else names_in(value)
            for name, value in found.items()
        }
    if isinstance(found, list):
        return [names_in(each) for each in found]
    return type(found)


def host(installer: Installer, containerd: RealContainerd) -> dict[str, tuple[object, ...]]:
    """Return everything that is neither the engine's own state nor what the tests write."""
    logs = (containerd.directory / "supervisor", installer.log_file)
    return snapshot(installer.directory, besides=(containerd.root, containerd.state, *logs))


def test_a_revert_after_no_daemon_removes_what_was_made_for_pid_and_ready_file_too(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.variables = {
        **installer.variables,
        "TOOLKIT_PID_FILE": str(installer.directory / "made/for/toolkit.pid"),
        "TOOLKIT_READY_FILE": str(installer.directory / "made/beside/ready"),
    }
    before = host(installer, containerd)
    assert installer.run("--no-daemon").returncode == 0
    assert (installer.directory / "made/beside/ready").exists()
    assert installer.run("revert").returncode == 0
    containerd.wait_ready()
    assert host(installer, containerd) == before


def test_directories_that_were_there_before_stay_after_a_kill_and_a_revert(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.pid_file.parent.mkdir()
    before = host(installer, containerd)
    installer.start()
    wait_idle(installer)
    installer.end()
    assert installer.run("revert").returncode == 0
    containerd.wait_ready()
    assert host(installer, containerd) == before


def test_a_start_after_a_kill_knows_what_was_made_for_the_pid_file(
    containerd: RealContainerd, installer: Installer
) -> None:
    before = host(installer, containerd)
    installer.start()
    wait_idle(installer)
    installer.end()
    installer.start()
    wait_idle(installer)
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert host(installer, containerd) == before


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full"])
@pytest.mark.parametrize(("command", "code"), [("plan", 0), ("verify", 1), ("--bogus", 2)])
def test_a_stream_that_is_closed_changes_no_exit_code_and_breaks_nothing(
    installer: Installer, closed: str, command: str, code: int
) -> None:
    done = subprocess.run(
        ("/bin/bash", "-c", f'"$@" {closed}', "bash", *PROGRAM, command),
        env=installer.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    if closed == ">/dev/full" and command != "--bogus":
        assert done.returncode == 1
        assert "the result can't be printed: No space left on device" in done.stderr
    else:
        assert done.returncode == code, done.stderr


def test_a_log_that_nobody_reads_any_more_ends_no_daemon(
    containerd: RealContainerd, installer: Installer
) -> None:
    reader, writer = os.pipe()
    with open(writer, "wb") as pipe:
        installer.process = subprocess.Popen(PROGRAM, env=installer.environment, stderr=pipe)
    wait_idle(installer)
    os.close(reader)
    drop_in = containerd.config.parent / "conf.d/99-nvidia.toml"
    drop_in.unlink()
    wait_for(drop_in.exists, "the drop-in to come back")
    wait_idle(installer)
    assert installer.stop() == 0
    assert not drop_in.exists()


def test_a_revert_finds_the_engine_where_the_set_up_found_it(
    containerd: RealContainerd, installer: Installer
) -> None:
    assert installer.run("--no-daemon").returncode == 0
    installer.variables = {
        name: value
        for name, value in installer.variables.items()
        if name not in ("CONTAINERD_SOCKET", "CONTAINERD_CONFIG", "RUNTIME_DROP_IN_CONFIG")
    }
    state = json.loads(installer.run("status", "--output=json").stdout)
    assert state["served"]["nvidia"] == installer.binary("nvidia")
    done = installer.run("revert", "--purge")
    assert done.returncode == 0, done.stderr
    assert "engine reloaded: yes" in done.stdout
    containerd.wait_ready()
    assert containerd.cri.served().default == "runc"
    assert not installer.install_dir.exists()
