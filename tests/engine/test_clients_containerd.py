from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from testbed.containerd import RealContainerd
from testbed.supervised import wait_for
from tests.engine.controls import control, engine_settings
from tests.fakes.clock import TwoLooks
from toolkit.engine.base import BaseControl
from toolkit.engine.containerd.control import ContainerdControl
from toolkit.engine.facts import Expectation, Holding, Source, Supervisor
from toolkit.errors import EngineNotFoundError, EngineRejectedError, EngineTimeoutError
from toolkit.host.clock import UninterruptedClock
from toolkit.settings import RestartMode

pytestmark = pytest.mark.engine

CLOCK = UninterruptedClock()
TOOLKIT = "/usr/local/nvidia/toolkit"
BINARY = f"{TOOLKIT}/nvidia-container-runtime"


def with_handler(version: int, binary: str = BINARY, default: str = "nvidia") -> bytes:
    cri = "io.containerd.cri.v1.runtime" if version > 2 else "io.containerd.grpc.v1.cri"
    section = f'[plugins."{cri}".containerd'
    return f"""version = {version}
{section}]
default_runtime_name = "{default}"
{section}.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{section}.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
{section}.runtimes.nvidia.options]
BinaryName = "{binary}"
""".encode()


def of(engine: RealContainerd, mode: RestartMode = RestartMode.AUTO) -> BaseControl:
    return control(ContainerdControl, engine_settings(engine.config, engine.socket, mode=mode))


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def test_the_facts_name_the_process_its_version_and_its_files(containerd: RealContainerd) -> None:
    containerd.start()
    facts = of(containerd).facts(soon())
    assert facts.process is not None
    assert facts.process.pid == containerd.process.pid
    assert facts.process.executable == str(containerd.binary)
    assert facts.process.supervisor is Supervisor.PARENT
    assert facts.process.parent_pid == containerd.process.supervisor_pid
    assert facts.unreachable is None
    assert facts.version is not None
    shown = ".".join(str(number) for number in facts.version.numbers)
    assert shown == containerd.release.version
    assert facts.version_source is Source.LIVE
    assert facts.top_level == str(containerd.config)
    assert facts.executable == str(containerd.binary)
    assert facts.effective is not None
    assert facts.effective.default == "runc"
    assert facts.effective_source is Source.LIVE
    assert facts.warnings == ()


def test_a_declared_config_that_is_not_the_daemons_is_refused_with_both_names(
    containerd: RealContainerd, tmp_path: Path
) -> None:
    containerd.start()
    settings = engine_settings(tmp_path / "config.toml", containerd.socket)
    facts = control(ContainerdControl, settings).facts(soon())
    assert facts.top_level == str(tmp_path / "config.toml")
    assert str(containerd.config) in str(facts.refused)
    assert str(tmp_path / "config.toml") in str(facts.refused)


def test_a_config_that_is_not_declared_is_the_one_on_the_daemons_command_line(
    containerd: RealContainerd,
) -> None:
    containerd.start()
    settings = engine_settings("/etc/containerd/config.toml", containerd.socket, declared=False)
    facts = control(ContainerdControl, settings).facts(soon())
    assert facts.top_level == str(containerd.config)
    assert facts.warnings == ()


def test_a_restart_makes_the_new_handlers_served(containerd: RealContainerd) -> None:
    containerd.start()
    engine = of(containerd)
    process = engine.facts(soon()).process
    assert process is not None
    containerd.config.write_bytes(with_handler(2))
    report = engine.reload(process, RestartMode.AUTO, CLOCK, soon())
    assert report.process.pid == containerd.process.pid != process.pid
    assert 0.0 < report.refused < report.answering_after
    expected = Expectation(served=(("nvidia", BINARY),), default="nvidia")
    engine.verify(expected, CLOCK, soon())
    with pytest.raises(EngineTimeoutError, match="handler nvidia is still served"):
        engine.verify(Expectation(absent=(("nvidia", BINARY),)), TwoLooks(), soon(60.0))
    with pytest.raises(EngineTimeoutError, match="handler gpu is not served"):
        engine.verify(Expectation(served=(("gpu", BINARY),)), TwoLooks(), soon(60.0))


def test_an_unknown_default_handler_fails_at_once_with_containerds_own_reason(
    containerd: RealContainerd,
) -> None:
    containerd.start()
    engine = of(containerd)
    process = engine.facts(soon()).process
    assert process is not None
    containerd.config.write_bytes(with_handler(2, default="nowhere"))
    engine.reload(process, RestartMode.AUTO, CLOCK, soon())
    # Before a deadline that the test would not live to see.
    with pytest.raises(EngineRejectedError, match="CRI plugin"):
        engine.verify(Expectation(default="nvidia"), CLOCK, soon(3600.0))


