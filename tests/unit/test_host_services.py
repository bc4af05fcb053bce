from __future__ import annotations

import re

import pytest

from tests.fakes.node import FakeCommands
from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.commands import CommandResult
from toolkit.host.services import Systemctl

UNIT = "crio.service"


def said(output: bytes, status: int = 0, errors: str = "") -> CommandResult:
    return CommandResult(status=status, output=output, errors=errors)


@pytest.mark.parametrize(
    ("state", "verb"),
    [(b"auto-restart\n", "restart"), (b"dead\n", "start"), (b"failed\n", "start"), (b"", "start")],
)
def test_a_unit_that_waits_to_be_restarted_is_restarted_at_once(state: bytes, verb: str) -> None:
    # One fake answer serves both commands: they end with the unit's name.
    commands = FakeCommands(answers={UNIT: said(state)})
    Systemctl(commands).start(UNIT, 8.0)
    assert commands.ran[-1] == ("systemctl", "--no-block", verb, UNIT)


def test_a_refused_order_names_the_unit_and_systemds_reason() -> None:
    commands = FakeCommands(answers={UNIT: said(b"", 5, "Unit crio.service not found.")})
    with pytest.raises(EngineTimeoutError, match=r"restart crio\.service failed: .*not found"):
        Systemctl(commands).restart(UNIT, 8.0)


def test_systemctl_gets_what_is_left_and_a_moment_where_nothing_is() -> None:
    commands = FakeCommands(answers={UNIT: said(b"")})
    systemctl = Systemctl(commands)
    systemctl.prepare(UNIT, 8.0)
    systemctl.restart(UNIT, 5.0)
    systemctl.start(UNIT, 7.0)
    assert commands.limits == [8.0, 5.0, 3.5, 3.5]
    systemctl.restart(UNIT, -20.0)
    assert commands.limits[-1] == 2.0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said(b"LoadState=masked\nRefuseManualStart=no\n"), r"masked.*systemctl unmask crio"),
        (said(b"LoadState=not-found\nRefuseManualStart=no\n"), r"crio\.service is not-found: "),
        (said(b"LoadState=loaded\nRefuseManualStart=yes\n"), "may not be started by hand"),
        (
            said(b"", 1, "Failed to connect to bus: no such file"),
            "reached for crio.*connect to bus",
        ),
        # As systemctl does in a root that is not the first process's.
        (said(b"", 0, "Running in chroot, ignoring command 'show'"), "can't be reached.*chroot"),
    ],
)
def test_a_unit_that_systemd_would_not_start_is_refused_with_its_mend(
    answer: CommandResult, reason: str
) -> None:
    commands = FakeCommands(answers={UNIT: answer})
    with pytest.raises(EngineNotFoundError) as caught:
        Systemctl(commands).require(UNIT, 5.0)
    assert re.search(reason, str(caught.value))
    assert commands.ran[0][:2] == ("systemctl", "show")


def test_a_unit_that_is_loaded_will_do() -> None:
    answer = said(b"LoadState=loaded\nRefuseManualStart=no\n")
    Systemctl(FakeCommands(answers={UNIT: answer})).require(UNIT, 5.0)
