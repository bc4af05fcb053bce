"""Who is behind an engine's socket, and what of it may be signalled."""

from __future__ import annotations

import pytest

from runtime_configs.model import EngineName
from tests.fakes.node import SYSTEMD, FakeTable, process
from toolkit.engine.locate import Locator
from toolkit.engine.peer import Peer
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts

SOCKET = "/var/run/docker.sock"
DOCKERD = process(42, "/usr/bin/dockerd", "dockerd", "-H", "fd://")
IN_A_CONTAINER = process(43, "/usr/local/bin/dockerd", "dockerd", on_host=False)
NOT_TO_BE_SEEN = process(44, "/usr/bin/dockerd", "dockerd", on_host=None)


def judged(pid: int, *processes: ProcessFacts) -> tuple[int | None, str]:
    """Return the process behind the socket, and why it is none."""
    table = FakeTable(SYSTEMD, *processes)
    locator = Locator(EngineName.DOCKER, HostRoot(root="/"), table)
    found, stranger = locator._judge(Peer(pid=pid, spoke=True), SOCKET)
    return None if found is None else found.pid, stranger or ""


@pytest.mark.parametrize("pid", [1, 42])
def test_the_hosts_engine_is_found_also_where_systemd_listens_for_it(pid: int) -> None:
    assert judged(pid, DOCKERD, IN_A_CONTAINER, NOT_TO_BE_SEEN) == (42, "")


@pytest.mark.parametrize(
    ("behind", "said"),
    [(IN_A_CONTAINER, "runs in a container"), (NOT_TO_BE_SEEN, "run the container privileged")],
)
def test_an_engine_that_is_not_known_to_be_the_hosts_is_not_touched(
    behind: ProcessFacts, said: str
) -> None:
    found, stranger = judged(behind.pid, DOCKERD, behind)
    assert found is None
    assert said in stranger
    assert f"(PID {behind.pid})" in stranger
    assert SOCKET in stranger
