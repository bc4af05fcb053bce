from __future__ import annotations

from dataclasses import dataclass

import pytest

from runtime_configs.model import EngineName
from tests.fakes.node import FakeTable, FakeView, process
from toolkit.engine.facts import EngineProcess, Supervisor
from toolkit.engine.process.discover import Surroundings, choose
from toolkit.engine.process.locate import Located
from toolkit.errors import EngineNotFoundError
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts

CONTAINERD, CRIO, DOCKER = EngineName.CONTAINERD, EngineName.CRIO, EngineName.DOCKER
SYSTEM = "/run/containerd/containerd.sock"
DOCKERS_OWN = "/var/run/docker/containerd/containerd.sock"


def behind(socket: str, pid: int, *arguments: str, parent: int = 1) -> Located:
    engine = EngineProcess(
        pid=pid,
        start_time=1,
        executable="/usr/bin/x",
        arguments=arguments,
        supervisor=Supervisor.NONE,
        unit=None,
        parent_pid=parent,
    )
    return Located(socket=socket, process=engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    answering: dict[EngineName, Located]
    processes: tuple[ProcessFacts, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()

    def choice(self) -> EngineName:
        node = Surroundings(
            root=HostRoot(root="/"),
            table=FakeTable(*self.processes),
            view=FakeView(dict(self.files)),
        )
        return choose(self.answering, node)


CHILD = process(30, "/usr/bin/containerd", "containerd", parent=20)
DOCKER_ALONE = behind("/var/run/docker.sock", 20)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Case(answering={CRIO: behind("/var/run/crio/crio.sock", 5)}), CRIO),
        (Case(answering={CONTAINERD: behind(SYSTEM, 10)}), CONTAINERD),
        (Case(answering={CONTAINERD: behind(SYSTEM, 10), DOCKER: DOCKER_ALONE}), DOCKER),
        (
            Case(
                answering={
                    CONTAINERD: behind("/run/c.sock", 10),
                    DOCKER: behind("/var/run/docker.sock", 20, "--containerd=/run/c.sock"),
                }
            ),
            DOCKER,
        ),
        (
            Case(
                answering={CONTAINERD: behind("/run/c.sock", 10), DOCKER: DOCKER_ALONE},
                files=(("/etc/docker/daemon.json", b'{"containerd": "/run/c.sock"}'),),
            ),
            DOCKER,
        ),
        (
            Case(
                answering={
                    CONTAINERD: behind(DOCKERS_OWN, 30, parent=20),
                    DOCKER: DOCKER_ALONE,
                },
                processes=(CHILD,),
            ),
            DOCKER,
        ),
    ],
)
def test_the_engine_that_uses_the_other_one_is_meant(case: Case, expected: EngineName) -> None:
    assert case.choice() is expected


@pytest.mark.parametrize(
    "case",
    [
        Case(answering={CONTAINERD: behind(SYSTEM, 10), DOCKER: DOCKER_ALONE}, processes=(CHILD,)),
        Case(
            answering={
                CONTAINERD: behind(SYSTEM, 10),
                DOCKER: behind("/var/run/docker.sock", 20, "--containerd", "/run/c.sock"),
            }
        ),
        Case(
            answering={
                CONTAINERD: behind(SYSTEM, 10),
                CRIO: behind("/var/run/crio/crio.sock", 5),
            }
        ),
    ],
)
def test_two_unrelated_engines_are_an_error_that_names_both(case: Case) -> None:
    with pytest.raises(EngineNotFoundError) as failure:
        case.choice()
    for name, located in case.answering.items():
        assert f"{name} on {located.socket}" in str(failure.value)
    assert "--runtime" in failure.value.hint
