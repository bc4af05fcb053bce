"""The keeper: what it notices and what it answers."""

from __future__ import annotations

import calendar
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.kept import Kept
from toolkit.daemon import keeper, observe
from toolkit.daemon.keeper_state import Watch
from toolkit.daemon.probes import ACCEPTED, CLIENTS, Probes

ANSWERS = ("alive\n", "ready\n", "not ready\n", "ready 1\n", "ready 0\n")


def test_a_file_that_is_written_replaced_or_removed_has_another_signature(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    seen = {observe.signature(str(path))}
    assert seen == {"-"}
    path.write_bytes(b"one")
    seen.add(observe.signature(str(path)))
    path.write_bytes(b"other")
    seen.add(observe.signature(str(path)))
    path.chmod(0o600)
    seen.add(observe.signature(str(path)))
    other = tmp_path / "new"
    other.write_bytes(b"other")
    other.replace(path)
    seen.add(observe.signature(str(path)))
    assert len(seen) == 5


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


def test_who_listens_is_told_by_pid(listener: socket.socket, tmp_path: Path) -> None:
    assert observe.peer_of(str(tmp_path / "s")) == str(os.getpid())
    listener.close()
    assert observe.peer_of(str(tmp_path / "s")) == "-"
    assert observe.peer_of(str(tmp_path / "absent")) == "-"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as made:
        yield made


@pytest.fixture
def probes(server: socket.socket) -> Iterator[Probes]:
    made = Probes(server.fileno(), list(ANSWERS))
    yield made
    made.close()


@pytest.fixture
def clients(server: socket.socket) -> Iterator[Callable[[], socket.socket]]:
    """Return what connects one more client."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(server.getsockname(), 60))


Connect = Callable[[], socket.socket]
READY = True
READY_ANSWER = b"\r\n\r\nready\n"


def whole_answer(client: socket.socket) -> bytes:
    with client.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize(
    ("path", "ready", "expected"),
    [
        ("/healthz", True, (200, "alive\n")),
        ("/readyz", True, (200, "ready\n")),
        ("/readyz", False, (503, "not ready\n")),
        ("/metrics", True, (200, "ready 1\n")),
        ("/metrics?x=1", False, (200, "ready 0\n")),
        ("/other", True, (404, "")),
    ],
)
def test_a_probe_is_answered(
    probes: Probes,
    clients: Connect,
    path: str,
    ready: bool,  # noqa: FBT001
    expected: tuple[int, str],
) -> None:
    client = clients()
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    probes.turn(ready)
    head, _, content = whole_answer(client).decode().partition("\r\n\r\n")
    assert (int(head.split(" ")[1]), content) == expected


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\r\n", b"GET", b"\xff\xfe\x00" * 100, b"HEAD /healthz"]
)
def test_a_broken_request_does_not_end_the_process(
    probes: Probes, clients: Connect, request_bytes: bytes
) -> None:
    client = clients()
    client.sendall(request_bytes)
    client.shutdown(socket.SHUT_WR)
    probes.turn(READY)
    assert b" 200 OK" in whole_answer(client) or b"HEAD" not in request_bytes


def test_an_engine_that_says_nothing_is_mute_and_probes_are_answered_meanwhile(
    listener: socket.socket, tmp_path: Path
) -> None:
    asked: list[None] = []

    def at_the_third_time() -> bool:
        asked.append(None)
        return len(asked) == 3

    assert listener.fileno() >= 0
    assert observe.peer_of(str(tmp_path / "s"), b"GET", at_the_third_time) == observe.MUTE
    assert len(asked) == 3


def test_a_request_that_comes_in_pieces_is_read_to_the_end_of_its_line(
    probes: Probes, clients: Connect
) -> None:
    client = clients()
    for piece in (b"G", b"ET /rea", b"dyz HTTP/1.1\r", b"\n\r\n"):
        probes.turn(READY)
        client.sendall(piece)
    probes.turn(READY)
    assert whole_answer(client).endswith(READY_ANSWER)


def test_a_request_with_much_behind_its_first_line_gets_its_answer_and_no_reset(
    probes: Probes, clients: Connect
) -> None:
    client = clients()
    client.sendall(b"GET /readyz HTTP/1.1\r\n" + b"X: y\r\n" * 4000)
    probes.turn(READY)
    client.sendall(b"X: y\r\n" * 4000 + b"\r\n")
    probes.turn(READY)
    assert whole_answer(client).endswith(READY_ANSWER)


def test_a_turn_does_not_wait_for_clients_and_ends_with_those_that_are_there(
    probes: Probes, clients: Connect
) -> None:
    idle = probes.turn(READY)
    silent = [clients() for _ in range(CLIENTS + 10)]
    asks = clients()
    asks.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
    began = time.monotonic()
    assert probes.turn(READY) < idle
    assert whole_answer(asks).endswith(READY_ANSWER)
    for _ in range(50):
        probes.turn(READY)
    spent = time.monotonic() - began
    # The newest stay, while their time lasts, which on a busy machine may be over.
    assert [is_open(each) for each in silent[:10]] == [False] * 10
    assert all(map(is_open, silent[20:])) or spent > 0.5


def is_open(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_behind_a_thousand_silent_connections_a_probe_is_answered_in_a_few_turns(
    probes: Probes, clients: Connect
) -> None:
    for _ in range(1000):
        clients()
    asks = clients()
    asks.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    for _ in range(-(-1001 // ACCEPTED)):
        probes.turn(READY)
    asks.settimeout(0)
    assert asks.recv(4096).endswith(b"\r\n\r\nalive\n")


def test_a_client_that_dribbles_is_closed_at_its_deadline_and_holds_up_no_signal(
    server: socket.socket, clients: Connect
) -> None:
    dribbles = clients()
    watch = Watch(listener_fd=server.fileno(), answers=ANSWERS)
    kept = Kept(watch, pass_fds=(server.fileno(),))
    with kept.process as process:
        closed = threading.Event()

        def dribble() -> None:
            try:
                while True:
                    dribbles.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                closed.set()

        thread = threading.Thread(target=dribble)
        thread.start()
        asks = clients()
        asks.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert whole_answer(asks).endswith(b"\r\n\r\nalive\n")
        assert closed.wait(60)
        thread.join()
        dribbles = clients()
        thread = threading.Thread(target=dribble)
        thread.start()
        process.send_signal(signal.SIGTERM)
        assert kept.woken() == ("signal", True)
        server.close()
        thread.join()


def test_without_a_descriptor_left_it_answers_nobody_and_vouches_for_nobody(
    listener: socket.socket, probes: Probes, tmp_path: Path
) -> None:
    assert listener.fileno() >= 0
    with ExitStack() as stack:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        probes.turn(READY)
        assert observe.peer_of(str(tmp_path / "s")) == observe.MUTE


def test_a_program_that_the_engine_sees_otherwise_is_told_after_the_engine_itself(
    tmp_path: Path, listener: socket.socket
) -> None:
    program = tmp_path / "program"
    assert observe.executable_signature(str(program)) == "-"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o755)
    seen = observe.executable_signature(str(program))
    assert listener.fileno() >= 0
    watch = Watch(programs=((str(program), seen),))
    with_engine = replace(watch, socket=str(tmp_path / "s"), peer=str(os.getpid()))
    assert difference(with_engine) == ""
    program.write_bytes(b"#!/bin/sh\nexit 0\n")
    assert difference(with_engine) == "", "its content is looked at elsewhere"
    program.chmod(0o644)
    assert difference(with_engine) == f"program {program}"
    assert difference(replace(with_engine, peer="1")) == "engine restarted"
    assert difference(watch) == f"program {program}"


def difference(watch: Watch) -> str:
    return keeper.difference(watch, lambda: False)


def labels(feature_file: Path, interval: float) -> Watch:
    return Watch(interval=interval, ready=True, feature_file=str(feature_file))


def test_a_ready_node_is_labelled_until_after_the_next_look(tmp_path: Path) -> None:
    feature = tmp_path / "nvidia-toolkit"
    before = time.time()
    keeper.label(labels(feature, 30.0), ready=True)
    directive, line, end = feature.read_text().split("\n")
    assert line == "feature.node.kubernetes.io/nvidia-toolkit.ready=true"
    assert not end
    stamp = directive.removeprefix("# +expiry-time=")
    until = calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))
    assert until > before + 30.0
    assert feature.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["nvidia-toolkit"]
    keeper.label(labels(feature, 30.0), ready=False)
    assert not feature.exists()


@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO"])
def test_what_is_in_the_place_of_the_label_that_is_written_is_left_alone(
    tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    beside, feature = tmp_path / ".label", tmp_path / "label"
    if kind == "link":
        beside.symlink_to(victim)
    elif kind == "hard link":
        beside.hardlink_to(victim)
    else:
        os.mkfifo(beside)
    keeper.label(labels(feature, 30.0), ready=True)
    assert "ready=true" in feature.read_text()
    assert victim.read_text() == "theirs"
    assert {each.name for each in tmp_path.iterdir()} == {"victim", "label"}


def test_a_node_that_nobody_looks_at_again_is_not_labelled(tmp_path: Path) -> None:
    keeper.label(labels(tmp_path / "nvidia-toolkit", 0.0), ready=True)
    keeper.label(labels(tmp_path / "absent/nvidia-toolkit", 1.0), ready=True)
    assert not list(tmp_path.iterdir())
