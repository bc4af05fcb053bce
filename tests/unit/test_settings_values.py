from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_configs.model import EngineName
from tests.unit.cli_session import refusal, settings_from, settings_of
from toolkit.errors import ExitCode, UsageError
from toolkit.host.given_mounts import default_host_root
from toolkit.options.catalog import OPTIONS
from toolkit.settings import CrioMode, GivenPath, OnExit, OnExitUnknown, PackageType, RestartMode

VARIABLES = sorted({name for option in OPTIONS for name in option.all_variables})
ANY_VALUE_SAYS_THE_SAME = {"NO_COLOR"}
EMPTY_SAYS_SOMETHING = {"CDI_OUTPUT_DIR", "CREATE_DEVICE_NODES"}
CONTAINERD, CRIO, DOCKER = EngineName.CONTAINERD, EngineName.CRIO, EngineName.DOCKER


@pytest.mark.parametrize(
    "argument",
    [
        "--runtime=podman",
        "--runtime=",
        "--toolkit-install-dir=relative",
        "--root=",
        "--root=/a\nb",
        "--root=/a\0b",
        "--root=/a\x85b",
        "--root=/a\u2028b",
        "--root=/a\udcffb",
        "--root=/" + "a" * 256,
        "--root=/" + "é" * 128,
        "--root=" + "/aaaaaaaaa" * 410,
        "--toolkit-source-root=x",
        "--toolkit-package-type=apk",
        "--pid-file=/run/other.pid",
        "--pid-file=toolkit.pid",
        "--host-root=host",
        "--config=config.toml",
        "--config=",
        "--drop-in-config=x",
        "--drop-in-config-host-path=x",
        "--executable-path=containerd",
        "--socket=tcp://127.0.0.1:2375",
        "--restart-mode=kill",
        "--config-source=dump",
        "--config-source=",
        "--config-source=file=relative",
        "--config-source=live=/x",
        "--enable-cdi-in-runtime=on",
        "--runtime-name=",
        "--runtime-name=a/b",
        "--runtime-name=a b",
        "--runtime-name=-a",
        "--runtime-name=" + "a" * 64,
        "--runtime-name=runc",
        "--runtime-type=io containerd",
        "--runtime-type=",
        "--runtime-config-override=[]",
        "--runtime-config-override={",
        '--runtime-config-override={"a": {"b": null}}',
        '--runtime-config-override={"a": NaN}',
        '--runtime-config-override={"a": [9223372036854775808]}',
        "--runtime-config-override=" + "[" * 100_000,
        "--runtime-config-override=" + '{"a":' * 40 + "1" + "}" * 40,
        '--runtime-config-override={"a": "\\ud800"}',
        '--runtime-config-override={"\\udc00": 1}',
        '--runtime-config-override={"a": ["\\u0000"]}',
        '--runtime-config-override={"options": {"BinaryName": "/usr/bin/crun"}}',
        "--nvidia-container-runtime.modes.cdi.annotation-prefixes=a*",
        "--hooks-dir=hooks.d",
        "--hook-filename=a/b.json",
        "--hook-filename=hook.conf",
        "--hook-filename=" + "a" * 251 + ".json",
        "--config-mode=ocihook",
        "--driver-root=driver",
        "--driver-root-ctr-path=driver",
        "--dev-root=dev",
        "--dev-root-ctr-path=dev",
        "--nvidia-container-runtime.debug=log",
        "--nvidia-container-runtime.log-level=loud",
        "--nvidia-container-runtime.mode=magic",
        "--nvidia-container-runtime.modes.cdi.default-kind=gpu",
        "--nvidia-container-runtime.runtimes=a/b",
        "--nvidia-container-runtime.runtimes=runc,/x/nvidia-container-runtime.cdi",
        "--nvidia-container-cli.debug=log",
        "--cdi-output-dir=cdi",
        "--cdi-kind=gpu",
        "--cdi-kind=9vendor/gpu",
        "--cdi-kind=vendor./gpu",
        "--cdi-kind=vendor/gpu=0",
        "--cdi-kind=vendor/a/b",
        "--cdi-kind=vendor/a\n",
        "--cdi-kind=vendor/" + "a" * 200,
        "--runtime-name=a\n",
        "--runtime-name=a\0",
        "--nvidia-container-runtime.modes.cdi.annotation-prefixes=a\x1b[0m",
        "--nvidia-container-runtime.modes.cdi.annotation-prefixes=a\0",
        "--create-device-nodes=all",
        "--opt-in-features=a.b",
        "--nri-plugin-index=100",
        "--nri-plugin-index=-1",
        "--nri-plugin-index=1_0",
        "--nri-plugin-index=",
        "--nri-plugin-index=٣",
        "--nri-plugin-index= 3",
        "--nri-plugin-index=+3",
        "--nri-plugin-index=1e1",
        "--nri-plugin-index=" + "0" * 30 + "100",
        "--nri-plugin-index=" + "9" * 5000,
        "--nri-socket=nri.sock",
        "--nri-namespace=GPU",
        "--nri-management-cdi-device-namespaces=a,b_c",
        "--on-exit=stay",
        "--on-exit-unknown=auto",
        "--stop-timeout=-1",
        "--stop-timeout=8s",
        "--verify-timeout=0",
        "--verify-timeout=nan",
        "--verify-timeout=1e3",
        "--reconcile-interval=inf",
        "--reconcile-interval=.",
        "--reconcile-interval=1.2.3",
        "--reconcile-interval=٣",
        "--stop-timeout= 8",
        "--stop-timeout=8 ",
        "--stop-timeout=+8",
        "--stop-timeout=1_0",
        "--stop-timeout=-0",
        "--stop-timeout=Infinity",
        "--stop-timeout=" + "9" * 5000,
        "--reconcile-interval=99999999999",
        "--log-format=xml",
        "--health-address=8080",
        "--health-address=:0",
        "--health-address=:65536",
        "--health-address=::1:80",
        "--health-address=a b:80",
        "--health-address=:-1",
        "--health-address=:٨٠",
        "--health-address=: 80",
        "--health-address=:0000065536",
        "--health-address=a..b:80",
        "--health-address=" + "a" * 64 + ":80",
        "--health-address=[::1:80",
        "--health-address=[127.0.0.1]:80",
        "--health-address=[a::b::c]:80",
        "--ready-file=ready",
    ],
)
def test_a_bad_value_is_one_line_that_names_the_flag(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(argument)
    assert caught.value.exit_code is ExitCode.USAGE
    assert str(caught.value).startswith(argument.partition("=")[0] + ": ")
    assert str(caught.value).isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (":8080", ":8080"),
        (":00080", ":80"),
        ("[::1]:80", "[::1]:80"),
        ("[fe80::1%eth0]:65535", "[fe80::1%eth0]:65535"),
        ("node-1.example.:1", "node-1.example.:1"),
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("off", None),
    ],
)
def test_an_address_for_probes_is_a_host_or_none_and_a_port(given: str, taken: str | None) -> None:
    life = settings_of(f"-health-address={given}").lifecycle
    assert life.health_address == taken
    assert life.health_source == "-health-address"


