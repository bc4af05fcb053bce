"""Who is behind an engine's socket, and what of it may be signalled."""

from __future__ import annotations

import pytest

from runtime_configs.model import EngineName
from tests.fakes.node import SYSTEMD, FakeTable, process
from toolkit.engine.process.locate import EngineSocket, Located, refuse_stranger
from toolkit.engine.process.peer import Peer
from toolkit.errors import EngineNotFoundError
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts

SOCKET = "/var/run/docker.sock"
DOCKERD = process(42, "/usr/bin/dockerd", "dockerd", "-H", "fd://")
IN_A_CONTAINER = process(43, "/usr/local/bin/dockerd", "dockerd", on_host=False)
NOT_TO_BE_SEEN = process(44, "/usr/bin/dockerd", "dockerd", on_host=None)


WITHOUT_PTRACE = process(48, None, "dockerd", name="dockerd", on_host=None)
ENDING = process(45, None, name="dockerd")
OTHER = process(46, "/usr/bin/dockerd-dev", "dockerd-dev")
PROXY = process(47, "/usr/bin/socat", "socat")


def judged(pid: int, *processes: ProcessFacts, spoke: bool = True) -> Located:
    table = FakeTable(SYSTEMD, *processes)
    behind = EngineSocket(EngineName.DOCKER, SOCKET, HostRoot(root="/"), table)
    return behind.classify(Peer(pid=pid, spoke=spoke))


@pytest.mark.parametrize(("pid", "spoke"), [(42, True), (42, False), (1, False)])
def test_the_hosts_engine_is_found_also_where_systemd_listens_for_it(
    pid: int, *, spoke: bool
) -> None:
    found = judged(pid, DOCKERD, IN_A_CONTAINER, NOT_TO_BE_SEEN, spoke=spoke)
    assert found.process is not None
    assert found.process.pid == 42
    assert (found.unreachable, found.stranger) == (None, None)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (judged(1, spoke=False), "systemd (PID 1) listens on"),
        (judged(1, IN_A_CONTAINER, spoke=False), "no docker runs behind it"),
        (judged(42), "(PID 42) exited while it was inspected"),
        (judged(45, ENDING), "(PID 45) exited while it was inspected"),
    ],
)
def test_an_engine_that_is_not_there_at_the_moment_may_come(found: Located, said: str) -> None:
    assert found.process is None
    assert found.stranger is None
    assert said in (found.unreachable or "")
    assert SOCKET in (found.unreachable or "")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (judged(43, DOCKERD, IN_A_CONTAINER), "dockerd (PID 43)"),
        (judged(43, DOCKERD, IN_A_CONTAINER), "runs inside a container"),
        (judged(44, NOT_TO_BE_SEEN), "run the container privileged"),
        (judged(48, WITHOUT_PTRACE), "(PID 48) behind /var/run/docker.sock can't be inspected"),
        (judged(47, DOCKERD, PROXY), "belongs to /usr/bin/socat (PID 47), not to docker"),
        (judged(47, PROXY, spoke=False), "belongs to /usr/bin/socat (PID 47), not to docker"),
        (judged(1, DOCKERD), "systemd (PID 1), not to docker"),
        (judged(1, DOCKERD, OTHER, spoke=False), "for one of 2 docker processes that run"),
        (judged(0, DOCKERD), "hostPID: true"),
    ],
)
def test_what_will_not_be_the_hosts_engine_by_waiting_is_refused(found: Located, said: str) -> None:
    assert found.process is None
    assert found.unreachable is None
    with pytest.raises(EngineNotFoundError) as failure:
        refuse_stranger(found)
    assert said in str(failure.value)
    assert SOCKET in failure.value.message
