"""A distribution that renders containerd's config at each start, as k3s does, and breaks it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.program import Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import wait_idle

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("_root")]
BASE = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
RENDERING = """
cd "$1"
shift
if [ -e config.toml.tmpl ]; then
    sed '/{{ template "base" . }}/{
        r base.toml
        d
    }
    /^{{/d' config.toml.tmpl > config.toml
    [ ! -e broken ] || echo '[' >> config.toml
else
    cp base.toml config.toml
fi
exec "$@"
"""


class Rendered:
    """A containerd 1.7 whose config and socket lie below a directory as k3s names its own."""

    def __init__(self, engine: RealContainerd) -> None:
        self.engine = engine
        self.directory = engine.directory / "k3s/agent"
        self.directory.mkdir(parents=True)
        self.config = self.directory / "config.toml"
        self.broken = self.directory / "broken"
        (self.directory / "base.toml").write_text(BASE)
        socket = self.directory / "containerd.sock"
        socket.symlink_to(engine.socket)
        read, config = str(engine.config), str(self.config)
        own = (config if each == read else each for each in engine.process.command)
        engine.process.command = ("/bin/sh", "-c", RENDERING, "sh", str(self.directory), *own)
        self.installer = Installer(
            engine.directory,
            {
                "RUNTIME": "containerd",
                "CONTAINERD_SOCKET": str(socket),
                "CONTAINERD_CONFIG": str(self.config),
                "NVIDIA_RUNTIME_SET_AS_DEFAULT": "false",
            },
        )

    def files(self) -> dict[str, tuple[object, ...]]:
        """Return what the setup may change: the template, and what is rendered from it."""
        return snapshot(self.directory, besides=[self.broken])

    def ours_served(self) -> bool:
        """Tell whether containerd has a handler of ours."""
        return "nvidia-cdi" in self.engine.cri.served().handlers


@pytest.fixture
def node() -> Iterator[Rendered]:
    with real_containerd(RELEASES[1]) as engine:
        made = Rendered(engine)
        engine.start()
        yield made
        made.installer.end()


def test_a_set_up_whose_rendered_config_the_engine_can_not_read_is_rolled_back(
    node: Rendered,
) -> None:
    before = node.files()
    node.broken.touch()
    done = node.installer.run("--no-daemon", "--verify-timeout=4")
    assert done.returncode == 1, done.stderr
    assert "did not come back" in done.stderr
    node.engine.wait_ready()
    assert node.files() == before
    assert not node.ours_served()


def test_a_revert_tells_an_engine_whose_rendered_config_somebody_broke(node: Rendered) -> None:
    before = node.files()
    node.installer.start()
    wait_idle(node.installer)
    assert node.ours_served()
    node.config.write_bytes(node.config.read_bytes() + b"[\n")
    assert node.installer.stop() == 0, node.installer.log()
    node.engine.wait_ready()
    assert not node.ours_served()
    assert node.files() == before


@pytest.mark.parametrize("running", [True, False])
def test_a_set_up_over_a_rendered_config_that_does_not_parse_is_refused_at_once(
    node: Rendered, *, running: bool
) -> None:
    if not running:
        node.engine.process.hold()
        node.engine.process.kill(signal.SIGKILL)
        wait_for(lambda: node.engine.process.events()[-1].event == "died", "containerd's end")
    node.config.write_bytes(node.config.read_bytes() + b"[\n")
    before = node.files()
    done = node.installer.run("--no-daemon", timeout=10.0)
    assert done.returncode == 1
    assert f"{node.config}: not valid TOML" in done.stderr
    assert node.files() == before
    assert not Path(node.installer.install_dir).exists()
