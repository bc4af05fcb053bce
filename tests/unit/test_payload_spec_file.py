"""The CDI spec's file: written, undone, made final and removed, whatever stops in between."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from testbed.payload_host import SECOND, PayloadHost, snapshot
from tests.cdi_host import (
    ON,
    SPEC,
    WaitingClock,
    begun,
    host_without_driver,
    install,
    load_driver,
    spec_of,
)
from tests.fakes.faulty_syscalls import CrashPoint
from tests.fakes.faulty_writer import FaultyWriter
from toolkit.errors import InterruptedBySignalError
from toolkit.payload.manifest import stamp

OTHER = (ON, "--cdi-kind=example.com/x")
OTHER_SPEC = "example.com-x.yaml"


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    made = host_without_driver(tmp_path)
    load_driver(made)
    return made


def test_removal_takes_the_spec_and_the_directories_that_were_made(
    host: PayloadHost,
) -> None:
    record = install(host, ON)
    host.installer(ON).remove(record)
    assert not (host.tree / "var").exists()


def test_a_spec_that_was_there_before_comes_back(host: PayloadHost) -> None:
    spec = spec_of(host)
    spec.parent.mkdir(parents=True)
    spec.write_text("kind: of somebody else\n")
    record = install(host, ON)
    install(host, ON, "--driver-root=/other", release=SECOND)
    assert "of somebody else" not in spec.read_text()
    host.installer(ON).remove(record)
    assert spec.read_text() == "kind: of somebody else\n"


def test_a_spec_that_somebody_changed_stays(
    host: PayloadHost, capsys: pytest.CaptureFixture[str]
) -> None:
    record = install(host, ON)
    spec_of(host).write_text("kind: mine now\n")
    host.installer(ON).remove(record)
    assert spec_of(host).read_text() == "kind: mine now\n"
    assert "kept the CDI spec: another program changed it" in capsys.readouterr().err


def test_an_undone_set_up_leaves_the_spec_of_the_one_before(host: PayloadHost) -> None:
    install(host, ON)
    before = snapshot(host.tree)
    flags = (ON, "--driver-root=/other")
    record = begun(host, *flags, release=SECOND)
    assert "/other/" in spec_of(host).read_text()
    for _ in range(2):
        host.installer(*flags, release=SECOND).undo(record)
        state = "usr/local/nvidia/.toolkit-journal/cdi.json"
        assert before.keys() == snapshot(host.tree).keys()
        assert {**before, state: ()} == {**snapshot(host.tree), state: ()}


def test_an_undone_first_set_up_leaves_no_spec(host: PayloadHost) -> None:
    record = begun(host, ON)
    host.installer(ON).undo(record)
    assert not (host.tree / "var").exists()
    assert not host.toolkit.exists()


def test_a_spec_that_is_not_wanted_any_more_goes_at_the_commit(
    host: PayloadHost,
) -> None:
    install(host, ON)
    install(host)
    assert not spec_of(host).exists()


def test_a_spec_of_another_kind_takes_the_earlier_one_s_place_at_the_commit(
    host: PayloadHost,
) -> None:
    install(host, ON)
    record = begun(host, *OTHER)
    assert spec_of(host).exists()
    assert spec_of(host, name=OTHER_SPEC).exists()
    host.installer(*OTHER).commit(record)
    assert [spec_of(host, name=OTHER_SPEC)] == list((host.tree / "var/run/cdi").iterdir())
    host.installer(*OTHER).remove(record)
    assert not (host.tree / "var").exists()


@pytest.mark.parametrize(
    "flags",
    [OTHER, (ON, "--cdi-output-dir=/etc/cdi"), ()],
    ids=["another kind", "another directory", "none"],
)
def test_an_undone_set_up_without_the_earlier_spec_leaves_it_as_it_was(
    host: PayloadHost, flags: tuple[str, ...]
) -> None:
    install(host, ON)
    before = snapshot(host.tree)
    record = begun(host, *flags)
    for _ in range(2):
        host.installer(*flags).undo(record)
        assert before == snapshot(host.tree)
    host.installer(ON).remove(record)
    assert not (host.tree / "var").exists()


@pytest.mark.parametrize("flags", [(ON, "--driver-root=/other"), OTHER, ()])
def test_a_spec_that_a_kill_stops_anywhere_is_undone_to_the_earlier_one(
    host: PayloadHost, flags: tuple[str, ...]
) -> None:
    record = install(host, ON)
    spec = spec_of(host).read_bytes()
    for at in range(10):
        writer = FaultyWriter(real=host.writer(), at=at, fault=CrashPoint)
        done = False
        with contextlib.suppress(CrashPoint):
            host.installer(*flags, writer=writer).cdi.apply(WaitingClock())
            done = True
        host.installer(*flags).undo(record)
        assert {SPEC: spec} == {
            each.name: each.read_bytes() for each in (host.tree / "var/run/cdi").iterdir()
        }
        if done:
            host.installer(ON).remove(record)
            assert not (host.tree / "var").exists()
            return
    pytest.fail("the spec was never written")


def test_a_driver_that_never_comes_leaves_the_earlier_spec(host: PayloadHost) -> None:
    record = install(host, ON)
    before = snapshot(host.tree)
    Path(host.root.proc, "driver/nvidia").rmdir()
    (host.tree / "run/nvidia/driver/dev/nvidiactl").unlink()
    with pytest.raises(InterruptedBySignalError):
        begun(host, *OTHER)
    host.installer(*OTHER).undo(record)
    left = snapshot(host.tree)
    assert before.keys() - left.keys() == {"run/nvidia/driver/dev/nvidiactl"}


@pytest.mark.parametrize("flags", [OTHER, ()], ids=["another kind", "none"])
def test_a_start_with_other_options_leaves_the_spec_until_its_own_commit(
    host: PayloadHost, flags: tuple[str, ...]
) -> None:
    record = install(host, ON)
    host.installer(*flags).commit(record)  # first of all, a start settles what an earlier one left
    assert spec_of(host).exists()
    host.installer(ON).commit(record)
    assert spec_of(host).exists()


@pytest.mark.parametrize("flags", [OTHER, ()], ids=["another kind", "none"])
def test_a_commit_that_a_kill_stops_anywhere_is_finished_by_the_next_one(
    host: PayloadHost, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {OTHER_SPEC} if flags else set()
    for at in range(10):
        install(host, ON)
        record = begun(host, *flags)
        writer = FaultyWriter(real=host.writer(), at=at, fault=CrashPoint)
        done = False
        with contextlib.suppress(CrashPoint):
            host.installer(*flags, writer=writer).commit(record)
            done = True
        host.installer(*flags).commit(record)
        directory = host.tree / "var/run/cdi"
        assert wanted == ({each.name for each in directory.iterdir()} if wanted else set())
        host.installer(*flags).remove(record)
        assert not (host.tree / "var").exists()
        assert "kept the CDI spec" not in capsys.readouterr().err
        if done:
            return
    pytest.fail("the commit never ended")


def test_a_record_of_the_first_release_is_understood(host: PayloadHost) -> None:
    record = install(host, ON)
    path = host.install_dir / ".toolkit-journal/cdi.json"
    document = json.loads(path.read_text())
    path.write_text(
        json.dumps({key: document[key] for key in document.keys() - {"going", "earlier"}})
    )
    host.installer(ON).remove(record)
    assert not (host.tree / "var").exists()


def test_the_same_spec_is_not_written_twice(host: PayloadHost) -> None:
    install(host, ON)
    before = stamp(spec_of(host))
    install(host, ON)
    assert before == stamp(spec_of(host))
