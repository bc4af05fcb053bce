"""What the documentation quotes is what the program prints."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from msgspec import convert

from tests.documented import shows
from toolkit.report.doctor.findings import Finding
from toolkit.report.doctor.layout import doctor_lines
from toolkit.report.layout import WIDTH, Line, handler_lines, status_lines

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
VALUE = "\0"
"""Stands for what a message has inserted."""


@cache
def texts() -> tuple[str, ...]:
    """Return every text of the program, with a mark where a value comes in."""
    return tuple(
        text
        for package in ("toolkit", "runtime_configs")
        for path in (ROOT / package).rglob("*.py")
        for text in texts_of(ast.parse(path.read_text()))
    )


def texts_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def quoted() -> list[str]:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    return [each for row in rows for each in re.findall("`([^`]+)`", row)]


@pytest.mark.parametrize("message", quoted())
def test_a_message_in_the_table_of_troubles_is_one_of_the_program(message: str) -> None:
    assert any(message in text for text in texts())


def test_the_sample_lines_of_the_log_are_lines_of_the_program() -> None:
    page = (DOCS / "logs.md").read_text()
    text_line, json_line = re.findall(r"```\n(.*?)\n```", page, re.DOTALL)
    record = json.loads(json_line)
    message = record["message"]
    assert message.replace("containerd", VALUE) in texts()
    assert record["event"] in texts()
    assert f" {record['level'].upper():<7} {message} " in text_line
    assert list(record)[4:] == re.findall(r"(\w+)=", text_line)


def test_every_variable_of_the_entry_point_is_documented() -> None:
    script = (ROOT / "entrypoint.sh").read_text()
    page = (DOCS / "configuration.md").read_text()
    for name in re.findall(r"\$\{?(TOOLKIT_\w+)", script):
        assert name in page


def test_the_grace_period_is_documented_as_the_chart_has_it() -> None:
    template = (ROOT / "deploy/helm/templates/daemonset.yaml").read_text()
    assert "{{ add .Values.stopTimeout .Values.verifyTimeout 30 }}" in template
    page = (DOCS / "install-helm.md").read_text()
    assert "is the sum of the first two and 30 (120)" in page


SAMPLES = ROOT / "tests/unit/samples"
"""Documents of runs beside a real containerd, with the usual paths."""


def blocks(command: str) -> list[str]:
    page = (DOCS / "commands.md").read_text()
    return re.findall(rf"```console\n\$ nvidia-toolkit {command}\n(.*?)```", page, re.DOTALL)


def rendered(lines: Iterable[Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def test_the_page_of_the_commands_shows_what_a_terminal_shows() -> None:
    documents = {path.stem: json.loads(path.read_text()) for path in SAMPLES.glob("*.json")}
    findings = convert(documents["doctor-problem"]["findings"], list[Finding])
    (doctor,), (status,), (verify,) = map(blocks, ("doctor", "status", "verify"))
    assert shows(doctor, rendered(doctor_lines(findings)))
    assert status == rendered(status_lines(documents["status"]))
    found = documents["verify-before"]
    missing = (Line(text=f"missing: {each}") for each in found["missing"])
    handlers = handler_lines(found["served"], found["default"])
    assert verify == rendered([*handlers, *missing])


def test_status_of_a_node_without_a_setup_is_four_lines() -> None:
    document = json.loads((SAMPLES / "status-before.json").read_text())
    assert [line.text for line in status_lines(document)] == [
        "state    not set up",
        "ready    no",
        "mode     engine config",
        "driver   not loaded: the wrappers run the low-level runtime alone",
    ]


def test_verify_shows_one_handler_a_line_and_marks_the_default() -> None:
    found = json.loads((SAMPLES / "verify.json").read_text())
    program = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
    assert [line.text for line in handler_lines(found["served"], found["default"])] == [
        f"nvidia         {program} (default)",
        f"nvidia-cdi     {program}.cdi",
        f"nvidia-legacy  {program}.legacy",
        "runc           -",
    ]


def test_no_line_of_a_console_block_is_wider_than_a_terminal() -> None:
    for command in ("doctor", "status"):
        for block in blocks(command):
            assert max(map(len, block.splitlines())) <= WIDTH
