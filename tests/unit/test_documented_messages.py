"""What the documentation quotes is what the program prints."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

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
