"""What a start refuses in one line, before it has touched anything: the whole program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from testbed.program import Installer

FILES_ONLY = ("--no-daemon", "--no-runtime-config")


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    made = Installer(tmp_path.resolve(), {"TOOLKIT_DEBUG": "false"})
    made.pid_file.parent.mkdir()
    return made


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that the program ended with."""
    assert done.returncode in {1, 2}
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("command", [FILES_ONLY, ("revert",)], ids=["start", "revert"])
@pytest.mark.parametrize("name", ["toolkit.pid", "toolkit-ready", "label"])
@pytest.mark.parametrize("dangling", [False, True], ids=["target", "dangling"])
def test_a_link_in_the_place_of_a_file_of_ours(
    installer: Installer, name: str, command: tuple[str, ...], *, dangling: bool
) -> None:
    feature = {"TOOLKIT_FEATURE_FILE": str(installer.pid_file.with_name("label"))}
    installer.variables = {**installer.variables, **feature}
    victim = installer.directory / "victim"
    if not dangling:
        victim.write_text("theirs")
    link = installer.pid_file.with_name(name)
    link.symlink_to(victim)
    line = refused(installer.run(*command))
    assert f"{link} is a symbolic link; remove the link or name another file with --" in line
    assert victim.exists() != dangling
    assert dangling or victim.read_text() == "theirs"
    assert link.is_symlink()
    assert [each.name for each in link.parent.iterdir()] == [link.name]
    assert not installer.install_dir.exists()


@pytest.mark.parametrize("given", ["--toolkit-install-dir", "ROOT", "positional"])
def test_an_install_directory_that_can_stand_in_no_search_path(
    installer: Installer, given: str
) -> None:
    directory = str(installer.directory / "a:b")
    variables = {"ROOT": directory} if given == "ROOT" else {}
    arguments = {"positional": (directory,), "ROOT": ()}.get(given, (f"{given}={directory}",))
    installer.variables = {**installer.variables, **variables}
    line = refused(installer.run(*FILES_ONLY, *arguments))
    assert "has a ':'" in line
    assert not (installer.directory / "a:b").exists()


@pytest.mark.parametrize("command", [FILES_ONLY, ("plan",)], ids=["start", "plan"])
def test_a_machine_without_proc(installer: Installer, command: tuple[str, ...]) -> None:
    # Until the last of several on top of each other is gone.
    gone = "while umount -l /proc 2>/dev/null; do :; done"
    script = f'mount --make-rprivate / && {gone} && exec "$@"'
    installer.prefix = ("unshare", "-m", "sh", "-ec", script, "sh")
    done = installer.run(*command)
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine allows no mount namespace")
    assert "/proc is not mounted" in refused(done)
    assert not installer.install_dir.exists()
    assert not list(installer.pid_file.parent.iterdir())
