"""Others at work at the same time: an editor, a remover, an engine that does not come back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from runtime_configs.model import Version
from tests.fakes.engine import FakeEngine
from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import CONFIG, DROP_IN, FaultHost, difference
from tests.faults.steps import Steps
from toolkit.engine.facts import EngineProcess, Holding, HoldReport, ReloadReport
from toolkit.errors import (
    EngineNotFoundError,
    EngineRejectedError,
    EngineTimeoutError,
    ExitCode,
    InterruptedBySignalError,
    JournalError,
    LockedError,
    NotRestoredError,
    ToolkitError,
)
from toolkit.host.clock import Clock
from toolkit.host.lock import Lock
from toolkit.settings import RestartMode

V2 = Version(major=2, minor=1)


@pytest.fixture
def host(tmp_path: Path) -> FaultHost:
    return FaultHost(tmp_path)


def steps_of(host: FaultHost) -> list[str]:
    """Return the names of a setup's steps; the host is as before afterwards."""
    steps = Steps()
    host.set_up(steps)
    host.revert()
    return steps.done


def test_an_edit_between_plan_and_write_is_kept_and_the_set_up_begins_anew(host: FaultHost) -> None:
    planned = steps_of(host).index("sync_tree")
    steps = Steps()

    def edit_once() -> None:
        if len(steps.done) == planned:
            host.place(CONFIG, b"# by an editor\nversion = 2\noom_score = 3\n")

    steps.watch = edit_once
    host.set_up(steps)
    assert host.engine.up_to_date()
    assert b"oom_score = 3" in (host.read(CONFIG) or b"")
    host.revert()
    assert host.read(CONFIG) == b"# by an editor\nversion = 2\noom_score = 3\n"


def test_an_editor_that_never_stops_makes_it_fail_with_the_last_edit_kept(host: FaultHost) -> None:
    steps = Steps()

    def edit_always() -> None:
        if steps.done and steps.done[-1] == "sync_tree":
            host.place(CONFIG, f"# {len(steps.done)}\nversion = 2\n".encode())

    steps.watch = edit_always
    with pytest.raises(ToolkitError, match="was modified by another process"):
        host.set_up(steps)
    assert (host.read(CONFIG) or b"").endswith(b"\nversion = 2\n")
    assert not host.install_dir.exists()


def test_a_file_that_somebody_deletes_under_us_stays_deleted(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V2)
    host.set_up()
    (host.root / DROP_IN[1:]).unlink()
    host.revert()
    assert host.read(DROP_IN) is None
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"


def test_a_handler_that_the_engine_refuses_is_rolled_back_with_its_reason(host: FaultHost) -> None:
    before = host.tree()

    def refuse(handlers: Mapping[str, object]) -> str | None:
        return "unknown option" if "nvidia" in handlers else None

    host.engine.refuses = refuse
    with pytest.raises(EngineRejectedError, match="unknown option"):
        host.set_up()
    assert difference(host.tree(), before) == []
    assert host.engine.up_to_date()


def test_an_engine_that_does_not_come_back_leaves_the_old_files_and_exit_code_3(
    host: FaultHost,
) -> None:
    host.engine.comes_back = False
    with pytest.raises(NotRestoredError, match="did not come back"):
        host.set_up()
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"
    host.engine.comes_back = True
    host.engine.boot()
    host.recover()
    assert not host.install_dir.exists()


def test_an_engine_that_comes_back_late_is_told_the_old_files_and_it_ends_with_exit_code_1(
    host: FaultHost,
) -> None:
    before = host.tree()
    steps = Steps()

    def hold() -> None:
        host.engine.comes_back = host.engine.restarts > 0

    steps.watch = hold
    with pytest.raises(EngineTimeoutError, match="did not come back"):
        host.set_up(steps)
    assert difference(host.tree(), before) == []
    assert host.engine.up_to_date()


