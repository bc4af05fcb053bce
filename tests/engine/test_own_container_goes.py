"""The installer in a pod of its own handler: a revert leaves nothing once the pod is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from testbed.containerd import RealContainerd
from testbed.cri import Pod
from testbed.program import snapshot
from testbed.supervised import wait_for
from tests.engine.test_auto_own_container import InAPod, told

pytestmark = pytest.mark.engine
EXITED = 2


@pytest.fixture
def engine(containerd: RealContainerd) -> RealContainerd:
    containerd.start()
    containerd.import_image()
    return containerd


def set_up_and_leave(engine: RealContainerd) -> None:
    """Let a first pod set the node up, so that the next one is run by our default handler."""
    program = InAPod(engine)
    program.installer.variables = {**program.installer.variables, "TOOLKIT_ON_EXIT": "keep"}
    pod = program.start()
    with told(engine, pod):
        program.wait_ready()
        stop(program, engine, pod)
    assert engine.cri.served().default == "nvidia"


def stop(program: InAPod, engine: RealContainerd, pod: Pod) -> None:
    os.kill(int(program.installer.pid_file.read_text()), signal.SIGTERM)
    # The engine is restarted meanwhile.
    wait_for(lambda: not program.installer.pid_file.exists(), "the installer's end", 40.0)
    engine.wait_ready()
    wait_for(lambda: engine.cri.container_state(pod) == EXITED, "the container's end", 40.0)


def test_its_own_pod_holds_nothing_and_the_engine_deletes_it(engine: RealContainerd) -> None:
    before = snapshot(engine.config.parent)
    set_up_and_leave(engine)
    program = InAPod(engine)
    pod = program.start()
    with told(engine, pod):
        program.wait_ready()
        stop(program, engine, pod)
        said = engine.cri.output(pod)
        assert "the host is as it was before" in said
        assert "a script stays until the engine has deleted" in said
        left = {each.name for each in (program.installer.install_dir / "toolkit").iterdir()}
        assert left == {"nvidia-container-runtime", f".waits-for-{pod.sandbox_id}"}
    assert not program.installer.install_dir.exists()
    assert snapshot(engine.config.parent) == before
    assert engine.cri.run_to_end("", ("/bin/echo", "as before")) == "as before"


def test_a_start_takes_the_place_of_what_an_earlier_pod_left(engine: RealContainerd) -> None:
    before = snapshot(engine.config.parent)
    set_up_and_leave(engine)
    first = InAPod(engine)
    left = first.start()
    first.wait_ready()
    stop(first, engine, left)
    second = InAPod(engine)
    pod = second.start()
    with told(engine, pod):
        second.wait_ready()
        # The payload is there again: the engine deletes the earlier pod by it.
        engine.cri.remove_pod(left)
        assert (second.installer.install_dir / "toolkit/nvidia-ctk").exists()
        stop(second, engine, pod)
    assert not second.installer.install_dir.exists()
    assert snapshot(engine.config.parent) == before


def test_a_pod_of_others_holds_the_payload_by_name_and_a_dead_one_does_not(
    engine: RealContainerd,
) -> None:
    set_up_and_leave(engine)
    theirs, dead = engine.cri.run_pod("nvidia"), engine.cri.run_pod("nvidia", ("/bin/true",))
    engine.cri.stop_pod(dead)
    program = InAPod(engine)
    pod = program.start()
    with told(engine, pod):
        program.wait_ready()
        stop(program, engine, pod)
        said = engine.cri.output(pod)
        assert "the host is as it was before" not in said
        assert "the toolkit's files stay" in said
        assert theirs.sandbox_id[:12] in said
        for each in (dead, pod):
            assert each.sandbox_id[:12] not in said.partition("used by")[2]
    assert (program.installer.install_dir / "toolkit/nvidia-ctk").exists()
    engine.cri.remove_pod(theirs)
    done = program.installer.run("revert", *own_paths(engine))
    assert done.returncode == 0, done.stderr
    assert not program.installer.install_dir.exists(), done.stderr
    engine.cri.remove_pod(dead)


def own_paths(engine: RealContainerd) -> tuple[str, ...]:
    """The host's own names, outside of the pod."""
    drop_in = Path(engine.config.parent) / "conf.d/99-nvidia.toml"
    return (f"--config={engine.config}", f"--drop-in-config={drop_in}")
