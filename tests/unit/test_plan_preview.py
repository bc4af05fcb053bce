"""`plan` tells all that a start would do: CDI specs, other installs, and what a crash left."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime_configs.model import Version
from tests.cdi_host import ON, SPEC
from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import CONFIG, DROP_IN, FaultHost, tree_of
from tests.faults.steps import Steps
from toolkit.engine.facts import Holding, HoldReport
from toolkit.errors import ExitCode, PayloadError
from toolkit.report.output import plan
from toolkit.settings import Output

V2 = Version(major=2, minor=1)
INTENT = "/usr/local/nvidia/.toolkit-journal/intent.json"


@pytest.fixture
def host(tmp_path: Path) -> FaultHost:
    return FaultHost(tmp_path, version=V2)


class Shown:
    """What `plan` said in both forms, and that it changed nothing."""

    def __init__(
        self, host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes], *flags: str
    ) -> None:
        before = tree_of(host.root)
        capfdbinary.readouterr()
        self.code = plan(host.node(None, *flags), Output.TEXT, detailed_exitcode=True)
        self.text = capfdbinary.readouterr().out.decode()
        code = plan(host.node(None, *flags), Output.JSON, detailed_exitcode=True)
        self.document = json.loads(capfdbinary.readouterr().out)
        assert code == self.code
        assert tree_of(host.root) == before

    @property
    def actions(self) -> dict[str, str]:
        """What is done to each path."""
        for each in self.document["changes"]:
            assert each.keys() == {"path", "action", "diff"}
        return {each["path"]: each["action"] for each in self.document["changes"]}


def test_after_a_set_up_there_is_nothing_to_do(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    host.set_up()
    shown = Shown(host, capfdbinary)
    assert shown.code is ExitCode.DONE
    assert shown.document["changes"] == []


def test_a_cdi_spec_that_would_be_written_is_a_change(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    host.set_up()
    flags = (ON, "--enable-cdi-in-runtime=false", "--driver-root-ctr-path=/none")
    shown = Shown(host, capfdbinary, *flags)
    assert shown.code is ExitCode.CHANGES
    assert shown.actions == {f"/var/run/cdi/{SPEC}": "create"}
    assert f"# CDI spec: create /var/run/cdi/{SPEC}\n" in shown.text
    assert "# CDI spec: a setup would wait for the driver: there is nothing at" in shown.text
    with pytest.raises(PayloadError, match="CDI spec needs the NVIDIA driver"):
        plan(host.node(None, *flags, "--no-daemon"), Output.TEXT, detailed_exitcode=True)
    text = capfdbinary.readouterr().out.decode()
    assert "# CDI spec: a setup would fail without the driver: there is nothing" in text


@pytest.mark.parametrize(("version", "path"), [(V2, DROP_IN), (Version(major=1, minor=7), CONFIG)])
def test_a_set_up_in_another_directory_is_reverted_first(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], version: Version, path: str
) -> None:
    host = FaultHost(tmp_path, version=version)
    host.set_up(None, "--toolkit-install-dir=/opt/nvidia")
    shown = Shown(host, capfdbinary)
    assert shown.code is ExitCode.CHANGES
    assert shown.actions == {path: "edit", "/opt/nvidia/toolkit": "remove"}
    assert "# first: /opt/nvidia/toolkit: the engine's config points there" in shown.text
    host.set_up()
    wanted = [f"+{line}" for line in (host.read(path) or b"").decode().splitlines()]
    added = [line for line in shown.text.splitlines() if line.startswith("+")]
    assert set(added[1:]) <= set(wanted)
    assert "/opt/nvidia/toolkit" not in "".join(added)


def test_the_set_up_that_another_mode_reverts_is_shown(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    host.set_up()
    shown = Shown(host, capfdbinary, "--no-runtime-config")
    assert shown.code is ExitCode.CHANGES
    assert shown.actions[DROP_IN] == "remove"
    assert shown.document["reload"]["needed"] is True
    assert "the setup on containerd is reverted first" in shown.text


@pytest.mark.parametrize(("earlier", "now"), [("auto", "none"), ("none", "auto")])
def test_a_revert_reloads_by_the_restart_mode_of_now(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes], earlier: str, now: str
) -> None:
    host.set_up(None, f"--restart-mode={earlier}")
    flags = ("--no-runtime-config", f"--restart-mode={now}")
    shown = Shown(host, capfdbinary, *flags)
    restarts = host.engine.restarts
    host.set_up(None, *flags)
    assert shown.document["reload"]["needed"] is (host.engine.restarts > restarts)


@pytest.mark.parametrize("reverted", [False, True])
def test_a_payload_that_is_kept_for_containers_is_no_set_up_to_be_reverted_again(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes], *, reverted: bool
) -> None:
    host.set_up()
    host.engine.holding = HoldReport(holding=Holding.HELD, containers=("a",))
    if reverted:
        host.revert()
    assert Shown(host, capfdbinary, "--no-runtime-config").code is ExitCode.CHANGES
    host.set_up(None, "--no-runtime-config")
    assert Shown(host, capfdbinary, "--no-runtime-config").code is ExitCode.DONE
    # Its containers are still asked about, and the next setup of the engine goes through.
    report = host.revert()
    assert report is not None
    assert report.payload == "kept"
    host.set_up()
    assert Shown(host, capfdbinary).code is ExitCode.DONE


def test_a_config_that_somebody_deleted_comes_back_in_the_plan_only_if_it_does_in_the_revert(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    host = FaultHost(tmp_path, version=Version(major=1, minor=7))
    host.set_up()
    (host.root / CONFIG[1:]).unlink()
    shown = Shown(host, capfdbinary, "--no-runtime-config")
    host.set_up(None, "--no-runtime-config")
    assert (CONFIG in shown.actions) is (host.read(CONFIG) is not None)


def test_an_interrupted_set_up_is_told_and_its_undoing_is_part_of_the_diff(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    whole = Steps()
    host.set_up(whole)
    host.revert()
    steps = Steps(at=whole.done.index("signal"))
    with pytest.raises(CrashPoint):
        host.set_up(steps)
    shown = Shown(host, capfdbinary)
    assert shown.code is ExitCode.CHANGES
    assert shown.actions[INTENT] == "remove"
    assert (
        f"# first: {INTENT}: a setup is under way or was interrupted; it is undone first\n"
        in shown.text
    )
    host.set_up()
    assert Shown(host, capfdbinary).code is ExitCode.DONE


def test_an_interrupted_set_up_that_had_come_to_its_end_is_told_too(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    whole = Steps()
    host.set_up(whole)
    host.revert()
    with pytest.raises(CrashPoint):
        host.set_up(Steps(at=len(whole.done) - 1 - whole.done[::-1].index("verify")))
    shown = Shown(host, capfdbinary)
    assert shown.code is ExitCode.CHANGES
    assert shown.actions == {INTENT: "remove"}
    assert "it was complete; the journal is updated first" in shown.text


def test_an_interrupted_revert_is_told(
    host: FaultHost, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    host.set_up()
    with pytest.raises(CrashPoint):
        host.revert(Steps(at=12))
    shown = Shown(host, capfdbinary)
    assert shown.code is ExitCode.CHANGES
    assert "an interrupted revert is finished" in shown.text


@pytest.mark.parametrize("config", [b"# by hand\nversion = 2", b"# by hand\nversion = 2\n"])
def test_patch_takes_the_diff_of_a_config_behind_links_and_of_one_with_a_space(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], config: bytes
) -> None:
    drop_in = "/etc/containerd/our files/99 nvidia.toml"
    host = FaultHost(tmp_path, version=V2, config=None, drop_in=drop_in)
    host.place("/srv/node config/containerd.toml", config)
    (host.root / CONFIG[1:]).symlink_to("/srv/current/containerd.toml")
    (host.root / "srv/current").symlink_to("node config")
    host.engine.boot()
    shown = Shown(host, capfdbinary)
    assert "+++ /srv/node config/containerd.toml\t\n" in shown.text
    assert set(shown.actions) == {CONFIG, drop_in}
    copy = tmp_path / "copy"
    shutil.copytree(host.root, copy, symlinks=True)
    subprocess.run(
        ("/usr/bin/patch", "-p1", "--fuzz=0", "--directory", str(copy)),
        input=shown.text.encode(),
        check=True,
        capture_output=True,
    )
    host.set_up()
    for path in ("srv/node config/containerd.toml", drop_in[1:]):
        assert (copy / path).read_bytes() == (host.root / path).read_bytes()