def test_a_disabled_cri_plugin_is_named_with_its_fix(containerd: RealContainerd) -> None:
    containerd.config.write_bytes(
        b'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    )
    containerd.process.start()
    wait_for(containerd.socket.exists, "the socket")
    engine = of(containerd)
    wait_for(lambda: engine.facts(soon()).unreachable is None, "an answer")
    facts = engine.facts(soon())
    assert facts.version_source is Source.LIVE
    assert facts.effective is not None
    assert facts.effective_source is Source.COMMAND
    assert facts.effective.disabled
    with pytest.raises(EngineRejectedError, match="disabled_plugins"):
        engine.verify(Expectation(default="nvidia"), CLOCK, soon())


def test_an_engine_that_does_not_come_back_is_a_timeout(containerd: RealContainerd) -> None:
    containerd.start()
    engine = of(containerd)
    process = engine.facts(soon()).process
    assert process is not None
    containerd.process.hold()
    with pytest.raises(EngineTimeoutError, match="did not come back"):
        engine.reload(process, RestartMode.SIGNAL, CLOCK, soon(3.0))
    facts = engine.facts(soon())
    assert facts.process is None
    assert str(containerd.socket) in (facts.unreachable or "")
    with pytest.raises(EngineNotFoundError, match=r"gone|no longer"):
        engine.reload(process, RestartMode.SIGNAL, CLOCK, soon(3.0))
    containerd.process.release()
    report = engine.start(process, CLOCK, soon())
    assert report.process.pid != process.pid


def test_containers_of_our_binaries_hold_the_payload(containerd: RealContainerd) -> None:
    binary = containerd.directory / "toolkit/nvidia-container-runtime"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec {containerd.directory}/bin/runc "$@"\n')
    binary.chmod(0o755)
    containerd.config.write_bytes(with_handler(2, str(binary)))
    containerd.start()
    containerd.import_image()
    engine = of(containerd)
    assert engine.held(str(binary.parent)).holding is Holding.FREE
    containerd.cri.run_pod("runc")
    assert engine.held(str(binary.parent)).holding is Holding.FREE
    containerd.cri.run_pod("")
    report = engine.held(str(binary.parent))
    assert report.holding is Holding.HELD
    assert len(report.containers) == 2
    assert all(name.startswith("k8s.io/") for name in report.containers)
    containerd.stop()
    with pytest.raises(EngineNotFoundError, match="no containerd answers on"):
        engine.held(str(binary.parent))


def test_the_process_is_right_a_thousand_times(containerd: RealContainerd) -> None:
    containerd.start()
    engine = of(containerd)
    found = {engine._socket.locate(soon()).process for _ in range(1000)}
    assert [process.pid for process in found if process] == [containerd.process.pid]


def test_an_engine_that_dies_while_it_is_looked_at_is_no_stranger(
    containerd: RealContainerd,
) -> None:
    containerd.start()
    behind, end = of(containerd)._socket, time.monotonic() + 3.0

    def kill_again_and_again() -> None:
        while time.monotonic() < end:
            time.sleep(0.1)
            with suppress(ProcessLookupError):
                containerd.process.kill(signal.SIGKILL)

    killer = threading.Thread(target=kill_again_and_again)
    killer.start()
    strangers = set()
    while time.monotonic() < end:
        strangers.add(behind.locate(soon()).stranger)
    killer.join()
    assert strangers == {None}


@contextmanager
def listening(path: Path, answer: bytes | None) -> Iterator[None]:
    """A socket of this very process, which answers with a line or never."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        listener.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            kept = []
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                kept.append(connection)
                if answer is not None:
                    connection.sendall(answer)
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("answer", [None, b"hello\n"])
def test_a_socket_of_something_else_is_refused_and_never_signalled(
    tmp_path: Path, answer: bytes | None
) -> None:
    path = tmp_path / "containerd.sock"
    settings = engine_settings(tmp_path / "config.toml", path)
    with listening(path, answer), pytest.raises(EngineNotFoundError, match="not to containerd"):
        control(ContainerdControl, settings).facts(soon(3600.0))


IN_ANOTHER_ROOT = """
set -e
root=$1
shift
mount --no-mtab -t tmpfs tmpfs "$root"
for path in /*; do
    if [ -L "$path" ]; then
        cp -P "$path" "$root$path"
    elif [ -d "$path" ]; then
        mkdir "$root$path"
        mount --no-mtab --rbind "$path" "$root$path"
    fi
done
exec chroot "$root" "$@"
"""
"""What an engine in a container has: the same processes around it, and a root of its own."""


def test_an_engine_in_a_container_is_not_the_hosts(containerd: RealContainerd) -> None:
    root = containerd.directory / "container"
    root.mkdir()
    inside = ("/bin/sh", "-c", IN_ANOTHER_ROOT, "sh", str(root))
    containerd.process.command = (*inside, *containerd.process.command)
    containerd.start()
    with pytest.raises(
        EngineNotFoundError, match=r"runs inside a container, not on this host"
    ) as failure:
        of(containerd).facts(soon())
    assert f"(PID {containerd.process.pid})" in failure.value.message
    facts = of(containerd, RestartMode.NONE).facts(soon())
    assert facts.process is None
    assert facts.unreachable == failure.value.message


def test_a_mute_engine_does_not_hang(containerd: RealContainerd) -> None:
    containerd.start()
    engine = of(containerd)
    process = engine.facts(soon()).process
    assert process is not None
    containerd.process.kill(signal.SIGSTOP)
    try:
        facts = engine.facts(soon(1.0))
        assert facts.process == process
        assert facts.unreachable is not None
        with pytest.raises(EngineTimeoutError):
            engine.verify(Expectation(default="nvidia"), CLOCK, soon(1.0))
    finally:
        containerd.process.kill(signal.SIGCONT)


def test_restart_mode_none_takes_a_missing_socket_as_a_fact(tmp_path: Path) -> None:
    settings = engine_settings(
        tmp_path / "config.toml", tmp_path / "none.sock", mode=RestartMode.NONE, sources=("live",)
    )
    facts = control(ContainerdControl, settings).facts(soon())
    assert facts.process is None
    assert facts.effective is None
    assert str(tmp_path / "none.sock") in (facts.unreachable or "")