@pytest.mark.parametrize(
    ("given", "taken"), [("0", 0.0), ("0.5", 0.5), ("007", 7.0), ("31536000", 31_536_000.0)]
)
def test_seconds_are_a_decimal_number(given: str, taken: float) -> None:
    assert settings_of(f"--stop-timeout={given}").lifecycle.stop_timeout == taken


def test_the_ready_file_can_not_be_the_lock() -> None:
    line = refusal("--ready-file=/run/x//toolkit.pid", TOOLKIT_PID_FILE="/run/x/toolkit.pid")
    assert line is not None
    assert line.startswith("--ready-file: /run/x/toolkit.pid is the pid file")


@pytest.mark.parametrize("name", sorted({*VARIABLES} - ANY_VALUE_SAYS_THE_SAME))
def test_a_bad_value_is_one_line_that_names_the_variable(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from({name: "\x00 \n*"})
    assert str(caught.value).startswith(f"{name}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", sorted({*VARIABLES} - EMPTY_SAYS_SOMETHING))
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert settings_from({name: ""}) == settings_from({})


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=30)))
def test_no_environment_ends_in_anything_but_settings_or_one_line(
    environ: Mapping[str, str],
) -> None:
    line = refusal(**environ)
    if line is not None:
        assert any(line.startswith(f"{name}: ") for name in environ)
        assert "\n" not in line


