"""A program in the sandbox sees the host and changes nothing of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.host.sandbox import DIRECTORY, Program, Sandbox, SandboxUnavailableError
from toolkit.host.sandbox_child import shown

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    try:
        made = Sandbox.open("/")
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def said(sandbox: Sandbox, script: str, **files: bytes) -> str:
    content = {f"{DIRECTORY}/{name}": each for name, each in files.items()}
    program = Program(arguments=("/bin/sh", "-c", script), seconds=30.0, files=content)
    (result,) = sandbox.run(program)
    return f"{result.status} {result.output.decode().strip()}"


def test_the_host_is_there_and_can_be_read_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("content")
    assert said(sandbox, f"cat {tmp_path}/there") == "0 content"
    assert said(sandbox, f"rm {tmp_path}/there || echo x > {tmp_path}/new || echo kept") == "0 kept"
    assert os.listdir(tmp_path) == ["there"]


def test_its_run_directory_devices_processes_and_network_are_its_own(
    sandbox: Sandbox,
) -> None:
    assert said(sandbox, "ls -A /run") == "0 "
    assert said(sandbox, "ls -x /dev") == "0 null  random  urandom  zero"
    assert said(sandbox, "echo $$ > /dev/null; ls -d /proc/[0-9]* | wc -l")[0] == "0"
    assert said(sandbox, "grep -c : /proc/net/dev") == "0 1"
    assert said(sandbox, f"cat {DIRECTORY}/config", config=b"of the request") == "0 of the request"
    assert not Path(DIRECTORY).exists()


def test_the_files_of_one_program_are_gone_at_the_next(sandbox: Sandbox) -> None:
    assert said(sandbox, f"ls {DIRECTORY}", one=b"", two=b"") == "0 one\ntwo"
    assert said(sandbox, f"rm {DIRECTORY}/three; ls {DIRECTORY}", three=b"") == "0 "
    assert said(sandbox, f"ls {DIRECTORY}", four=b"") == "0 four"


def test_a_program_is_ended_once_it_has_said_what_is_waited_for(sandbox: Sandbox) -> None:
    script = "echo loaded >&2; sleep 1000"
    arguments = ("/bin/sh", "-c", script)
    (result,) = sandbox.run(Program(arguments=arguments, seconds=60.0, until=(b"loaded",)))
    assert (result.status, result.timed_out, result.errors) == (0, False, "loaded\n")


def test_a_program_that_is_late_missing_or_fails_is_told_so(sandbox: Sandbox) -> None:
    (late,) = sandbox.run(Program(arguments=("/bin/sh", "-c", "sleep 1000"), seconds=0.1))
    assert late.timed_out
    (missing,) = sandbox.run(Program(arguments=("/nonexistent/program",), seconds=30.0))
    assert (missing.status, missing.errors) == (
        127,
        "/nonexistent/program: No such file or directory\n",
    )
    assert said(sandbox, "exit 3") == "3 "


def test_nothing_is_left_of_it(sandbox: Sandbox, tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    said(sandbox, f"(sleep 1000; : {tmp_path}) >/dev/null 2>&1 &")
    sandbox.close()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    with pytest.raises(SandboxUnavailableError):
        said(sandbox, "true")


def test_a_root_that_is_not_there_is_a_reason() -> None:
    with pytest.raises(SandboxUnavailableError):
        Sandbox.open("/nonexistent/root")


def test_mounts_of_pods_and_the_kernels_own_are_left_out() -> None:
    points = [
        "/", "/host", "/host/etc", "/host/run/x", "/host/dev/shm", "/host/proc", "/host/usr\\040x",
        "/host/var/lib/kubelet", "/host/var/lib/kubelet/pods/1", "/host/sys/fs/cgroup", "/other",
    ]  # fmt: skip
    table = "".join(f"1 2 8:1 / {point} rw - ext4 /dev/sda rw\n" for point in points)
    assert shown("/host", table) == ["/etc", "/usr x", "/var/lib/kubelet", "/sys/fs/cgroup"]


def test_programs_of_one_call_run_at_the_same_time(sandbox: Sandbox) -> None:
    waits = "until grep -qa '432[1]' /proc/[0-9]*/cmdline 2>/dev/null; do :; done"
    first, second = sandbox.run(
        Program(arguments=("/bin/sh", "-c", waits), seconds=30.0),
        Program(arguments=("/bin/sleep", "4321"), seconds=0.0),
    )

    assert first.status == 0, "it has seen the second one"
    assert second.timed_out


def test_programs_of_one_call_see_their_own_files_alone(sandbox: Sandbox) -> None:
    script = ("/bin/sh", "-c", f"cd {DIRECTORY} && cat *")
    programs = [
        Program(arguments=script, seconds=30.0, files={f"{DIRECTORY}/{name}": name.encode()})
        for name in ("one", "two")
    ]

    assert [each.output for each in sandbox.run(*programs)] == [b"one", b"two"]
