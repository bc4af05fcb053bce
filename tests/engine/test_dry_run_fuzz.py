"""The dry run's verdict on mutated configs against a real start of the engine."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.model import ConfigError, DesiredHandlers, EngineName, Version
from testbed.containerd import RELEASES, SYSTEM_PATH, ContainerdRelease
from testbed.cri import CriClient
from testbed.payload_host import settings_of
from testbed.supervised import private_directory
from tests.engine.mutated_configs import PARTS, Mutated, mutated_configs
from toolkit.dry_run import dry_runs
from toolkit.engine.facts import HostFacts, Served
from toolkit.errors import ToolkitError
from toolkit.node import Node, open_node

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("_root")]
SEED = 14
SHORT, LONG = 20, 400
LOOKS = 10
"""How often CRI is asked of an engine that has loaded all its plugins."""
MOST_LOOKS = 500
"""How often one is asked that does not say when it has, as its log level is above that."""
PRIVATE = """
set -e
mount --no-mtab -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
for path in etc opt var/lib; do
    mkdir -p /run/.kept/$path/upper /run/.kept/$path/work
    options=lowerdir=/$path,upperdir=/run/.kept/$path/upper,workdir=/run/.kept/$path/work
    mount --no-mtab -t overlay -o "$options" overlay "/$path"
done
mount --no-mtab -t proc proc /proc
exec "$@"
"""
"""What the config names of the host is a throwaway copy."""


def really_serves(release: ContainerdRelease, directory: Path) -> bool:
    """Start the engine on the files in a directory; tell whether it comes to serve CRI."""
    socket, log = directory / "real.sock", directory / "real.log"
    command = (
        *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
        *("--propagation=private", "sh", "-c", PRIVATE, "sh", str(release.programs / "containerd")),
        *("--config", str(directory / "config.toml"), "--address", str(socket)),
    )
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env={"PATH": f"{release.programs}:{SYSTEM_PATH}"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd="/",
            start_new_session=True,
        )
    client = CriClient(socket, directory / "logs", timeout=5.0)
    try:
        booted, ready = 0, 0
        for _ in range(MOST_LOOKS):
            if process.poll() is not None or booted >= LOOKS:
                break
            ready += socket.is_socket() and client.ready()
            if ready >= LOOKS / 2:
                # One that can't listen for its streams serves for a moment, says so, and ends.
                return "Failed to start streaming server" not in log.read_text(errors="replace")
            booted += "containerd successfully booted" in log.read_text(errors="replace")
            time.sleep(0.02)
        return False
    finally:
        process.kill()
        process.wait()


def verdict(node: Node, release: ContainerdRelease, directory: Path) -> str | None:
    """Return why the dry run refuses the files in a directory; None where it lets them through."""
    facts = facts_of(release, directory)
    request = ConfigRequest(
        desired=DesiredHandlers(handlers=()),
        top_level=facts.top_level,
        drop_in=None,
        version=facts.version,
    )
    try:
        with dry_runs(node, facts, request, stages=False) as runs:
            if (missing := runs.missing(())) is not None:
                return str(missing)
            loaded = runs.loaded(())
            assert loaded is not None
            if loaded.refused:
                return loaded.reason
            refused = runs.refused(())
            return None if refused is None else str(refused)
    except (ToolkitError, ConfigError) as error:
        return str(error)


def facts_of(release: ContainerdRelease, directory: Path) -> HostFacts:
    major, minor, patch = (int(part) for part in release.version.split("."))
    return HostFacts(
        engine=EngineName.CONTAINERD,
        socket=str(directory / "live.sock"),
        process=None,
        unreachable="not started",
        version=Version(major=major, minor=minor, patch=patch),
        version_source=None,
        top_level=str(directory / "config.toml"),
        drop_in=None,
        effective=None,
        effective_source=None,
        served=Served.nothing("not started"),
        executable=str(release.programs / "containerd"),
        distribution="plain",
        placement=Placement.PLAIN,
        template=None,
    )


def placed(mutated: Mutated, directory: Path) -> None:
    for name, content in mutated.files.items():
        (directory / name).write_text(content.replace(PARTS, str(directory)))


def compare(release: ContainerdRelease, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Let the engine start on each config, and hold what the dry run says against it."""
    node = open_node(settings_of("--runtime=containerd", "--host-root=/"))
    let_through, falsely_refused, refused = [], [], 0
    for index, mutated in enumerate(mutated_configs(SEED, count)):
        with private_directory("fuzz-") as directory:
            placed(mutated, directory)
            said = verdict(node, release, directory)
            serves = really_serves(release, directory)
            refused += not serves
            line = f"{index}: {mutated.description}"
            if said is None and not serves:
                log = (directory / "real.log").read_text().splitlines()
                let_through.append(f"{line}: {[each for each in log if 'failed' in each][-2:]}")
            elif said is not None and serves:
                falsely_refused.append(f"{line}: {said}")
    with capsys.disabled():
        print(  # noqa: T201 - the counts are the result
            f"\ncontainerd {release.version}: {count} configs, the engine refuses {refused}; "
            f"let through {len(let_through)}, falsely refused {len(falsely_refused)}",
            *let_through,
            *falsely_refused,
            sep="\n  ",
        )
    assert let_through == []
    assert len(falsely_refused) <= count // 20


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.series)
def test_no_config_is_let_through_that_the_engine_refuses(
    release: ContainerdRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(release, SHORT, capsys)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.series)
def test_none_of_many_configs_is_let_through_that_the_engine_refuses(
    release: ContainerdRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(release, LONG, capsys)