def test_nothing_said_gives_the_documented_defaults() -> None:
    settings = settings_from({})
    assert settings.runtime is None
    assert settings.install_dir == "/usr/local/nvidia"
    assert settings.lifecycle.pid_file == "/run/nvidia/toolkit/toolkit.pid"
    assert settings.lifecycle.ready_file == "/run/nvidia/toolkit/toolkit-ready"
    assert settings.lifecycle.stop_timeout == 8
    assert settings.lifecycle.verify_timeout == 60
    assert settings.lifecycle.reconcile_interval == 30
    assert settings.lifecycle.health_address is None
    assert settings.lifecycle.on_exit is OnExit.AUTO
    assert settings.lifecycle.on_exit_unknown is OnExitUnknown.REVERT
    assert settings.payload.package_type is PackageType.AUTO
    assert settings.payload.source_root is None
    assert settings.driver.dev_root == "/run/nvidia/driver"
    assert settings.crio.mode is CrioMode.CONFIG
    assert settings.runtime_config.skip_mode_detection
    assert settings.runtime_config.accept_envvar_when_unprivileged
    assert not settings.runtime_config.accept_volume_mounts
    assert settings.cdi.output_dir == "/var/run/cdi"
    assert settings.cdi.kind == "management.nvidia.com/gpu"
    assert not settings.cdi.create_device_nodes
    assert settings.nri.index == 10
    assert settings.nri.socket == "/var/run/nri/nri.sock"
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("engine", "config", "drop_in", "socket"),
    [
        (
            CONTAINERD,
            "/etc/containerd/config.toml",
            "/etc/containerd/conf.d/99-nvidia.toml",
            "/run/containerd/containerd.sock",
        ),
        (
            CRIO,
            "/etc/crio/crio.conf",
            "/etc/crio/crio.conf.d/99-nvidia.toml",
            "/var/run/crio/crio.sock",
        ),
        (DOCKER, "/etc/docker/daemon.json", None, "/var/run/docker.sock"),
    ],
)
def test_each_engine_has_its_own_default_paths(
    engine: EngineName, config: str, drop_in: str | None, socket: str
) -> None:
    settings = settings_from({}).engines[engine]
    assert settings.config == GivenPath(path=config, source="default")
    assert settings.drop_in == (GivenPath(path=drop_in, source="default") if drop_in else None)
    assert settings.socket == GivenPath(path=socket, source="default")
    assert settings.restart_mode is RestartMode.AUTO
    assert settings.config_sources == ("live", "command", "file")
    assert settings.handler_name == "nvidia"
    assert settings.set_as_default
    assert not settings.enable_cdi
    assert settings.runtime_type == "io.containerd.runc.v2"
    assert settings.config_override == {}


@pytest.mark.parametrize("engine", list(EngineName))
@pytest.mark.parametrize("what", ["CONFIG", "SOCKET"])
def test_an_engines_own_variable_counts_for_that_engine_alone(
    engine: EngineName, what: str
) -> None:
    name = f"{engine.name}_{what}"
    before, settings = settings_from({}), settings_from({name: "/x"})
    for other in EngineName:
        given_path = getattr(settings.engines[other], what.lower())
        if other is engine:
            assert given_path == GivenPath(path="/x", source=name)
        else:
            assert given_path == getattr(before.engines[other], what.lower())


