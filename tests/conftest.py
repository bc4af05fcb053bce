"""Options of the whole test run; HYPOTHESIS_PROFILE=long tries many examples of each property."""

from __future__ import annotations

import importlib
import os
import signal
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import own_namespaces
from toolkit import logs

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "short",
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=_SLOW,
)
settings.register_profile("long", max_examples=10_000, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

REAL = ("engine", "node", "image")
"""Markers of tests that continuous integration has to run: there a skip would hide a failure."""

TOGETHER = {
    "tests/image/": "the node with Docker",
    "tests/node/test_k3s.py": "the node with k3s",
    "tests/node/": "the node",
    # A kubelet of one would be taken for the node's by the others.
    "tests/engine/test_auto_choice.py": "kubelets",
    "tests/engine/test_auto_two_engines.py": "kubelets",
    "tests/engine/test_doctor.py": "kubelets",
}
"""Tests that one worker runs one after the other: they share a machine, booted once, or see each
other's processes. The first that a test's id begins with counts; every other test goes anywhere."""

INJECTED = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Take signals as any program does: children inherit what `nohup` or a `&` made ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[INJECTED] = Counter()


@pytest.fixture(autouse=True)
def _plain_log() -> None:
    """Undo what a command that an earlier test called here chose for the log."""
    logs.configure("text", debug=False)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let the run go on where it sees nothing else of the machine; its workers are its children."""
    if os.geteuid() == 0 and not hasattr(config, "workerinput"):
        own_namespaces.enter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the adapters give now into tests/golden, to be read in the diff",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    real = any(item.get_closest_marker(name) for name in REAL)
    if real and report.skipped and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"not skipped under CI=true: {reason}"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked ``long`` out unless ``-m`` asks for them."""
    if "long" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - the same
    """Spread the tests over the workers of ``-n``."""
    scheduling = importlib.import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduling._split_scope = lambda test: next(
        (TOGETHER[each] for each in TOGETHER if test.startswith(each)), test
    )
    return scheduling


@pytest.fixture
def counts(pytestconfig: pytest.Config) -> Counter[str]:
    """How often a fault was injected, by its name."""
    return pytestconfig.stash[INJECTED]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's figures over."""
    found = session.config.stash[INJECTED]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["injected"] = dict(found)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - of pytest-xdist, which may be missing
    """Add the figures of a worker that has ended."""
    config: pytest.Config = node.config
    found = config.stash[INJECTED]
    found.update(getattr(node, "workeroutput", {}).get("injected", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show how often each fault was injected."""
    found = config.stash[INJECTED]
    if found:
        terminalreporter.section("injected")
    for name, number in sorted(found.items()):
        terminalreporter.write_line(f"{number:7} {name}")