class SignalAt:
    """A clock at whose N-th safe point a signal is pending."""

    def __init__(self, at: int) -> None:
        self.left = at

    def now(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        del seconds
        self.check()

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise InterruptedBySignalError("SIGTERM")


def test_a_signal_at_any_safe_point_undoes_the_set_up(host: FaultHost) -> None:
    before = host.tree()
    taken = 0
    while True:
        try:
            host.set_up(clock=SignalAt(taken))
        except InterruptedBySignalError:
            taken += 1
            assert difference(host.tree(), before) == []
            assert host.engine.up_to_date()
        else:
            break
    assert taken > 20


@pytest.mark.parametrize("version", [Version(major=1, minor=7), V2], ids=str)
def test_many_starts_upgrades_and_repairs_later_the_first_bytes_come_back(
    tmp_path: Path, version: Version
) -> None:
    host = FaultHost(tmp_path, version=version)
    before = host.tree()
    for release in ("1.0.0", "2.0.0", "1.0.0", "3.0.0"):
        host.release = release
        for name in ("nvidia", "gpu", "nvidia"):
            host.arguments = (f"--nvidia-runtime-name={name}",)
            host.set_up()
            host.set_up(repair=True)
            assert host.engine.up_to_date()
    host.revert()
    assert difference(host.tree(), before) == []


def test_the_journal_does_not_grow_with_the_number_of_starts(host: FaultHost) -> None:
    host.set_up()
    size = len(host.tree())
    for release in ("2.0.0", "1.0.0") * 3:
        host.release = release
        host.set_up()
    assert len(host.tree()) == size


def test_a_journal_of_a_newer_version_stops_every_command_with_nothing_touched(
    host: FaultHost,
) -> None:
    host.set_up()
    path = host.install_dir / ".toolkit-journal/journal.json"
    document = json.loads(path.read_bytes())
    document["schema"]["major"] = 99
    path.write_text(json.dumps(document))
    before = host.tree()
    for act in (host.set_up, host.revert, host.recover):
        with pytest.raises(JournalError, match="newer version"):
            act()
        assert difference(host.tree(), before) == []


def test_unknown_fields_of_the_journal_live_through_repairs_and_upgrades(host: FaultHost) -> None:
    host.set_up()
    path = host.install_dir / ".toolkit-journal/journal.json"
    document = json.loads(path.read_bytes())
    document["later"] = {"kept": True}
    document["files"][0]["later"] = 7
    document["payload"]["later"] = "kept"
    path.write_text(json.dumps(document))
    host.release = "2.0.0"
    host.set_up()
    found = json.loads(path.read_bytes())
    assert found["later"] == {"kept": True}
    assert found["files"][0]["later"] == 7


def test_a_damaged_copy_of_a_file_is_named_and_nothing_is_touched(host: FaultHost) -> None:
    host.set_up()
    document = json.loads((host.install_dir / ".toolkit-journal/journal.json").read_bytes())
    blob = host.install_dir / ".toolkit-journal/blobs" / document["files"][0]["before"]
    blob.write_bytes(b"something else")
    before = host.tree()
    with pytest.raises(JournalError, match="missing or damaged"):
        host.revert()
    assert difference(host.tree(), before) == []


def test_containers_that_use_the_files_keep_them_until_a_later_revert(host: FaultHost) -> None:
    before = host.tree()
    host.set_up()
    host.engine.holding = HoldReport(holding=Holding.HELD, containers=("web",))
    report = host.revert()
    assert report is not None
    assert (report.payload, report.kept_for) == ("kept", ("web",))
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"
    assert (host.install_dir / "toolkit/nvidia-container-runtime").exists()
    host.engine.holding = HoldReport(holding=Holding.FREE)
    report = host.revert()
    assert report is not None
    assert report.payload == "removed"
    assert difference(host.tree(), before) == []


def test_an_engine_that_does_not_say_who_uses_the_files_keeps_them(
    host: FaultHost, capfd: pytest.CaptureFixture[str]
) -> None:
    before = host.tree()
    host.set_up()
    host.engine.unasked = "the call timed out"
    report = host.revert()
    assert report is not None
    assert (report.payload, report.kept_for) == ("kept", ())
    assert "could not be asked who uses it (the call timed out)" in capfd.readouterr().err
    host.engine.unasked = ""
    host.revert()
    assert difference(host.tree(), before) == []


def test_a_payload_that_was_kept_is_taken_up_by_the_next_set_up(host: FaultHost) -> None:
    before = host.tree()
    host.set_up()
    host.engine.holding = HoldReport(holding=Holding.HELD, containers=("web",))
    host.revert()
    host.engine.holding = HoldReport(holding=Holding.FREE)
    host.set_up()
    assert host.engine.up_to_date()
    host.revert()
    assert difference(host.tree(), before) == []


def test_an_engine_that_is_dead_at_the_revert_gets_its_files_back_with_a_warning(
    host: FaultHost,
) -> None:
    host.set_up()
    host.engine.running, host.engine.effective = False, None
    report = host.revert()
    assert report is not None
    assert "does not run" in report.warnings[0]
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_kill_in_a_revert_and_then_a_start_sets_up_again(host: FaultHost, at: int) -> None:
    before = host.tree()
    host.set_up()
    after = host.tree()
    try:
        host.revert(Steps(at=at))
    except CrashPoint:
        host.set_up()
        assert host.engine.up_to_date()
        assert set(host.tree()) == set(after)
        host.revert()
    assert difference(host.tree(), before) == []


def test_a_config_that_is_a_link_stays_a_link(tmp_path: Path) -> None:
    host = FaultHost(tmp_path)
    real = host.root / "etc/managed/containerd.toml"
    real.parent.mkdir()
    (host.root / CONFIG[1:]).rename(real)
    (host.root / CONFIG[1:]).symlink_to("../managed/containerd.toml")
    before = host.tree()
    host.set_up()
    assert (host.root / CONFIG[1:]).is_symlink()
    assert b"nvidia" in real.read_bytes()
    host.revert()
    assert difference(host.tree(), before) == []


class Unasked(Steps):
    """From the reload on nobody can look at the engine."""

    def take(self, name: str, path: str = "") -> None:
        """Count one step."""
        if name == "facts" and "signalled" in self.done:
            raise EngineNotFoundError("something else listens on its socket")
        super().take(name, path)


@pytest.mark.parametrize("version", [Version(major=1, minor=7), V2], ids=["1.7", "2.1"])
def test_the_files_are_back_though_nobody_can_look_at_the_engine_any_more(
    tmp_path: Path, version: Version
) -> None:
    host = FaultHost(tmp_path, version=version)
    before = host.tree()
    host.engine.refuses = lambda handlers: "not this one" if "nvidia" in handlers else None
    with pytest.raises(NotRestoredError, match="something else listens"):
        host.set_up(Unasked())
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"
    assert host.read(DROP_IN) is None
    host.recover()
    assert difference(host.tree(), before) == []
    assert host.engine.up_to_date()


@pytest.mark.parametrize("until", ["signalled", "verify"])
def test_a_start_for_another_directory_settles_what_a_kill_left_in_the_first_one(
    host: FaultHost, until: str
) -> None:
    before = host.tree()
    counting = Steps()
    host.set_up(counting)
    host.revert()
    with pytest.raises(CrashPoint):
        host.set_up(Steps(at=counting.done.index(until)))
    host.engine.boot()
    host.arguments = ("--toolkit-install-dir=/opt/other",)
    host.set_up()
    assert host.engine.up_to_date()
    assert not host.install_dir.exists()
    assert b"/usr/local/nvidia" not in (host.read(CONFIG) or b"")
    host.revert()
    assert difference(host.tree(), before) == []


class Refusing(FakeEngine):
    """Keeps what it has loaded, as dockerd does with a file that it refuses."""

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        del process, mode, clock, deadline
        self.restarts += 1
        raise EngineRejectedError("it keeps its previous configuration")


def test_an_engine_that_takes_no_file_at_all_is_told_once_and_leaves_nothing_to_undo(
    host: FaultHost,
) -> None:
    """Not even its own from before us: it serves that all the same."""
    engine = host.engine
    host.engine = Refusing(view=engine.view, version=engine.version)
    host.engine.boot()
    before = host.tree()
    for _ in range(2):
        with pytest.raises(EngineRejectedError, match="previous configuration") as caught:
            host.set_up()
        assert caught.value.exit_code is ExitCode.FAILED
        assert caught.value.undone
        assert difference(host.tree(), before) == []
    assert host.engine.restarts == 2
    assert host.revert() is None


@pytest.mark.parametrize("restarted", [False, True])
def test_an_engine_that_somebody_restarted_onto_the_old_files_is_not_reloaded(
    host: FaultHost, *, restarted: bool
) -> None:
    host.set_up()
    saved, counting = host.save("set up"), Steps()
    host.revert(counting)
    saved.restore()
    reload = counting.done.index("signal")
    with pytest.raises(CrashPoint):
        host.revert(Steps(at=reload))
    if restarted:
        host.engine.boot()
    before = host.engine.restarts
    host.revert()
    assert host.engine.up_to_date()
    assert host.engine.restarts == before + (not restarted)


SECOND = ("--pid-file=/run/second/toolkit.pid", "--ready-file=/run/second/ready")


@pytest.mark.parametrize("until", ["signalled", None], ids=["in its setup", "idle"])
@pytest.mark.parametrize("elsewhere", [True, False], ids=["elsewhere", "the same directory"])
def test_the_setup_of_an_installer_that_lives_is_left_alone_and_reverted_once_it_is_dead(
    host: FaultHost, *, until: str | None, elsewhere: bool
) -> None:
    lock = Lock.acquire(str(host.root / "run/nvidia/toolkit/toolkit.pid"))
    if until is None:
        host.set_up()
    else:
        counting = Steps()
        host.set_up(counting)
        host.revert()
        with pytest.raises(CrashPoint):
            host.set_up(Steps(at=counting.done.index(until)))
    before, restarts = host.tree(), host.engine.restarts
    more = (*SECOND, "--toolkit-install-dir=/opt/other") if elsewhere else SECOND
    with pytest.raises(LockedError, match=f"/usr/local/nvidia belongs to.*PID {os.getpid()}") as at:
        host.set_up(None, *more)
    assert at.value.exit_code is ExitCode.LOCKED
    assert difference(host.tree(), before) == []
    assert host.engine.restarts == restarts
    lock.release()
    host.set_up(None, *more)
    assert host.engine.up_to_date()
    assert host.install_dir.exists() is not elsewhere


def test_another_restart_mode_is_noted_though_nothing_has_to_be_done(host: FaultHost) -> None:
    host.arguments = ("--restart-mode=none",)
    assert not host.set_up().record.reloads
    host.engine.boot()
    host.arguments = ()
    found = host.set_up()
    assert not found.changed
    assert found.record.reloads
    assert host.recover() == found.record


def test_a_node_that_served_no_pods_before_is_as_before_after_a_set_up_that_fails(
    host: FaultHost,
) -> None:
    host.engine.refuses = lambda _handlers: "its snapshotter is gone"
    host.engine.boot()
    before = host.tree()
    with pytest.raises(EngineRejectedError, match="snapshotter") as caught:
        host.set_up()
    assert caught.value.undone
    assert difference(host.tree(), before) == []


FILES_ALONE = ("--no-runtime-config",)
NRI = ("--enable-nri-plugin", "--nri-namespace=x", "--cdi-output-dir=")


@pytest.mark.parametrize("more", [FILES_ALONE, NRI], ids=["files alone", "NRI"])
def test_a_set_up_without_an_engine_takes_an_earlier_one_with_it_back(
    host: FaultHost, more: tuple[str, ...]
) -> None:
    before = host.read(CONFIG)
    host.set_up()
    host.arguments, host.release = more, "2.0.0"
    host.set_up()
    assert host.read(CONFIG) == before
    assert host.engine.up_to_date()
    assert (host.install_dir / "toolkit").exists()
    host.revert()
    assert not host.install_dir.exists()


def test_a_repair_that_fails_leaves_the_engine_with_the_config_that_somebody_deleted(
    host: FaultHost,
) -> None:
    host.set_up()
    (host.root / CONFIG[1:]).unlink()
    host.engine.refuses = lambda handlers: "not any more" if "nvidia" in handlers else None
    with pytest.raises(ToolkitError, match="not any more"):
        host.set_up(repair=True)
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"
    assert host.engine.up_to_date()
    host.revert()
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"


LINKED = {
    "to a directory": ("usr/local", "../var/usrlocal", "var/usrlocal"),
    "to one that is missing": ("usr/local", "../var/usrlocal", "var"),
    "to one far away": ("usr/local", "/mnt/x/usrlocal", None),
    "to the install directory": ("usr/local/nvidia", "/opt/nvidia", "opt/nvidia"),
    "to an install directory that is missing": ("usr/local/nvidia", "/opt/nvidia", None),
}


@pytest.mark.parametrize(("link", "target", "made"), LINKED.values(), ids=LINKED.keys())
@pytest.mark.parametrize("killed_at", [None, "mkdir", "rename", "exchange", "signalled"])
def test_an_install_directory_behind_a_link_is_used_and_nothing_of_it_stays(
    tmp_path: Path, link: str, target: str, made: str | None, killed_at: str | None
) -> None:
    host = FaultHost(tmp_path)
    if made is not None:
        (host.root / made).mkdir(parents=True)
    (host.root / link).parent.mkdir(parents=True, exist_ok=True)
    (host.root / link).symlink_to(target)
    before = host.tree()
    counting = Steps()
    host.set_up(counting)
    assert host.engine.up_to_date()
    assert host.engine.effective is not None
    assert host.engine.effective.default == "nvidia"
    host.revert()
    assert difference(host.tree(), before) == []
    if killed_at is None:
        return
    for at, name in enumerate(counting.done):
        if name == killed_at:
            with pytest.raises(CrashPoint):
                host.set_up(Steps(at=at))
            host.revert()
            assert difference(host.tree(), before) == [], f"killed before step {at}, {name}"


class Verifying(Steps):
    """Something happens in the first verification."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def take(self, name: str, path: str = "") -> None:
        """Count one step."""
        if name == "verify" and name not in self.done:
            self.done.append(name)
            self.dead = isinstance(self._error, CrashPoint)
            raise self._error
        super().take(name, path)


def test_a_repair_that_is_interrupted_in_the_reload_leaves_their_edit_and_can_be_reverted(
    host: FaultHost,
) -> None:
    host.set_up()
    theirs = b"# theirs\nversion = 2\noom_score = 1\n"
    host.place(CONFIG, theirs)

    with pytest.raises(InterruptedBySignalError):
        host.set_up(Verifying(InterruptedBySignalError("SIGTERM")), repair=True)
    assert host.read(CONFIG) == theirs
    host.revert()
    assert host.read(CONFIG) == theirs
    assert host.engine.up_to_date()
    assert not host.install_dir.exists()


def test_a_revert_goes_on_where_an_interrupted_change_can_not_be_settled(host: FaultHost) -> None:
    host.set_up()
    host.release = "2.0.0"
    host.arguments = ("--nvidia-runtime-name=gpu",)
    with pytest.raises(CrashPoint):
        host.set_up(Verifying(CrashPoint()))
    host.engine.refuses = lambda handlers: "ours are broken" if "nvidia-cdi" in handlers else None
    host.engine.boot()
    with pytest.raises(NotRestoredError):
        host.recover()
    host.revert()
    assert host.read(CONFIG) == b"# by hand\nversion = 2\n"
    assert host.engine.up_to_date()
    assert not host.install_dir.exists()
