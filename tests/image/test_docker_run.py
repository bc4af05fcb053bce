"""The image as a user of Docker runs it, by the lines of the README."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.packages import REPOSITORY
from testbed.supervised import wait_for
from tests.image.host import BASE, IMAGE, DockerHost

pytestmark = pytest.mark.image

NAME = "nvidia-toolkit"
HANDLERS = {"nvidia", "nvidia-cdi", "nvidia-legacy"}
ALLOWED = 60_000_000
"""Bytes that the image may add to its base, without the payload."""


def readme_line() -> str:
    """Return the line that the README tells users to type."""
    found = re.findall(r"^docker run --detach(?:[^\n]*\\\n)*[^\n]*", README, re.MULTILINE)
    assert len(found) == 1, "the README has one line that sets a Docker host up"
    line: str = found[0]
    return line


README = (REPOSITORY / "README.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def _fresh(docker: DockerHost) -> None:
    docker.restart()


@pytest.fixture
def looking() -> str:
    """The README's line as far as the image's name, for commands that end by themselves."""
    words = readme_line().replace("\\\n", " ").replace("--detach", "--rm")
    return re.sub(r"--(name|restart)[ =]\S+", "", words.partition(f" {IMAGE}")[0])


@pytest.fixture
def running(docker: DockerHost) -> Iterator[str]:
    docker.sh(readme_line())
    ready = docker.node.root / "usr/local/nvidia/toolkit/nvidia-container-runtime"
    try:
        wait_for(
            lambda: ready.exists() and " ready " in docker.logs(NAME), "the daemon to be ready"
        )
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{docker.logs(NAME)}") from None
    yield NAME
    docker.sh(f"docker rm --force {NAME} 2>&1")


@pytest.mark.parametrize("before", [None, b'{"log-level": "info"}\n'], ids=["no file", "a file"])
def test_the_readmes_line_sets_up_the_very_docker_that_runs_it(
    docker: DockerHost, before: bytes | None, request: pytest.FixtureRequest
) -> None:
    docker.config.parent.mkdir(exist_ok=True)
    docker.config.unlink(missing_ok=True)
    if before is not None:
        docker.config.write_bytes(before)
        docker.node.run("systemctl", "reload", "docker")
    engine = docker.node.unit_pid("docker")
    running = request.getfixturevalue("running")
    info = docker.info()
    assert set(info["Runtimes"]) >= HANDLERS
    assert info["DefaultRuntime"] == "nvidia"
    assert docker.node.unit_pid("docker") == engine, "a live reload, no restart"
    said = docker.docker(
        *("run", "--rm", "--network=none", "--runtime=nvidia", "--entrypoint=/bin/echo"),
        *(IMAGE, "from a container of the handler"),
    )
    assert said == "from a container of the handler\n"
    show_memory(docker, running)
    docker.docker("stop", running)
    code = docker.docker("inspect", "--format={{.State.ExitCode}}", running)
    assert code == "0\n", "137 after the grace period of docker stop"
    info = docker.info()
    assert not set(info["Runtimes"]) & HANDLERS
    assert info["DefaultRuntime"] == "runc"
    assert (docker.config.read_bytes() if docker.config.exists() else None) == before
    assert not (docker.node.root / "usr/local/nvidia/toolkit").exists()


def show(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")


def show_memory(docker: DockerHost, container: str) -> None:
    pid = docker.docker("inspect", "--format={{.State.Pid}}", container).strip()
    lines = docker.node.run("cat", f"/proc/{pid}/smaps_rollup").splitlines()[1:]
    sizes = {name: int(kib.split()[0]) for name, kib in (line.split(":") for line in lines)}
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    show(f"idle daemon: {sizes['Rss']} KiB resident, {private} KiB private")
    # The figure itself is for people: this bound holds a second interpreter or a library loaded.
    assert sizes["Rss"] < 20_000


def lines(command: str) -> list[str]:
    """Return each whole line of the documentation that runs a command in a container."""
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    found = re.findall(
        rf"docker run --rm [^`\n…]* {command}\b", "\n".join(map(Path.read_text, pages))
    )
    assert found, command
    return list(found)


@pytest.mark.parametrize("command", ["doctor", "plan"])
def test_the_lines_that_look_change_nothing(docker: DockerHost, command: str) -> None:
    docker.config.unlink(missing_ok=True)
    for line in lines(command):
        assert docker.sh(f"{line} --runtime=docker")
    assert not docker.config.exists()


def test_the_line_that_reverts_leaves_nothing_though_our_handler_runs_it(
    docker: DockerHost, looking: str
) -> None:
    """Its own container is of the default handler, which is ours until then."""
    docker.config.unlink(missing_ok=True)
    # An empty directory that another test's pod mounted is not the installer's to remove.
    docker.node.run("sh", "-c", "rmdir /usr/local/nvidia 2>/dev/null || true")
    docker.sh(f"{looking} {IMAGE} --runtime=docker --no-daemon")
    assert docker.info()["DefaultRuntime"] == "nvidia"
    (line,) = lines("revert")
    said = docker.sh(f"{line} 2>&1")
    assert "toolkit's files are gone" in said, said
    info = docker.info()
    assert info["DefaultRuntime"] == "runc"
    assert not set(info["Runtimes"]) & HANDLERS
    assert not docker.config.exists()
    wait_for(lambda: not (docker.node.root / "usr/local/nvidia").exists(), f"nothing left: {said}")
    assert not docker.docker("ps", "--all", "--quiet", "--filter", f"ancestor={IMAGE}").split()


def test_plan_shows_the_change_and_makes_none(docker: DockerHost, looking: str) -> None:
    docker.config.unlink(missing_ok=True)
    printed = docker.sh(f"{looking} {IMAGE} plan --runtime=docker")
    assert "+++ /etc/docker/daemon.json" in printed
    assert "# reload: yes" in printed
    assert not docker.config.exists()
    assert not (docker.node.root / "usr/local/nvidia/toolkit").exists()


STARTED_ASIDE = """
from toolkit.host.sandbox import DIRECTORY, Program, Sandbox
place = Sandbox.open("/host")
options = [f"--config={DIRECTORY}/c.toml"]
options += [f"--{each}={DIRECTORY}/{each}" for each in ("root", "state", "address")]
content = b'version = 2\\n[plugins."io.containerd.grpc.v1.cri"]\\nno_pivot = true\\n'
program = Program(
    arguments=("/usr/bin/containerd", *options),
    seconds=60.0,
    files={f"{DIRECTORY}/c.toml": content},
    until=(b"successfully booted",),
)
(result,) = place.run(program)
place.close()
print(result.status, "`no_pivot` only works for runtime" in result.errors)
"""


def test_an_engine_of_the_host_can_be_started_aside_from_the_container(docker: DockerHost) -> None:
    engine = docker.node.unit_pid("containerd")
    printed = docker.docker(
        *("run", "--rm", "--network=none", "--privileged", "--pid=host", "--volume=/:/host:ro"),
        *("--entrypoint=/opt/nvidia-toolkit/bin/python", IMAGE, "-c", STARTED_ASIDE),
    )
    assert printed == "0 True\n"
    assert docker.node.unit_pid("containerd") == engine


def test_doctor_finds_nothing_that_would_stop_the_set_up(docker: DockerHost, looking: str) -> None:
    printed = docker.sh(f"{looking} {IMAGE} doctor --runtime=docker")
    assert "ok       engine: docker" in printed
    assert "problem" not in printed


def test_doctor_names_what_a_container_without_rights_lacks(docker: DockerHost) -> None:
    printed = docker.sh(f"docker run --rm --network=none {IMAGE} doctor --runtime=docker || true")
    assert "hostPID" in printed
    assert "privileged" in printed


def test_help_needs_neither_rights_nor_mounts(docker: DockerHost) -> None:
    printed = docker.sh(f"docker run --rm --network=none {IMAGE} --help")
    assert printed.startswith("Usage: nvidia-toolkit")


@pytest.mark.parametrize("name", ["nvidia-toolkit", "nvidia-ctk-installer"])
def test_the_image_has_what_an_operator_starts(docker: DockerHost, name: str) -> None:
    printed = docker.sh(
        f"docker run --rm --network=none --entrypoint=/bin/sh {IMAGE}"
        f" -c 'command -v chroot >&2 && {name} --version'"
    )
    assert re.search(r"\d+\.\d+\.\d+", printed)


def test_a_shell_becomes_the_script_that_it_is_given(docker: DockerHost) -> None:
    """Else SIGTERM ends the shell alone, and the container's end kills the daemon."""
    line = 'printf "#!/bin/sh\\nexec cat /proc/1/comm\\n" >/s && chmod +x /s && exec /bin/sh -c /s'
    printed = docker.docker(
        *("run", "--rm", "--network=none", "--entrypoint=/bin/sh", IMAGE, "-c", line)
    )
    assert printed == "cat\n"


