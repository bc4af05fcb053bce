"""How a path that the user gives is read: by the host root, by given mounts, as a host path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from toolkit.errors import HostPathError
from toolkit.host.given_mounts import default_host_root
from toolkit.host.paths import HostRoot


@dataclass
class Container:
    """A container with the host at ``host``, made of plain directories and a made-up /proc."""

    base: Path
    lines: list[str]
    init: list[str]

    @property
    def host(self) -> Path:
        return self.base / "host"

    def mount(self, point: str, root: str, device: str = "8:1", options: str = "rw") -> None:
        """Mount ``root`` of a device; the directory is made and is empty, unlike a real one."""
        number = 100 + len(self.lines)
        escaped = point.replace("\\", "\\134").replace(" ", "\\040")
        self.lines.append(
            f"{number} 1 {device} {root} {escaped} {options} master:1 - ext4 /dev/x rw"
        )

    def host_mount(self, point: str, root: str, device: str = "8:1") -> None:
        number = 20 + len(self.init)
        self.init.append(f"{number} 1 {device} {root} {point} rw shared:1 - ext4 /dev/x rw")

    def root(self, host_root: str | None = None) -> HostRoot:
        proc = self.base / "proc"
        for pid, lines in (("self", self.lines), ("1", self.init)):
            (proc / pid).mkdir(parents=True, exist_ok=True)
            (proc / pid / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
        return HostRoot.detect(host_root or str(self.host), proc=str(proc))


@pytest.fixture
def container(tmp_path: Path) -> Container:
    made = Container(tmp_path.resolve(), [], [])
    (made.host / "etc/containerd").mkdir(parents=True)
    (made.host / "etc/containerd/config.toml").write_text("version = 2\n")
    made.mount("/", "/", "0:99")
    made.mount(str(made.host), "/", options="ro")
    made.host_mount("/", "/")
    made.host_mount("/run", "/", "0:25")
    return made


def given(container: Container, name: str, root: str, device: str = "8:1") -> Path:
    point = container.base / "runtime" / name
    point.mkdir(parents=True)
    container.mount(str(point), root, device)
    return point


def test_a_path_below_the_host_root_loses_it(container: Container) -> None:
    root = container.root()
    assert root.host_path(f"{container.host}/etc/docker/daemon.json") == "/etc/docker/daemon.json"
    assert root.host_path(f"{container.host}/") == "/"


def test_a_path_below_a_given_mount_gets_the_hosts_name_and_is_opened_there(
    container: Container,
) -> None:
    config = given(container, "config-dir", "/etc/containerd")
    root = container.root()
    assert root.host_path(f"{config}/config.toml") == "/etc/containerd/config.toml"
    assert root.access("/etc/containerd/config.toml") == f"{config}/config.toml"
    assert root.access("/etc/docker/daemon.json") == f"{container.host}/etc/docker/daemon.json"
    assert root.host_of(f"{config}/x") == "/etc/containerd/x"
    assert root.explain(f"{config}/config.toml") == (
        f"below the mount {config}, host path /etc/containerd/config.toml"
    )


def test_of_nested_given_mounts_the_deepest_place_on_the_host_counts(container: Container) -> None:
    given(container, "config-dir", "/etc/containerd")
    drop_ins = given(container, "config-dir.d", "/etc/containerd/conf.d")
    root = container.root()
    assert root.access("/etc/containerd/conf.d/99-nvidia.toml") == f"{drop_ins}/99-nvidia.toml"


def test_a_mount_on_another_file_system_is_found_in_the_table_of_the_hosts_first_process(
    container: Container,
) -> None:
    sockets = given(container, "sock-dir", "/containerd", "0:25")
    root = container.root()
    assert root.host_path(f"{sockets}/containerd.sock") == "/run/containerd/containerd.sock"


def test_a_mount_below_the_host_root_tells_the_place_without_the_first_process(
    container: Container,
) -> None:
    container.init.clear()
    container.mount(f"{container.host}/run", "/", "0:25")
    sockets = given(container, "sock-dir", "/containerd", "0:25")
    container.mount("/etc/hosts", "/var/lib/x/hosts")
    assert container.root().host_path(f"{sockets}/a") == "/run/containerd/a"


def test_the_first_process_of_another_root_says_nothing(container: Container) -> None:
    container.init[0] = container.init[0].replace("8:1 / /", "0:99 / /")
    sockets = given(container, "sock-dir", "/containerd", "0:25")
    assert container.root().host_path(f"{sockets}/a") == f"{sockets}/a"


def test_a_place_that_is_hidden_on_the_host_does_not_count(container: Container) -> None:
    container.host_mount("/etc", "/", "8:7")
    container.mount(f"{container.host}/etc", "/", "8:7")
    config = given(container, "config-dir", "/etc/containerd", "8:1")
    assert "is not known" in container.root().explain(f"{config}/config.toml")


def test_a_subvolume_as_the_hosts_root_is_taken_into_account(container: Container) -> None:
    container.lines[1] = container.lines[1].replace("8:1 / ", "8:1 /@root ")
    container.init[0] = container.init[0].replace("8:1 / ", "8:1 /@root ")
    config = given(container, "config-dir", "/@root/etc/containerd")
    assert container.root().host_path(f"{config}/a") == "/etc/containerd/a"


def test_a_mount_whose_place_is_unknown_is_taken_as_it_stands(container: Container) -> None:
    volume = given(container, "volume", "/", "0:77")
    root = container.root()
    assert root.host_path(f"{volume}/a") == f"{volume}/a"
    assert root.access(f"{volume}/a") == f"{volume}/a"
    assert "is not known" in root.explain(f"{volume}/a")


def test_a_file_that_is_mounted_alone_is_given(container: Container) -> None:
    file = container.base / "daemon.json"
    file.touch()
    container.mount(str(file), "/etc/docker/daemon.json")
    root = container.root()
    assert root.host_path(str(file)) == "/etc/docker/daemon.json"
    assert root.access("/etc/docker/daemon.json") == str(file)
    assert root.access("/etc/docker") == f"{container.host}/etc/docker"


def test_a_mount_point_with_a_blank_and_the_images_own_links_are_understood(
    container: Container,
) -> None:
    real = given(container, "run dir", "/containerd", "0:25")
    link = container.base / "var-run"
    link.symlink_to(real)
    root = container.root()
    assert root.host_path(f"{real}/a") == "/run/containerd/a"
    assert root.host_path(f"{link}/a") == "/run/containerd/a"


@pytest.mark.parametrize(
    "point",
    ["/proc", "/sys", "/dev", "/run", "/var/run", "/tmp", "/etc/hosts", "/etc/resolv.conf"],
)
def test_mounts_that_every_container_has_are_not_given(container: Container, point: str) -> None:
    container.mount(point, "/elsewhere")
    root = container.root()
    assert root.mounts == ()
    assert root.host_path(f"{point}/a") == f"{point}/a"
    assert root.locate(f"{point}/a") == f"{container.host}{point}/a"


def test_a_mount_below_such_a_mount_is_given(container: Container) -> None:
    container.mount("/run/nvidia", "/nvidia", "0:25")
    (given_mount,) = container.root().mounts
    assert (given_mount.point, given_mount.host) == ("/run/nvidia", "/run/nvidia")


def test_any_other_path_is_a_host_path(container: Container) -> None:
    root = container.root()
    assert root.host_path("/etc//containerd/./config.toml") == "/etc/containerd/config.toml"
    assert root.explain("/etc/containerd") == (
        f"host path, opened as {container.host}/etc/containerd"
    )


def test_with_a_host_root_that_is_no_mount_no_mount_counts(container: Container) -> None:
    config = given(container, "config-dir", "/etc/containerd")
    plain = container.base / "plain"
    plain.mkdir()
    root = container.root(str(plain))
    assert root.mounts == ()
    assert root.access(f"{config}/a") == f"{plain}{config}/a"


def test_with_the_same_mounts_as_the_first_process_no_mount_counts(container: Container) -> None:
    given(container, "home", "/home")
    container.init = container.lines
    assert container.root().mounts == ()


def test_at_the_root_itself_every_path_stands(container: Container) -> None:
    root = container.root("/")
    assert root.host_path("/etc/docker") == "/etc/docker"
    assert root.access("/nowhere/at/all") == "/nowhere/at/all"
    assert root.explain("/nowhere") == "as it stands"


def test_links_are_resolved_inside_the_root(container: Container) -> None:
    host = container.host
    (host / "run").mkdir()
    (host / "var").mkdir()
    (host / "var/run").symlink_to("/run")
    (host / "var/up").symlink_to("../../../../../etc")
    (host / "etc/absolute.toml").symlink_to("/etc/containerd/config.toml")
    root = container.root()
    assert root.access("/var/run/crio/crio.sock") == f"{host}/run/crio/crio.sock"
    assert root.access("/var/up/passwd") == f"{host}/etc/passwd"
    assert root.access("/etc/absolute.toml") == f"{host}/etc/containerd/config.toml"
    assert root.entry("/etc/absolute.toml") == f"{host}/etc/absolute.toml"
    assert root.resolve("/etc/absolute.toml") == "/etc/containerd/config.toml"


def test_a_link_in_a_given_mount_leads_through_the_host_not_the_container(
    container: Container,
) -> None:
    config = given(container, "config-dir", "/etc/containerd")
    (config / "config.toml").symlink_to("/opt/real.toml")
    root = container.root()
    assert root.host_path(f"{config}/config.toml") == "/etc/containerd/config.toml"
    assert root.access("/etc/containerd/config.toml") == f"{container.host}/opt/real.toml"


def test_a_link_on_the_host_that_leads_below_a_given_mount_is_opened_in_the_mount(
    container: Container,
) -> None:
    (container.host / "etc/link").symlink_to("containerd")
    config = given(container, "config-dir", "/etc/containerd")
    assert container.root().access("/etc/link/config.toml") == f"{config}/config.toml"


def test_a_loop_of_links_is_an_error_that_names_the_path(container: Container) -> None:
    (container.host / "a").symlink_to("b")
    (container.host / "b").symlink_to("a")
    with pytest.raises(HostPathError, match="/a/x: Too many levels"):
        container.root().access("/a/x")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("etc/x", "relative"),
        ("/etc/../x", "'..'"),
        ("/a\0b", "NUL"),
        ("/" + "a" * 300, "too long"),
        ("/a" * 3000, "too long"),
        ("a\nb", "relative"),
    ],
)
def test_a_path_that_can_not_be_used_is_refused_in_one_line(
    container: Container, path: str, reason: str
) -> None:
    with pytest.raises(HostPathError) as caught:
        container.root().host_path(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_of_the_container_alone_has_no_name_on_the_host(container: Container) -> None:
    with pytest.raises(HostPathError, match="not on the host"):
        container.root().host_of("/artifacts/deb")


def test_a_host_root_that_is_no_directory_is_refused(container: Container) -> None:
    with pytest.raises(HostPathError, match="host root /nowhere is not a directory"):
        container.root("/nowhere")


def test_the_default_host_root_is_slash_host_where_that_is_a_mount(container: Container) -> None:
    container.root()
    assert default_host_root(proc=str(container.base / "proc")) == "/"
    container.mount("/host", "/")
    container.root()
    assert default_host_root(proc=str(container.base / "proc")) == "/host"
    # The container's root may be a directory of the very file system that the host's root is on.
    container.lines[0] = container.lines[0].replace("0:99 / /", "8:1 /var/lib/image /")
    container.root()
    assert default_host_root(proc=str(container.base / "proc")) == "/host"


def test_of_two_equal_mounts_the_one_nearest_to_the_root_is_taken(container: Container) -> None:
    point = given(container, "config-dir", "/etc/containerd")
    given(container, "sock-dir/task/rootfs/runtime/config-dir", "/etc/containerd")
    found = container.root().access("/etc/containerd/config.toml")
    assert found == str(point / "config.toml")


def test_a_drop_in_whose_place_on_the_host_is_declared_is_known_by_that_name(
    tmp_path: Path,
) -> None:
    root = HostRoot(root="/").with_declared(
        f"{tmp_path}/99-nvidia.toml", "/etc/engine/99-nvidia.toml"
    )
    assert root.host_path(f"{tmp_path}/99-nvidia.toml") == "/etc/engine/99-nvidia.toml"
    assert root.access("/etc/engine/99-nvidia.toml") == f"{tmp_path}/99-nvidia.toml"
    assert root.access("/etc/engine/10-other.toml") == f"{tmp_path}/10-other.toml"
    assert root.access("/etc/hostname") == "/etc/hostname"


def test_a_drop_in_with_another_name_on_the_host_moves_alone(tmp_path: Path) -> None:
    root = HostRoot(root="/").with_declared(f"{tmp_path}/given.toml", "/etc/engine/99-nvidia.toml")
    assert root.access("/etc/engine/99-nvidia.toml") == f"{tmp_path}/given.toml"
    assert root.access("/etc/engine/10-other.toml") == "/etc/engine/10-other.toml"


def test_a_declared_place_that_is_the_given_one_changes_nothing() -> None:
    root = HostRoot(root="/")
    assert root.with_declared("/etc/engine/99.toml", "/etc/engine/99.toml") is root
