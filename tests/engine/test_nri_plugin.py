"""The NRI plugin with a real containerd that resolves CDI names."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import grpc
import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.nri_process import KIND, PluginProcess, plugin_process
from testbed.supervised import wait_for

pytestmark = pytest.mark.engine

ANNOTATION = "nvidia.cdi.k8s.io"
LOOK = ("/bin/sh", "-c", "env; ls /dev /cdi-mount 2>/dev/null; true")
MOST_RESIDENT = 20 << 10
"""KiB."""


@pytest.fixture
def engine(_root: None) -> Iterator[RealContainerd]:
    """A containerd whose NRI socket and CDI directory are its own; NRI is on by default there."""
    with real_containerd(RELEASES[-1]) as containerd:
        directory = containerd.directory
        (directory / "cdi").mkdir()
        write_spec(directory, "nvidia.com/gpu", ("0", "1"))
        write_spec(directory, KIND, ("all",))
        containerd.config.write_text(
            f"""version = 3
[plugins.'io.containerd.nri.v1.nri']
  socket_path = '{nri_socket(containerd)}'
  plugin_path = '{directory}/nri-plugins'
  plugin_config_path = '{directory}/nri-config'
[plugins.'io.containerd.cri.v1.runtime']
  cdi_spec_dirs = ['{directory}/cdi']
