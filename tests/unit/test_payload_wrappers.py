"""The wrappers, run by real shells."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.payload_host import real_root, settings_of
from testbed.sample_payload import RELEASED, WITH_DRIVER, make_sample_payload
from toolkit.host.clock import UninterruptedClock
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.low_level import LowLevelRuntimes
from toolkit.payload.source import CLI, CTK, HOOK, MODES, RUNTIME, RUNTIMES, WRAPPED
from toolkit.payload.wrappers import wrapper

SHELLS = [
    shell
    for shell in (["/bin/dash"], ["/bin/bash", "--posix"], ["/bin/busybox", "sh"])
    if Path(shell[0]).exists()
]
LOADED = Path("/sys/module/nvidia").exists() or Path("/proc/driver/nvidia").exists()
"""A GPU machine: there the wrappers of the runtimes go the other way."""

_REPORT = """\
#!{python} -IS
import json, os, sys
report = {{"name": {name!r}, "argv": sys.argv[1:], "pid": os.getpid(), "env": dict(os.environ)}}
with open({path!r}, "w") as file:
    json.dump(report, file)
sys.stderr.flush()
"""


class Directory:
    """A toolkit directory whose programs, and whose low-level runtime, tell how they were run."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.report = path / "report.json"
        self.runc = path / "run c's"
        self._program(self.runc, "runc")
        for name in WRAPPED:
            self._program(path / f"{name}.real", f"{name}.real")
            (path / name).write_bytes(wrapper(name, str(path), str(self.runc)))
            (path / name).chmod(0o755)
        for name, mode in MODES.items():
            (path / mode).write_bytes(wrapper(name, str(path), str(self.runc), mode))
            (path / mode).chmod(0o755)

    def _program(self, path: Path, name: str) -> None:
        path.write_text(
            _REPORT.format(python=sys.executable, name=name, path=os.fspath(self.report))
        )
        path.chmod(0o755)

    def run(
        self, name: str, *arguments: str, shell: list[str] | None = None, **env: str
    ) -> dict[str, object]:
        """Start a wrapper with this environment alone; nothing may be said on the way."""
        command = [*(shell or []), os.fspath(self.path / name), *arguments]
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            said = process.communicate()
        assert said == (b"", b"")
        assert process.returncode == 0
        report: dict[str, object] = json.loads(self.report.read_text())
        assert process.pid == report["pid"]
        return report


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Directory:
    return Directory(tmp_path_factory.mktemp("a b") / 'it\'s $HOME "toolkit"')


def environment(report: Mapping[str, object]) -> dict[str, str]:
    found = report["env"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
@pytest.mark.parametrize("name", WRAPPED)
def test_arguments_arrive_unchanged_in_every_shell(
    directory: Directory, shell: list[str], name: str
) -> None:
    arguments = ["", " ", "a b", 'say "hi"', "it's", "$HOME `id` \\", "-", "--", "*", "x\ny\n"]
    assert arguments == directory.run(name, *arguments, shell=shell)["argv"]
    assert directory.run(name, shell=shell)["argv"] == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6)
)
def test_any_arguments_arrive_unchanged(directory: Directory, arguments: list[str]) -> None:
    assert arguments == directory.run(RUNTIMES[0], *arguments)["argv"]
    assert arguments == directory.run(HOOK, *arguments)["argv"]


@pytest.mark.parametrize("name", WRAPPED)
def test_no_program_of_the_search_path_is_needed(directory: Directory, name: str) -> None:
    report = directory.run(name, PATH="/nonexistent")
    assert report["name"] in (f"{name}.real", "runc")


@pytest.mark.skipif(LOADED, reason="a driver is loaded on this machine")
@pytest.mark.parametrize("name", [*RUNTIMES, *MODES.values()])
def test_without_a_driver_the_low_level_runtime_runs_with_an_untouched_environment(
    directory: Directory, name: str
) -> None:
    report = directory.run(name, "create", PATH="/usr/bin", HOME="/root")
    assert report["name"] == "runc"
    found = environment(report)
    assert {"PATH": "/usr/bin", "HOME": "/root"}.items() <= found.items()
    assert not {"NVIDIA_CTK_CONFIG_FILE_PATH", "XDG_CONFIG_HOME", "LD_LIBRARY_PATH"} & set(found)


