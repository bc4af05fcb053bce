from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime_configs.model import EngineName
from toolkit.options.catalog import OPTIONS
from toolkit.options.document import document
from toolkit.options.usage import SUMMARIES, main_options

ROOT = Path(__file__).parents[2]
HEAVY = (
    "grpc",
    "google",
    "psutil",
    "json",
    "logging",
    "asyncio",
    "toolkit.daemon.process",
)

LATER = [name.name for name in EngineName if name not in ("containerd", "crio", "docker")]
# What users, charts and the operator rely on; a name never changes. An engine that is added has
# its own variables where LATER stands.
CONTRACT = """
--runtime -r | RUNTIME
--no-daemon -n | NO_DAEMON
--no-runtime-config | NO_RUNTIME_CONFIG
--toolkit-install-dir --root | TOOLKIT_INSTALL_DIR ROOT
--toolkit-source-root | TOOLKIT_SOURCE_ROOT
--toolkit-package-type | TOOLKIT_PACKAGE_TYPE
--pid-file | TOOLKIT_PID_FILE PID_FILE
--debug | TOOLKIT_DEBUG
--host-root | HOST_ROOT_MOUNT
--config | RUNTIME_CONFIG CONTAINERD_CONFIG CRIO_CONFIG DOCKER_CONFIG LATER_CONFIG
--drop-in-config | RUNTIME_DROP_IN_CONFIG
--drop-in-config-host-path | RUNTIME_DROP_IN_CONFIG_HOST_PATH
--executable-path | RUNTIME_EXECUTABLE_PATH
--socket | RUNTIME_SOCKET CONTAINERD_SOCKET CRIO_SOCKET DOCKER_SOCKET LATER_SOCKET
--restart-mode | \
RUNTIME_RESTART_MODE CONTAINERD_RESTART_MODE CRIO_RESTART_MODE DOCKER_RESTART_MODE \
LATER_RESTART_MODE
--config-source --config-sources | RUNTIME_CONFIG_SOURCES RUNTIME_CONFIG_SOURCE
--enable-cdi-in-runtime | RUNTIME_ENABLE_CDI
--runtime-name --nvidia-runtime-name --runtime-class | \
NVIDIA_RUNTIME_NAME CONTAINERD_RUNTIME_CLASS DOCKER_RUNTIME_NAME
--set-as-default | NVIDIA_RUNTIME_SET_AS_DEFAULT CONTAINERD_SET_AS_DEFAULT DOCKER_SET_AS_DEFAULT
--use-legacy-config | CONTAINERD_USE_LEGACY_CONFIG
--runtime-type | CONTAINERD_RUNTIME_TYPE
--runtime-config-override | RUNTIME_CONFIG_OVERRIDE CONTAINERD_RUNTIME_CONFIG_OVERRIDE
--nvidia-container-runtime.modes.cdi.annotation-prefixes \
--nvidia-container-runtime-modes.cdi.annotation-prefixes | \
NVIDIA_CONTAINER_RUNTIME_MODES_CDI_ANNOTATION_PREFIXES
--hooks-dir | CRIO_HOOKS_DIR
--hook-filename | CRIO_HOOK_FILENAME
--config-mode | CRIO_CONFIG_MODE
--driver-root --nvidia-driver-root | NVIDIA_DRIVER_ROOT DRIVER_ROOT
--driver-root-ctr-path | DRIVER_ROOT_CTR_PATH
--dev-root | NVIDIA_DEV_ROOT DEV_ROOT
--dev-root-ctr-path | DEV_ROOT_CTR_PATH
--require-driver | TOOLKIT_REQUIRE_DRIVER
--create-dev-char-symlinks | CREATE_DEV_CHAR_SYMLINKS
--nvidia-container-runtime.debug --nvidia-container-runtime-debug | NVIDIA_CONTAINER_RUNTIME_DEBUG
--nvidia-container-runtime.log-level --nvidia-container-runtime-debug-log-level | \
NVIDIA_CONTAINER_RUNTIME_LOG_LEVEL
--nvidia-container-runtime.mode --nvidia-container-runtime-mode | NVIDIA_CONTAINER_RUNTIME_MODE
--nvidia-container-runtime.modes.cdi.default-kind | NVIDIA_CONTAINER_RUNTIME_MODES_CDI_DEFAULT_KIND
--nvidia-container-runtime.runtimes | NVIDIA_CONTAINER_RUNTIME_RUNTIMES
--nvidia-container-runtime-hook.skip-mode-detection | \
NVIDIA_CONTAINER_RUNTIME_HOOK_SKIP_MODE_DETECTION
--nvidia-container-cli.debug --nvidia-container-cli-debug | NVIDIA_CONTAINER_CLI_DEBUG
--accept-nvidia-visible-devices-envvar-when-unprivileged | \
ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED
--accept-nvidia-visible-devices-as-volume-mounts | ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS
--cdi-enabled --enable-cdi | CDI_ENABLED ENABLE_CDI
--cdi-only | CDI_ONLY
--cdi-output-dir | CDI_OUTPUT_DIR
--cdi-kind | CDI_KIND
--create-device-nodes | CREATE_DEVICE_NODES
--opt-in-features | NVIDIA_CONTAINER_TOOLKIT_OPT_IN_FEATURES
--ignore-errors |
--enable-nri-plugin -p | ENABLE_NRI_PLUGIN
--nri-plugin-index | NRI_PLUGIN_INDEX
--nri-socket | NRI_SOCKET
--nri-namespace | NRI_NAMESPACE
--nri-management-cdi-device-namespaces | NRI_MANAGEMENT_CDI_DEVICE_NAMESPACES
--on-exit | TOOLKIT_ON_EXIT
--on-exit-unknown | TOOLKIT_ON_EXIT_UNKNOWN
--stop-timeout | TOOLKIT_STOP_TIMEOUT
--verify | TOOLKIT_VERIFY
--verify-timeout | TOOLKIT_VERIFY_TIMEOUT
--reconcile-interval | TOOLKIT_RECONCILE_INTERVAL
--log-format | TOOLKIT_LOG_FORMAT
--color | NO_COLOR
--health-address | TOOLKIT_HEALTH_ADDRESS
--ready-file | TOOLKIT_READY_FILE
--feature-file | TOOLKIT_FEATURE_FILE
--output |
--detailed-exitcode |
--run |
--purge |
"""


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "toolkit", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_name_of_the_contract_is_there_and_no_other() -> None:
    expected = {}
    for line in CONTRACT.strip().splitlines():
        flags, _, variables = line.partition("|")
        expected[tuple(flags.split())] = tuple(
            name.replace("LATER", engine)
            for name in variables.split()
            for engine in (LATER if name.startswith("LATER_") else [""])
        )
    assert {option.flags: option.all_variables for option in OPTIONS} == expected


