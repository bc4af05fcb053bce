"""`plan` says how every path was read that a setup uses."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from runtime_configs.model import Version
from tests.faults.node_host import FaultHost
from toolkit.engine.facts import HostFacts
from toolkit.host.clock import UninterruptedClock
from toolkit.host.given_mounts import GivenMount
from toolkit.node import Node
from toolkit.report.paths import paths_read

V2 = Version(major=2, minor=1)


def facts_of(node: Node) -> HostFacts:
    return node.control(next(iter(node.settings.engines))).facts(UninterruptedClock().now())


def test_a_declared_path_has_the_name_of_who_gave_it_and_where_it_is_on_the_host(
    tmp_path: Path,
) -> None:
    host = FaultHost(tmp_path, version=V2)
    node = host.node(None, "--config=/runtime/config-dir/config.toml")
    mount = GivenMount(
        point="/runtime/config-dir", host="/etc/containerd", known=True, writable=True
    )
    node = replace(node, root=replace(node.root, mounts=(mount,)))
    lines = [" ".join(each) for each in paths_read(node, facts_of(node))]
    assert (
        "config /runtime/config-dir/config.toml (--config): below the mount /runtime/config-dir,"
        " host path /etc/containerd/config.toml"
    ) in lines
    root = node.root.root
    assert lines[0] == f"host root {root}: as it stands"
    assert f"install directory /usr/local/nvidia: host path, opened as {root}/usr/local/nvidia" in (
        lines
    )
    for what in ("pid file", "ready file", "drop-in", "socket"):
        assert [line for line in lines if line.startswith(f"{what} /")]


def test_a_path_that_was_found_on_the_node_is_shown_with_the_file_behind_its_links(
    tmp_path: Path,
) -> None:
    path = "/var/lib/engine/config.toml"
    host = FaultHost(tmp_path, version=V2, config=None, top_level=path)
    host.place("/srv/real.toml", b"version = 2\n")
    (host.root / path[1:]).parent.mkdir(parents=True)
    (host.root / path[1:]).symlink_to("/srv/real.toml")
    node = host.node()
    opened = f"{node.root.root}{path}"
    shown = f"{path}: host path, opened as {opened}, by links /srv/real.toml"
    assert ("config", shown) in list(paths_read(node, facts_of(node)))


def test_without_an_engine_only_its_own_paths_are_shown(tmp_path: Path) -> None:
    node = FaultHost(tmp_path).node(None, "--no-runtime-config", "--cdi-enabled")
    found = [what for what, _ in paths_read(node, None)]
    assert found == [
        "host root",
        "install directory",
        "pid file",
        "ready file",
        "CDI specs",
        "driver root",
    ]