def test_the_flag_wins_over_the_general_variable_and_that_over_the_engines() -> None:
    environ = {"CONTAINERD_SOCKET": "/c", "RUNTIME_SOCKET": "/r"}
    assert settings_from(environ).engines[CONTAINERD].socket.source == "RUNTIME_SOCKET"
    socket = settings_of("-socket=/f", **environ).engines[CONTAINERD].socket
    assert socket == GivenPath(path="/f", source="-socket")
    environ["RUNTIME_SOCKET"] = ""
    assert settings_from(environ).engines[CONTAINERD].socket.path == "/c"
    assert settings_from(environ).engines[DOCKER].socket.path == "/var/run/docker.sock"


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"CONTAINERD_RUNTIME_CLASS": "c"}, {CONTAINERD: "c", DOCKER: "nvidia", CRIO: "c"}),
        ({"DOCKER_RUNTIME_NAME": "d"}, {CONTAINERD: "nvidia", DOCKER: "d", CRIO: "d"}),
        (
            {"NVIDIA_RUNTIME_NAME": "n", "CONTAINERD_RUNTIME_CLASS": "c"},
            {CONTAINERD: "n", DOCKER: "n", CRIO: "n"},
        ),
    ],
)
def test_the_handlers_name_comes_from_the_variables_of_the_engine(
    environ: Mapping[str, str], names: Mapping[EngineName, str]
) -> None:
    engines = settings_from(environ).engines
    assert {name: engines[name].handler_name for name in names} == names


@pytest.mark.parametrize("name", ["nvidia-cdi", "nvidia-legacy"])
def test_a_handler_that_is_added_anyway_is_no_choice(name: str) -> None:
    settings = settings_of(f"--runtime-class={name}")
    assert settings.engines[CONTAINERD].handler_name == "nvidia"
    assert settings.warnings == (
        f"--runtime-class: {name} is added anyway and can't be chosen; the handler is named nvidia",
    )


def test_cdi_in_the_engine_follows_cdi_unless_it_is_said() -> None:
    assert settings_of("--enable-cdi").engines[CONTAINERD].enable_cdi
    settings = settings_of("--cdi-enabled", RUNTIME_ENABLE_CDI="no")
    assert settings.cdi.enabled
    assert not settings.engines[CONTAINERD].enable_cdi


def test_an_empty_output_directory_means_no_spec_and_warns() -> None:
    settings = settings_from({"CDI_ENABLED": "1", "CDI_OUTPUT_DIR": ""})
    assert settings.cdi.output_dir == ""
    assert settings.warnings == ("CDI_OUTPUT_DIR: it is empty, so no CDI spec is written",)
    assert settings_of("--cdi-enabled", "--cdi-output-dir=").cdi.output_dir == ""


@pytest.mark.parametrize("value", ["", "none", "control,none", "none,control"])
def test_no_device_nodes_where_one_item_says_none(value: str) -> None:
    assert not settings_from(
        {"CDI_ENABLED": "t", "CREATE_DEVICE_NODES": value}
    ).cdi.create_device_nodes
    assert settings_from({"CDI_ENABLED": "t"}).cdi.create_device_nodes


def test_nri_mode_needs_its_namespace_and_wants_a_cdi_spec() -> None:
    with pytest.raises(UsageError, match=r"ENABLE_NRI_PLUGIN: .*--nri-namespace or NRI_NAMESPACE"):
        settings_from({"ENABLE_NRI_PLUGIN": "true"})
    settings = settings_of("-p", NRI_NAMESPACE="gpu-operator", NRI_PLUGIN_INDEX="07")
    assert settings.nri.enabled
    assert settings.nri.index == 7
    assert settings.cdi.enabled


def test_nri_mode_is_ignored_without_a_daemon() -> None:
    settings = settings_of("--no-daemon", "-p")
    assert not settings.nri.enabled
    assert not settings.cdi.enabled
    assert settings.warnings == ("-p: NRI mode is ignored with --no-daemon",)


def test_docker_ignores_a_drop_in_and_says_so() -> None:
    settings = settings_of("-r=docker", "--drop-in-config=/x")
    assert settings.engines[DOCKER].drop_in is None
    assert settings.warnings == ("--drop-in-config: ignored, since docker has no drop-in configs",)


def test_the_host_root_is_where_this_machine_has_its_mount_unless_it_is_named() -> None:
    assert settings_from({}).host_root == default_host_root()
    assert settings_from({"HOST_ROOT_MOUNT": "/node/"}).host_root == "/node"


