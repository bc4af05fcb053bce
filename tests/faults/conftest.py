"""What was injected is counted, and told at the end of the run."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTS = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = Counter()


@pytest.fixture
def counts(pytestconfig: pytest.Config) -> Counter[str]:
    """How often something was done, by its name."""
    return pytestconfig.stash[COUNTS]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash[COUNTS]
    if found:
        terminalreporter.section("injected")
    for name, number in sorted(found.items()):
        terminalreporter.write_line(f"{number:7} {name}")
