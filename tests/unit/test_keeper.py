"""The keeper: what it notices and what it answers."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from toolkit.daemon import keeper, probes

ANSWERS = ["alive\n", "ready\n", "not ready\n", "ready 1\n", "ready 0\n"]


def test_a_file_that_is_written_replaced_or_removed_has_another_signature(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    seen = {keeper.signature(str(path))}
    assert seen == {"-"}
    path.write_bytes(b"one")
    seen.add(keeper.signature(str(path)))
    path.write_bytes(b"other")
    seen.add(keeper.signature(str(path)))
    path.chmod(0o600)
    seen.add(keeper.signature(str(path)))
    other = tmp_path / "new"
    other.write_bytes(b"other")
    other.replace(path)
    seen.add(keeper.signature(str(path)))
    assert len(seen) == 5


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


def test_who_listens_is_told_by_pid(listener: socket.socket, tmp_path: Path) -> None:
    assert keeper.peer_of(str(tmp_path / "s")) == str(os.getpid())
    listener.close()
    assert keeper.peer_of(str(tmp_path / "s")) == "-"
    assert keeper.peer_of(str(tmp_path / "absent")) == "-"


@pytest.mark.parametrize(
    ("path", "ready", "status", "body"),
    [
        ("/healthz", True, 200, "alive\n"),
        ("/readyz", True, 200, "ready\n"),
        ("/readyz", False, 503, "not ready\n"),
        ("/metrics", True, 200, "ready 1\n"),
        ("/metrics?x=1", False, 200, "ready 0\n"),
        ("/other", True, 404, ""),
    ],
)
def test_a_probe_is_answered(path: str, ready: bool, status: int, body: str) -> None:  # noqa: FBT001
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        probes.answer(server.fileno(), ready, ANSWERS)
        said = client.makefile("rb").read().decode()
    head, _, content = said.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert content == body


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\r\n", b"GET", b"\xff\xfe\x00" * 100, b"HEAD /healthz"]
)
def test_a_broken_request_does_not_end_the_process(request_bytes: bytes) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        probes.answer(server.fileno(), True, ANSWERS)  # noqa: FBT003 - no keywords there


def test_clients_that_say_nothing_do_not_hold_up_what_else_there_is_to_do() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        for _ in range(32):
            stack.enter_context(socket.create_connection(server.getsockname()))
        began = time.monotonic()
        probes.answer(server.fileno(), True, ANSWERS)  # noqa: FBT003 - no keywords there
        assert time.monotonic() - began < probes.TURN_SECONDS + probes.CLIENT_SECONDS + 0.5


def test_an_engine_that_says_nothing_is_mute_and_probes_are_answered_meanwhile(
    listener: socket.socket, tmp_path: Path
) -> None:
    asked: list[float] = []

    def after_a_second() -> bool:
        asked.append(time.monotonic())
        return asked[-1] - asked[0] >= 1.0

    assert listener.fileno() >= 0
    assert keeper.peer_of(str(tmp_path / "s"), b"GET", after_a_second) == keeper.MUTE
    assert len(asked) >= 3
    assert all(later - one < 0.6 for one, later in pairwise(asked))


def test_a_request_that_comes_in_pieces_is_read_to_the_end_of_its_line() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"GET /rea")
        later = threading.Timer(0.05, lambda: client.sendall(b"dyz HTTP/1.1\r\n\r\n"))
        later.start()
        probes.answer(server.fileno(), True, ANSWERS)  # noqa: FBT003 - no keywords there
        later.join()
        assert client.makefile("rb").read().endswith(b"\r\n\r\nready\n")


def test_a_request_with_much_behind_its_first_line_gets_its_answer_and_no_reset() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"GET /readyz HTTP/1.1\r\n" + b"X: y\r\n" * 4000 + b"\r\n")
        probes.answer(server.fileno(), True, ANSWERS)  # noqa: FBT003 - no keywords there
        assert client.makefile("rb").read().endswith(b"\r\n\r\nready\n")


def test_without_a_descriptor_left_it_answers_nobody_and_vouches_for_nobody(
    listener: socket.socket, tmp_path: Path
) -> None:
    assert listener.fileno() >= 0
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        probes.answer(server.fileno(), True, ANSWERS)  # noqa: FBT003 - no keywords there
        assert keeper.peer_of(str(tmp_path / "s")) == keeper.MUTE
