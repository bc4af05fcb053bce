"""The log of a whole life beside a real engine: events that docs/logs.md lists, each timed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.packages import REPOSITORY
from tests.engine.resident import installer_of, wait_idle

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize(
        "containerd_release",
        [each for each in RELEASES if each.series == "2.1"],
        ids=lambda each: f"containerd-{each.series}",
    ),
]
TIMED = {
    "config.checked": "by",
    "payload.installed": "path",
    "file.written": "path",
    "engine.reloaded": "how",
    "engine.verified": "socket",
    "file.restored": "path",
    "payload.removed": "path",
}
"""Event of a step to the field that says where, or how."""
LISTED = re.compile(r"^\| `([a-z_.-]+)` \| ((?:debug|info|warning|error|, )+) \|", re.MULTILINE)


def test_each_step_says_what_where_and_how_long(containerd: RealContainerd) -> None:
    containerd.start()
    program = installer_of(
        containerd, TOOLKIT_LOG_FORMAT="json", TOOLKIT_DEBUG="false", TOOLKIT_RECONCILE_INTERVAL="1"
    )
    program.start()
    try:
        wait_idle(program)
        assert program.stop() == 0
    finally:
        program.end()
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in program.log_file.read_text().splitlines()
    ]
    levels = dict(LISTED.findall((REPOSITORY / "docs/logs.md").read_text()))
    assert all(each["level"] in levels[each["event"]].split(", ") for each in lines)
    steps = [each for each in lines if each["event"] in TIMED]
    assert {each["event"] for each in steps} == set(TIMED)
    for each in steps:
        assert isinstance(each["seconds"], float), each
        assert each[TIMED[each["event"]]], each
    stopped = lines[-1]
    assert stopped["event"] == "daemon.stopped"
    assert stopped["seconds"] > 0.0