"""
        )
        containerd.start()
        containerd.import_image()
        yield containerd


@pytest.fixture
def plugin(engine: RealContainerd) -> Iterator[PluginProcess]:
    """A plugin that the engine has taken up."""
    with plugin_process(engine.directory, nri_socket(engine)) as process:
        wait_for(lambda: process.registrations == 1, "the registration")
        wait_for(lambda: "connected and synchronized" in engine.process.log(), "the engine")
        yield process


def has_registered(plugin: PluginProcess, times: int) -> bool:
    return plugin.registrations == times


def nri_socket(engine: RealContainerd) -> Path:
    return engine.directory / "nri/nri.sock"


def write_spec(directory: Path, kind: str, names: tuple[str, ...]) -> None:
    """Write a CDI spec whose devices are told apart by a variable, a node and a mount."""
    word = kind.partition(".")[0]
    spec = {
        "cdiVersion": "0.5.0",
        "kind": kind,
        "devices": [
            {
                "name": name,
                "containerEdits": {
                    "env": [f"CDI_{word}_{name}=given"],
                    "deviceNodes": [
                        {"path": f"/dev/{word}{name}", "hostPath": "/dev/null", "type": "c"}
                        | {"major": 1, "minor": 3}
                    ],
                },
            }
            for name in names
        ],
        "containerEdits": {
            "mounts": [
                {
                    "hostPath": str(directory / "cdi"),
                    "containerPath": "/cdi-mount",
                    "options": ["ro", "nosuid", "nodev", "bind"],
                }
            ]
        },
    }
    (directory / "cdi" / f"{word}.json").write_text(json.dumps(spec))


def seen(
    engine: RealContainerd,
    annotations: Mapping[str, str] | None = None,
    namespace: str = "default",
) -> set[str]:
    """Run a container and return what it sees of the specs."""
    printed = engine.cri.run_to_end("", LOOK, namespace=namespace, annotations=annotations)
    return {
        word
        for line in printed.splitlines()
        for word in (line.partition("=")[0], line)
        if word.startswith(("CDI_", "nvidia", "management")) and "=" not in word
    }


GPU_0 = {"CDI_nvidia_0", "nvidia0", "nvidia.json", "management.json"}
MANAGEMENT = {"CDI_management_all", "managementall", "nvidia.json", "management.json"}


@pytest.mark.usefixtures("plugin")
def test_an_annotated_pods_container_gets_what_the_spec_says(engine: RealContainerd) -> None:
    assert seen(engine, {ANNOTATION: "nvidia.com/gpu=0"}) == GPU_0
    both = seen(engine, {f"{ANNOTATION}/pod": "nvidia.com/gpu=0,nvidia.com/gpu=1"})
    assert both == GPU_0 | {"CDI_nvidia_1", "nvidia1"}


@pytest.mark.usefixtures("plugin")
def test_a_pod_without_the_annotation_gets_nothing(engine: RealContainerd) -> None:
    assert seen(engine) == set()
    assert seen(engine, {"other.k8s.io": "nvidia.com/gpu=0"}) == set()


@pytest.mark.usefixtures("plugin")
def test_the_containers_own_annotation_goes_before_the_pods(engine: RealContainerd) -> None:
    annotations = {
        ANNOTATION: "nvidia.com/gpu=1",
        f"{ANNOTATION}/container.main": "nvidia.com/gpu=0",
        f"{ANNOTATION}/container.other": "nvidia.com/gpu=1",
    }
    assert seen(engine, annotations) == GPU_0


def test_only_the_allowed_namespaces_get_the_management_device(
    engine: RealContainerd, plugin: PluginProcess
) -> None:
    wanted = {ANNOTATION: f"{KIND}=all"}
    assert seen(engine, wanted) == set()
    assert seen(engine, {ANNOTATION: f"{KIND}=all,nvidia.com/gpu=0"}, "team-a") == GPU_0
    for namespace in ("gpu-operator", "monitoring"):
        assert seen(engine, wanted, namespace) == MANAGEMENT
    lines = [line for line in plugin.log().splitlines() if "management device left out" in line]
    assert [line.partition(" pod=")[2].partition("/")[0] for line in lines] == [
        "default",
        "team-a",
    ]


def test_what_is_no_device_name_is_left_out_and_said(
    engine: RealContainerd, plugin: PluginProcess
) -> None:
    value = "nvidia.com/gpu=0, 0 ,nvidia.com/gpu=0,all"
    assert seen(engine, {ANNOTATION: value}) == GPU_0
    (line,) = [line for line in plugin.log().splitlines() if "not a CDI device name" in line]
    assert "names=0,all" in line


def test_the_plugin_is_back_after_each_restart_of_the_engine(
    engine: RealContainerd, plugin: PluginProcess
) -> None:
    for times in (2, 3, 4):
        engine.process.kill(signal.SIGHUP if times % 2 else signal.SIGKILL)
        wait_for(partial(has_registered, plugin, times), f"registration {times}")
        engine.wait_ready()
        assert seen(engine, {ANNOTATION: "nvidia.com/gpu=0"}) == GPU_0
        assert seen(engine) == set()
    assert plugin.memory("VmHWM") < MOST_RESIDENT
    assert plugin.stop() == 0


def test_a_running_container_is_no_obstacle_to_a_registration(engine: RealContainerd) -> None:
    pod = engine.cri.run_pod(annotations={ANNOTATION: "nvidia.com/gpu=0"})
    with plugin_process(engine.directory, nri_socket(engine)) as process:
        wait_for(lambda: process.registrations == 1, "the registration")
        assert seen(engine, {ANNOTATION: "nvidia.com/gpu=0"}) == GPU_0
    engine.cri.remove_pod(pod)


def test_a_stop_leaves_no_nri_error_in_the_engines_log(
    engine: RealContainerd, plugin: PluginProcess
) -> None:
    seen(engine, {ANNOTATION: "nvidia.com/gpu=0"})
    assert plugin.stop() == 0
    wait_for(lambda: "10-nvidia-toolkit" in engine.process.log().rpartition("closed")[0], "the end")
    assert seen(engine, {ANNOTATION: "nvidia.com/gpu=0"}) == set()
    about = ("nri", "ttrpc", "nvidia-toolkit")
    assert not [
        line
        for line in engine.process.log().splitlines()
        if any(word in line.lower() for word in about)
        and any(level in line for level in ("level=error", "level=warning", "level=fatal"))
    ]


def test_an_unknown_device_is_the_engines_to_refuse(
    engine: RealContainerd, plugin: PluginProcess
) -> None:
    with pytest.raises(grpc.RpcError, match="unresolvable CDI devices"):
        engine.cri.run_pod(annotations={ANNOTATION: "nvidia.com/gpu=9"})
    assert seen(engine, {ANNOTATION: "nvidia.com/gpu=0"}) == GPU_0
    assert plugin.registrations == 1


@pytest.mark.usefixtures("plugin")
def test_the_engines_config_and_socket_are_not_touched(engine: RealContainerd) -> None:
    before = (engine.config.read_bytes(), os.stat(engine.config).st_mtime_ns)
    seen(engine, {ANNOTATION: "nvidia.com/gpu=0"})
    assert (engine.config.read_bytes(), os.stat(engine.config).st_mtime_ns) == before
    assert len({event.pid for event in engine.process.events()}) == 1
