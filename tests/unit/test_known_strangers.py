"""Who answers on an engine's socket is named for what it is, with what to do about it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName
from tests.fakes.node import SYSTEMD, FakeTable, process
from tests.unit.cli_session import settings_of
from toolkit.engine.process import discover, locate
from toolkit.engine.process.discover import chosen_runtime
from toolkit.engine.process.locate import EngineSocket, Located, refuse_stranger
from toolkit.engine.process.peer import Peer
from toolkit.errors import EngineNotFoundError
from toolkit.host.given_mounts import NO_HOST_ROOT
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts

SOCKET = "/var/run/docker.sock"


def of_user(user: int, executable: str) -> ProcessFacts:
    return replace(process(7, executable, "dockerd"), user=user)


def judged(found: ProcessFacts, engine: EngineName = EngineName.DOCKER) -> Located:
    behind = EngineSocket(engine, SOCKET, HostRoot(root="/"), FakeTable(SYSTEMD, found))
    return behind.classify(Peer(pid=found.pid, spoke=True))


@pytest.mark.parametrize(
    ("found", "message", "fix"),
    [
        (
            process(7, "/usr/bin/podman", "podman", "system", "service"),
            f"podman (PID 7) answers on {SOCKET}, not docker",
            "podman needs no handler: use CDI (--no-runtime-config --cdi-enabled)",
        ),
        (
            process(7, "/opt/docker-desktop/bin/com.docker.backend", "com.docker.backend"),
            (
                f"Docker Desktop (PID 7) answers on {SOCKET}: its engine runs in a virtual machine,"
                " not on this host"
            ),
            "use Docker Engine, or name its socket with --socket",
        ),
        (
            process(7, "/snap/docker/2932/bin/dockerd", "dockerd", on_host=False),
            (
                f"dockerd (PID 7) on {SOCKET} is the Docker snap: its confinement keeps it from the"
                " toolkit's files"
            ),
            "use the snap's own NVIDIA support, or install Docker as a package",
        ),
        (
            of_user(1000, "/usr/bin/dockerd"),
            (
                f"dockerd (PID 7) on {SOCKET} is rootless (user 1000): it reads its user's config,"
                " not the host's"
            ),
            (
                "name the system's engine with --socket, or set up the rootless one as its user"
                " with nvidia-ctk"
            ),
        ),
        (
            process(7, None, "dockerd", name="dockerd", on_host=None),
            f"dockerd (PID 7) behind {SOCKET} can't be inspected",
            "run the container privileged (docker run --privileged)",
        ),
    ],
    ids=["podman", "Docker Desktop", "snap", "rootless", "not privileged"],
)
def test_what_answers_is_named_with_its_fix(found: ProcessFacts, message: str, fix: str) -> None:
    with pytest.raises(EngineNotFoundError) as failure:
        refuse_stranger(judged(found))
    assert (failure.value.message, failure.value.hint) == (message, fix)


def test_the_root_users_dockerd_is_no_stranger() -> None:
    assert judged(of_user(0, "/usr/bin/dockerd")).stranger is None


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_is_no_socket_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "containerd.sock"
    path.mkdir() if what == "directory" else path.touch()
    behind = EngineSocket(EngineName.CONTAINERD, str(path), HostRoot(root="/"), FakeTable())
    with pytest.raises(EngineNotFoundError) as failure:
        refuse_stranger(behind.locate(0.0))
    assert failure.value.message == f"{path} is a {what}, not a socket"
    assert "mount the socket's directory" in failure.value.hint


def auto(directory: Path, root: HostRoot | None = None) -> EngineNotFoundError:
    settings = settings_of(
        CONTAINERD_SOCKET=str(directory / "containerd.sock"),
        CRIO_SOCKET=str(directory / "crio.sock"),
        DOCKER_SOCKET=str(directory / "docker.sock"),
    )
    with pytest.raises(EngineNotFoundError) as failure:
        chosen_runtime(settings, root or HostRoot(root="/"))
    return failure.value


def test_auto_says_of_each_socket_why_no_engine_answers_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(tmp_path / "crio.sock"))
        failure = auto(tmp_path)
    head, _, reasons = failure.message.partition(": ")
    assert head == "no engine answers on this node"
    assert reasons.split("; ")[:3] == [
        f"no containerd answers on {tmp_path}/containerd.sock: No such file or directory",
        f"no crio answers on {tmp_path}/crio.sock: Connection refused",
        f"no docker answers on {tmp_path}/docker.sock: No such file or directory",
    ]
    assert failure.hint == "start it, or name it with --runtime and --socket"


def test_auto_names_what_waiting_does_not_change_with_its_fix(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").mkdir()
    failure = auto(tmp_path)
    assert failure.message.startswith("no engine can be set up here: no containerd answers on ")
    assert f"{tmp_path}/docker.sock is a directory, not a socket" in failure.message
    assert failure.hint.startswith("remove it, restart the engine")


@pytest.mark.parametrize("module", [discover, locate])
def test_a_container_without_the_hosts_root_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    monkeypatch.setattr(module, "own_root_is_container_image", lambda _proc: True)
    if module is discover:
        failure = auto(tmp_path)
    else:
        path = str(tmp_path / "containerd.sock")
        found = EngineSocket(EngineName.CONTAINERD, path, HostRoot(root="/"), FakeTable()).locate(
            0.0
        )
        with pytest.raises(EngineNotFoundError) as caught:
            locate.refuse_without_host_root(found, HostRoot(root="/"))
        failure = caught.value
    assert (failure.message, failure.hint) == NO_HOST_ROOT
