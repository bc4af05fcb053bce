"""Generated documents through whole setups, upgrades, repairs and reverts on a host."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from runtime_configs.model import Version
from tests.fakes.engine import CannotLoadError
from tests.faults.node_host import CONFIG, FaultHost, journal_holds_ours
from tests.property.generated import Case, toml_cases
from toolkit.errors import EngineConfigError, EngineRejectedError, EngineTimeoutError

VERSIONS = st.sampled_from([Version(major=1, minor=7), Version(major=2, minor=1)])
STEPS = st.lists(st.sampled_from(["start", "repair", "upgrade", "rename"]), max_size=3)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def host_with(directory: Path, content: bytes, version: Version) -> FaultHost:
    shutil.rmtree(directory / "host", ignore_errors=True)
    try:
        host = FaultHost(
            directory, version=version, config=content, arguments=("--restart-mode=none",)
        )
    except CannotLoadError:
        assume(condition=False)
        raise
    return host


def parses(text: str) -> bool:
    try:
        tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        return False
    return True


@settings(suppress_health_check=[*HealthCheck])
@given(case=toml_cases(), version=VERSIONS, steps=STEPS, late=st.booleans())
def test_an_edit_of_others_comes_back_byte_for_byte_whatever_was_done_meanwhile(
    directory: Path, case: Case, version: Version, steps: list[str], *, late: bool
) -> None:
    """``revert(steps(edit(set_up(x)))) == edit(x)``, the edit before or after the steps."""
    assume(parses(case.text) and parses(case.edit(case.text)))
    host = host_with(directory, case.content, version)
    try:
        host.set_up()
    except (EngineConfigError, EngineRejectedError, EngineTimeoutError):
        assert host.read(CONFIG) == case.content
        assert not host.install_dir.exists()
        return
    note(f"{case.description}; {steps}; {version}\n{case.text}\n---\n{host.read(CONFIG)!r}")
    if not late:
        host.place(CONFIG, case.edited(host.read(CONFIG) or b""))
    for step in steps:
        host.release = "2.0.0" if step == "upgrade" else "1.0.0"
        name = "gpu" if step == "rename" else "nvidia"
        host.arguments = ("--restart-mode=none", f"--nvidia-runtime-name={name}")
        try:
            host.set_up(repair=step == "repair")
        except (EngineConfigError, EngineRejectedError):
            # The edit made it a file that can't be set up any more; the revert has to work.
            break
        assert not journal_holds_ours(host)
    if late:
        host.place(CONFIG, case.edited(host.read(CONFIG) or b""))
    host.revert(purge=True)
    assert host.read(CONFIG) == case.edited(case.content)
    assert not host.install_dir.exists()