def test_the_ready_file_lies_beside_the_pid_file() -> None:
    settings = settings_of("-pid-file=/run/x/toolkit.pid")
    assert settings.lifecycle.ready_file == "/run/x/toolkit-ready"
    assert settings_of("--ready-file=/r").lifecycle.ready_file == "/r"


def test_paths_are_written_the_plain_way() -> None:
    assert settings_of("//opt//nvidia/").install_dir == "/opt/nvidia"
    assert settings_of("--socket=unix:///run/c.sock").engines[CRIO].socket.path == "/run/c.sock"
    sources = settings_of("--config-sources=file=/a//b,live").engines[CONTAINERD].config_sources
    assert sources == ("file=/a/b", "live")


def test_an_override_is_any_object_that_toml_can_hold() -> None:
    value = {"options": {"SystemdCgroup": True, "n": -(2**63), "l": [1.5, "x", {}]}}
    settings = settings_of("--runtime-config-override", json.dumps(value))
    assert settings.engines[CONTAINERD].config_override == value


@pytest.mark.parametrize("key", ["BinaryName", "Runtime", "binaryname"])
def test_an_override_of_the_handlers_binary_is_refused_with_the_reason(key: str) -> None:
    text = json.dumps({"snapshotter": "nydus", "options": {"SystemdCgroup": True, key: "/x"}})
    reason = f"options.{key} would replace the toolkit's binary"
    for name, refused in (
        ("--runtime-config-override", refusal(f"--runtime-config-override={text}")),
        ("RUNTIME_CONFIG_OVERRIDE", refusal(RUNTIME_CONFIG_OVERRIDE=text)),
    ):
        assert str(refused).startswith(f"{name}: {reason}")


@given(st.from_regex(re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"), fullmatch=True))
def test_every_handler_that_a_runtimeclass_can_name_is_accepted(name: str) -> None:
    if name not in {"runc", "crun", "nvidia-cdi", "nvidia-legacy"}:
        assert settings_of(f"--runtime-name={name}").engines[CONTAINERD].handler_name == name


def test_what_the_operator_passes_is_understood() -> None:
    settings = settings_from(
        {
            "RUNTIME": "containerd",
            "RUNTIME_CONFIG": "/runtime/config-dir/config.toml",
            "CONTAINERD_CONFIG": "/runtime/config-dir/config.toml",
            "RUNTIME_DROP_IN_CONFIG": "/runtime/config-dir.d/99-nvidia.toml",
            "RUNTIME_DROP_IN_CONFIG_HOST_PATH": "/etc/containerd/conf.d/99-nvidia.toml",
            "RUNTIME_SOCKET": "/runtime/sock-dir/containerd.sock",
            "CONTAINERD_SOCKET": "/runtime/sock-dir/containerd.sock",
            "CONTAINERD_RUNTIME_CLASS": "nvidia",
            "ROOT": "/usr/local/nvidia",
            "TOOLKIT_PID_FILE": "/run/nvidia/toolkit/toolkit.pid",
            "NVIDIA_CONTAINER_RUNTIME_MODES_CDI_DEFAULT_KIND": "management.nvidia.com/gpu",
            "NVIDIA_VISIBLE_DEVICES": "void",
            "NRI_NAMESPACE": "gpu-operator",
            "CDI_ENABLED": "true",
            "NVIDIA_RUNTIME_SET_AS_DEFAULT": "false",
            "NVIDIA_CONTAINER_RUNTIME_MODE": "cdi",
            "CRIO_CONFIG_MODE": "config",
        }
    )
    engine = settings.engines[CONTAINERD]
    assert settings.runtime is CONTAINERD
    assert engine.config.source == "RUNTIME_CONFIG"
    assert engine.drop_in is not None
    assert engine.drop_in.declared
    assert engine.drop_in_host_path == "/etc/containerd/conf.d/99-nvidia.toml"
    assert not engine.set_as_default
    assert engine.enable_cdi
    assert settings.runtime_config.mode == "cdi"
    assert settings.cdi.create_device_nodes
    assert settings.warnings == ()
