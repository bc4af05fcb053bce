from __future__ import annotations

import os

from tests.fakes.node import FakeTable, process
from toolkit.engine.cri.client import CriContainer
from toolkit.engine.process.own_container import Traces, running, traces

OURS, THEIRS = "a" * 64, "b" * 64
POD, OTHER_POD = "c" * 64, "d" * 64


def container(
    identifier: str = OURS, sandbox: str = POD, *, started: bool = True, ended: bool = False
) -> CriContainer:
    return CriContainer(
        identifier=identifier, sandbox=sandbox, started=started, running=started and not ended
    )


def own(*identifiers: str, pids: tuple[int, ...] = (50, 40)) -> Traces:
    return Traces(identifiers=frozenset(identifiers), pids=frozenset(pids))


def nobody(_identifier: str) -> int | None:
    return None


def test_our_container_is_known_by_its_id() -> None:
    assert running((container(THEIRS), container()), own(OURS), nobody) is True
    assert running((container(THEIRS), container(started=False)), own(OURS), nobody) is False


def test_our_container_is_known_by_the_pid_of_an_ancestor_of_ours() -> None:
    pids = {OURS: 40, THEIRS: 30}
    assert running((container(THEIRS), container()), own(), pids.get) is True
    assert running((container(THEIRS),), own(), pids.get) is None


def test_a_container_of_our_pod_that_was_not_started_may_be_ours() -> None:
    ended = container(THEIRS, ended=True)
    assert running((ended, container(started=False)), own(POD), nobody) is False
    assert running((ended, container()), own(POD), nobody) is True


def test_containers_of_others_say_nothing_of_us() -> None:
    others = (container(THEIRS, OTHER_POD, started=False),)
    assert running(others, own(OURS, POD), nobody) is None
    assert running((), own(OURS), nobody) is None


def test_the_traces_are_this_process_and_its_ancestors_but_for_the_first() -> None:
    table = FakeTable(
        process(os.getpid(), "/usr/bin/python3", parent=7), process(7, "/bin/sh", parent=1)
    )
    assert traces(table).pids == {os.getpid(), 7}