def test_the_command_line_tool_finds_its_own_libraries(directory: Directory) -> None:
    found = environment(directory.run(CLI, PATH="/usr/bin", LD_LIBRARY_PATH="/opt/lib"))
    assert found["LD_LIBRARY_PATH"] == f"{directory.path}:/opt/lib"
    assert found["PATH"] == f"{directory.path}:/usr/bin"


def test_an_empty_search_path_gets_no_current_directory(directory: Directory) -> None:
    found = environment(directory.run(CLI, LD_LIBRARY_PATH="", PATH=""))
    assert found["LD_LIBRARY_PATH"] == str(directory.path)
    assert found["PATH"] == str(directory.path)


def test_the_hook_reads_the_installed_config(directory: Directory) -> None:
    found = environment(directory.run(HOOK))
    config = directory.path / ".config/nvidia-container-runtime/config.toml"
    assert found["NVIDIA_CTK_CONFIG_FILE_PATH"] == str(config)
    assert found["XDG_CONFIG_HOME"] == str(directory.path / ".config")
    assert "LD_LIBRARY_PATH" not in environment(directory.run(CTK))


def with_driver(*command: str) -> list[str]:
    """Return a command that runs where a driver looks loaded, in a mount namespace of its own."""
    return [*WITH_DRIVER, *command]


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("unshare") is None
    or subprocess.run(with_driver("true"), capture_output=True, check=False).returncode != 0,
    reason="needs root and a mount namespace",
)


@needs_mounts
@pytest.mark.parametrize("name", RUNTIMES)
def test_with_a_driver_the_real_runtime_runs_with_its_config(
    directory: Directory, name: str
) -> None:
    report = directory.run(name, "a b", "", shell=with_driver(), PATH="/usr/bin:/bin")
    assert report["name"] == f"{name}.real"
    assert report["argv"] == ["a b", ""]
    found = environment(report)
    assert found["PATH"] == f"{directory.path}:/usr/bin:/bin"
    config = directory.path / ".config/nvidia-container-runtime/config.toml"
    assert found["NVIDIA_CTK_CONFIG_FILE_PATH"] == str(config)


@needs_mounts
@pytest.mark.parametrize("mode", MODES.values())
def test_with_a_driver_the_main_runtime_runs_for_one_of_a_mode_with_that_mode_s_config(
    directory: Directory, mode: str
) -> None:
    report = directory.run(mode, "a b", "", shell=with_driver(), PATH="/usr/bin:/bin")
    assert report["name"] == f"{RUNTIME}.real"
    assert report["argv"] == ["a b", ""]
    found = environment(report)
    home = directory.path / ".config" / mode
    assert found["XDG_CONFIG_HOME"] == str(home)
    config = home / "nvidia-container-runtime/config.toml"
    assert found["NVIDIA_CTK_CONFIG_FILE_PATH"] == str(config)


@needs_mounts
def test_of_a_payload_without_them_the_runtimes_of_a_mode_are_the_main_one_in_that_mode(
    tmp_path: Path,
) -> None:
    host = real_root(tmp_path)
    settings = settings_of(
        f"--toolkit-source-root={make_sample_payload(tmp_path / 'payload', packages=RELEASED)}",
        f"--toolkit-install-dir={tmp_path / 'nvidia'}",
    )
    installer = PayloadInstaller(settings=settings, root=host.root, writer=host.writer())
    plan = installer.plan(LowLevelRuntimes(paths=("/bin/true",), engine_runtime="/bin/false"))
    record = installer.intent(plan)
    installer.stage(plan, UninterruptedClock())
    installer.swap(record)
    installer.commit(record)
    trace = tmp_path / "trace"
    ran = {}
    for name in RUNTIMES:
        trace.unlink(missing_ok=True)
        command = with_driver(str(tmp_path / "nvidia/toolkit" / name), "--version")
        variables = {"PATH": "/usr/bin:/bin", "SAMPLE_TRACE": str(trace)}
        subprocess.run(command, env=variables, check=True)
        program, _, config, _ = trace.read_text().split()
        mode = tomllib.loads(Path(config).read_text())["nvidia-container-runtime"]["mode"]
        ran[name] = (program, mode)
    assert ran == {
        "nvidia-container-runtime": ("nvidia-container-runtime", "auto"),
        "nvidia-container-runtime.cdi": ("nvidia-container-runtime", "cdi"),
        "nvidia-container-runtime.legacy": ("nvidia-container-runtime", "legacy"),
    }