def test_every_module_is_compiled(docker: DockerHost) -> None:
    line = (
        "cd /opt/nvidia-toolkit/lib/python3*/site-packages && "
        "for f in $(find . -name '*.py' -path './toolkit/*'); do "
        "[ -e $(dirname $f)/__pycache__/$(basename $f .py).cpython-*.pyc ] || echo $f; done"
    )
    printed = docker.docker(
        *("run", "--rm", "--network=none", "--entrypoint=/bin/bash", IMAGE, "-c", line)
    )
    assert not printed


def test_the_image_adds_little_to_its_base_and_tells_what_it_is(docker: DockerHost) -> None:
    payload = docker.docker(
        *("run", "--rm", "--network=none", "--entrypoint=/usr/bin/du", IMAGE),
        *("--summarize", "--bytes", "/artifacts"),
    )
    added = docker.size(IMAGE) - docker.size(BASE) - int(payload.split()[0])
    show(f"image: {docker.size(IMAGE) / 1e6:.1f} MB, {added / 1e6:.1f} MB of it ours")
    assert added <= ALLOWED
    labels = docker.docker("image", "inspect", "--format={{json .Config.Labels}}", IMAGE)
    for label in ("title", "version", "licenses", "description"):
        assert f"org.opencontainers.image.{label}" in labels
    variables = docker.docker("image", "inspect", "--format={{json .Config.Env}}", IMAGE)
    assert "NVIDIA_VISIBLE_DEVICES=void" in variables