def test_no_flag_is_taken_twice() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert sorted(set(flags)) == sorted(flags)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_default_is_a_value_that_could_have_been_given(option: object) -> None:
    row = next(row for row in OPTIONS if row is option)
    if not row.default_text and row.shown_default:
        assert row.value.parse(row.shown_default) == row.value.default


def test_the_page_of_the_options_is_fresh() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == document()


@pytest.mark.parametrize("command", [None, *SUMMARIES])
def test_help_is_a_screen_with_examples_and_exit_codes(command: str | None) -> None:
    result = program(*([command] if command else []), "--help")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 50
    for title in ("Options:", "Examples:", "Exit codes:"):
        assert title in lines
    assert "--help-all" in result.stdout
    for option in OPTIONS:
        own = bool(option.commands) and command in option.commands
        assert own <= (option in main_options(command))
        shown = re.search(rf"^ +(-\w, )?{option.flags[0]}\b(?!-)", result.stdout, re.MULTILINE)
        assert (shown is not None) is (option in main_options(command))


@pytest.mark.parametrize("command", [None, *SUMMARIES])
def test_the_whole_help_shows_each_option_with_its_variables(command: str | None) -> None:
    arguments = [command] if command else []
    result = program(*arguments, "--help-all")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert (result.returncode, result.stderr) == (0, "")
    words = set(result.stdout.replace(",", " ").replace("]", " ").replace(";", " ").split())
    for option in OPTIONS:
        shown = not option.hidden and (not option.commands or command in option.commands)
        assert (option.flags[0] in words) is shown
        if shown:
            assert words.issuperset(option.all_variables)


def test_every_engine_has_a_row_of_defaults() -> None:
    for name in EngineName:
        assert f"| {name} |" in document()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from toolkit.__main__ import main; main(['--help']);"
        f" sys.exit(', '.join(set(sys.modules) & set({HEAVY!r})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stderr.strip() == ""
