"""A variable or command that nobody reads but that looks like one of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.faults.node_host import FaultHost
from tests.unit.cli_session import call, refusal, settings_from
from tests.unit.doctor_host import found, node_of
from toolkit.errors import ExitCode
from toolkit.options.catalog import OPTIONS
from toolkit.options.misspelt import edits, warnings

ROOT = Path(__file__).parents[2]
VARIABLES = sorted({name for option in OPTIONS for name in option.all_variables})


def meant(name: str) -> str | None:
    """Return the name that a warning proposes; None without a warning."""
    line = next(warnings({name: "x"}), None)
    if line is None:
        return None
    assert line.startswith(f"{name}: this variable is not read; ")
    proposed = re.search(r"did you mean (\w+)\?", line)
    return proposed[1] if proposed else ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CONTAINERD_SOCKETT", "CONTAINERD_SOCKET"),
        ("CONTAINERD_SOKCET", "CONTAINERD_SOCKET"),
        ("CONTAINERD_SOCKET_PATH", "CONTAINERD_SOCKET"),
        ("CONTAINERD_CONFG", "CONTAINERD_CONFIG"),
        ("CONTAINERD_RUNTIMECLASS", "CONTAINERD_RUNTIME_CLASS"),
        ("CONTAINERD_SET_DEFAULT", "CONTAINERD_SET_AS_DEFAULT"),
        ("CONTAINER_CONFIG", "CONTAINERD_CONFIG"),
        ("containerd_config", "CONTAINERD_CONFIG"),
        ("RUNTME", "RUNTIME"),
        ("RUTNIME", "RUNTIME"),
        ("RUNTIME_SOCK", "RUNTIME_SOCKET"),
        ("HOST_ROOTMOUNT", "HOST_ROOT_MOUNT"),
        ("TOOLKIT_ONEXIT", "TOOLKIT_ON_EXIT"),
        ("TOOLKIT_PIDFILE", "TOOLKIT_PID_FILE"),
        ("NVIDIA_CONTAINER_RUNTIME_MODES", "NVIDIA_CONTAINER_RUNTIME_MODE"),
        ("CRIO_CONFIGMODE", "CRIO_CONFIG_MODE"),
        ("CDI_ENABLE", "CDI_ENABLED"),
        ("root", "ROOT"),
        ("TOOLKIT_FROBNICATE", ""),
        ("DOCKER_QZX", ""),
    ],
)
def test_a_misspelt_variable_is_named_with_the_likely_one(name: str, expected: str) -> None:
    assert meant(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        *VARIABLES,
        "TOOLKIT_VALIDATIONS_DIR",
        "DOCKER_HOST",
        "CONTAINERD_NAMESPACE",
        "RUNTIME_DIRECTORY",
        "PORT",
        "HOST",
        "HOME",
        "PATH",
        "NO_COLOR",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "HTTPS_PROXY",
        "TOOLKIT_METRICS_SERVICE_HOST",
        "TOOLKIT_METRICS_SERVICE_PORT_HTTP",
        "DOCKER_REGISTRY_PORT_5000_TCP_ADDR",
        "RUNTIME_PORT",
    ],
)
def test_a_variable_that_is_read_or_is_another_programs_is_no_misspelling(name: str) -> None:
    assert meant(name) is None


@given(st.sampled_from([each for each in VARIABLES if len(each) > 4]), st.data())
def test_every_name_within_two_edits_of_a_known_one_is_noticed(
    name: str, data: st.DataObject
) -> None:
    letters = list(name)
    for _ in range(data.draw(st.integers(1, 2))):
        position = data.draw(st.integers(0, len(letters) - 1))
        letter = data.draw(st.sampled_from("ABCXYZ_"))
        letters[position : position + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from([[], [letter]])
        )
    written = "".join(letters)
    if written in VARIABLES:
        return
    assert edits(written, name) <= 2
    proposed = meant(written)
    assert proposed
    assert edits(written, proposed) <= 2


def test_what_the_entry_point_reads_is_known() -> None:
    script = (ROOT / "entrypoint.sh").read_text()
    names = re.findall(r"\$\{?([A-Z][A-Z_]+)", script)
    assert names
    assert list(warnings(dict.fromkeys(names, "x"))) == []


def test_the_log_and_doctor_name_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(CONTAINERD_SOCKETT="/run/x.sock")
    assert "WARNING CONTAINERD_SOCKETT: this variable is not read;" in capsys.readouterr().err
    node = node_of(FaultHost(tmp_path))
    settings = settings_from({"CONTAINERD_SOCKETT": "/run/x.sock"})
    assert settings.warnings
    node = replace(node, settings=replace(node.settings, warnings=settings.warnings))
    (finding,) = found(node, "settings")
    assert "did you mean CONTAINERD_SOCKET?" in finding.message


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["docter"], "unknown command 'docter'; did you mean doctor?"),
        (["Status"], "unknown command 'Status'; did you mean status?"),
        (["verfiy"], "unknown command 'verfiy'; did you mean verify?"),
        (
            ["frobnicate"],
            "unknown command 'frobnicate'; commands: plan, revert, status, verify, doctor",
        ),
        (
            ["--set-as-default", "false"],
            "unknown command 'false'; join a Boolean flag and its value: --set-as-default=false",
        ),
        (
            ["-n", "No", "plan"],
            "unknown command 'No'; join a Boolean flag and its value: -n=No",
        ),
        (
            ["./nvidia"],
            "unknown command './nvidia'; an install directory is an absolute path: /nvidia",
        ),
        (["a\n/b"], "unknown command 'a\\n/b'; an install directory is an absolute path: /a\\n/b"),
    ],
)
def test_a_word_that_is_no_command_gets_a_hint(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(*arguments) == line
    code, commands = call(*arguments)
    assert (code, commands.calls) == (ExitCode.USAGE, [])
    (shown,) = capsys.readouterr().err.splitlines()
    assert shown.endswith(f"ERROR   {line}")
