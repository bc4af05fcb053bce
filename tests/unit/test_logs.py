from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_configs.formats.secrets import REDACTED
from toolkit import logs
from toolkit.logs import Level, json_line, one_line, text_line

ROOT = Path(__file__).parents[2]
METHODS = {"step", "warning", "error", "debug", "template"}
EVENT = r"[a-z_-]+\.[a-z_-]+"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("text", debug=False, stream=stream)
    yield stream
    logs.configure("text", debug=False)


def test_a_text_line_has_time_level_message_and_fields(stream: io.StringIO) -> None:
    logs.get("x").step("engine.reloaded", "containerd serves", seconds=0.0931, unit="a b", ok=True)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    containerd serves"
        r' seconds=0\.093 unit="a b" ok=true\n',
        stream.getvalue(),
    )


def test_a_json_line_has_the_event_and_the_time_in_utc(stream: io.StringIO) -> None:
    logs.configure("json", debug=False, stream=stream)
    logs.get("x").warning(
        "drift.found", "somebody\nedited", path="/etc/x", level="own", seconds=1 / 3
    )
    record = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {
        "level": "warning",
        "event": "drift.found",
        "message": "somebody\nedited",
        "path": "/etc/x",
        "level_": "own",
        "seconds": 0.333333,
    }


def test_debug_lines_are_shown_only_when_asked_for(stream: io.StringIO) -> None:
    logs.get("x").debug("a.b", "quiet")
    assert not logs.debugging()
    logs.configure("text", debug=True, stream=stream)
    logs.get("x").debug("a.b", "loud")
    assert logs.debugging()
    assert stream.getvalue().endswith("DEBUG   loud module=x\n")
    assert "quiet" not in stream.getvalue()


@pytest.mark.parametrize("form", [text_line, json_line])
def test_secrets_are_never_written(form: logs.Form) -> None:
    fields = {
        "Password": "hunter2",
        "registry": {"auth": {"x": "hunter2"}, "hosts": [{"identity_token": "hunter2"}]},
    }
    line = form(0.0, Level.INFO, "a.b", "message", fields)
    assert "hunter2" not in line
    assert line.count(REDACTED) == 3


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_every_line_is_one_line(message: str, fields: dict[str, str]) -> None:
    for form in (text_line, json_line):
        assert len(form(0.0, Level.ERROR, "a.b", message, fields).splitlines()) == 1


@given(st.text())
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert one_line(text).isprintable()
    if text.isprintable():
        assert one_line(text) == text


def test_a_reader_that_went_away_ends_nothing() -> None:
    closed = io.StringIO()
    closed.close()
    logs.configure("text", debug=False, stream=closed)
    logs.get("x").error("a.b", "nobody reads this")
    logs.configure("text", debug=False)


def events_in_code() -> set[str]:
    """Return every text that reads like an event and is handed to a log, entrypoint.sh's too."""
    found = set(re.findall(rf'"event": "({EVENT})"', (ROOT / "entrypoint.sh").read_text()))
    for path in (ROOT / "toolkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr not in METHODS or not node.args:
                    continue
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and re.fullmatch(EVENT, str(part.value)):
                        found.add(str(part.value))
    return found


def test_every_event_is_in_the_documentation_and_no_other() -> None:
    table = (ROOT / "docs" / "logs.md").read_text().partition("## Events")[2]
    documented = set(re.findall(rf"^\| `({EVENT})` \|", table, re.MULTILINE))
    assert documented == events_in_code()
    assert [each for each in documented if "-" in each] == []