@needs_mounts
def test_with_a_driver_but_without_the_real_file_the_low_level_runtime_runs(
    tmp_path: Path,
) -> None:
    directory = Directory(tmp_path / "toolkit")
    (directory.path / f"{RUNTIMES[0]}.real").unlink()
    assert directory.run(RUNTIMES[0], shell=with_driver(), PATH="/usr/bin:/bin")["name"] == "runc"


class Requiring:
    """A wrapper that requires a driver, on a machine without one, before a runtime that notes."""

    def __init__(self, directory: Path) -> None:
        self.bundle, self.log = directory / "a bundle", directory / "log.json"
        self.bundle.mkdir()
        self.ran = directory / "ran"
        runtime = directory / "runc"
        runtime.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{self.ran}"\n')
        runtime.chmod(0o755)
        self.path = directory / RUNTIME
        text = wrapper(RUNTIME, str(directory), str(runtime), require_driver=True)
        self.path.write_bytes(text)
        self.path.chmod(0o755)

    def run(self, config: object, *arguments: str, indent: int | None = None) -> int:
        (self.bundle / "config.json").write_text(json.dumps(config, indent=indent))
        command = arguments or ("--root", "/r", "--log", str(self.log), "create")
        if not arguments:
            command = (*command, "--bundle", str(self.bundle), "container")
        done = subprocess.run((self.path, *command), check=False, capture_output=True)
        assert self.ran.exists() == (done.returncode == 0)
        assert bool(done.stderr) == bool(done.returncode)
        return done.returncode


def bundle(*variables: str, **more: object) -> dict[str, object]:
    return {"process": {"env": ["PATH=/bin", *variables, "A=b"]}, **more}


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (bundle("NVIDIA_VISIBLE_DEVICES=all"), 1),
        (bundle("NVIDIA_VISIBLE_DEVICES=GPU-0,GPU-1"), 1),
        (bundle(mounts=[{"destination": "/var/run/nvidia-container-devices/all"}]), 1),
        (bundle(), 0),
        (bundle("NVIDIA_VISIBLE_DEVICES="), 0),
        (bundle("NVIDIA_VISIBLE_DEVICES=void"), 0),
        (bundle("NVIDIA_VISIBLE_DEVICES=none"), 0),
        (bundle("MY_NVIDIA_VISIBLE_DEVICES=all"), 0),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_container_that_asks_for_gpus_is_refused_while_there_is_no_driver(
    tmp_path: Path, config: dict[str, object], code: int, indent: int | None
) -> None:
    requiring = Requiring(tmp_path)
    assert requiring.run(config, indent=indent) == code
    if code:
        told = json.loads(requiring.log.read_text())
        assert told["level"] == "error"
        assert "driver is not loaded" in told["msg"]


@pytest.mark.parametrize("verb", ["kill", "delete", "state", "start"])
def test_what_is_not_a_creation_is_never_refused(tmp_path: Path, verb: str) -> None:
    assert Requiring(tmp_path).run(bundle("NVIDIA_VISIBLE_DEVICES=all"), verb, "container") == 0


def test_the_bundle_is_found_in_every_spelling(tmp_path: Path) -> None:
    requiring = Requiring(tmp_path)
    config = bundle("NVIDIA_VISIBLE_DEVICES=all")
    assert requiring.run(config, "create", f"--bundle={requiring.bundle}", "c") == 1
    assert requiring.run(config, "run", "-b", str(requiring.bundle), "c") == 1


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR])
def test_a_config_that_is_not_a_regular_file_is_left_to_the_low_level_runtime(
    tmp_path: Path, kind: int, shell: list[str]
) -> None:
    requiring = Requiring(tmp_path)
    config = requiring.bundle / "config.json"
    if kind == stat.S_IFIFO:
        os.mkfifo(config)
    else:
        config.symlink_to("/dev/zero")
    command = (*shell, str(requiring.path), "create", "--bundle", str(requiring.bundle), "c")
    subprocess.run(command, check=True, timeout=60)
    assert requiring.ran.exists()


@pytest.mark.parametrize("requires", [False, True])
@pytest.mark.parametrize(("name", "mode"), [*((name, "") for name in WRAPPED), *MODES.items()])
def test_every_wrapper_passes_shellcheck(
    tmp_path: Path, name: str, mode: str, *, requires: bool
) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck here")
    script = tmp_path / name
    place = "/usr/local/nvidia/toolkit"
    script.write_bytes(wrapper(name, place, "/usr/bin/runc", mode, require_driver=requires))
    # SC2123: the search path is meant.
    subprocess.run([program, "-s", "sh", "--exclude=SC2123", os.fspath(script)], check=True)
