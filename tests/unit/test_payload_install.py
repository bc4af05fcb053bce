"""What an installation leaves on the host, and what it takes away again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.payload_host import (
    FIRST,
    RUNC,
    SECOND,
    PayloadHost,
    leave_foreign_tree,
    settings_of,
    snapshot,
)
from testbed.sample_payload import make_sample_payload
from tests.fakes.faulty_writer import FaultyWriter
from toolkit.errors import ExchangeUnsupportedError, PayloadError
from toolkit.host.clock import UninterruptedClock
from toolkit.payload.installer import PayloadAction
from toolkit.payload.manifest import stamp
from toolkit.payload.records import PayloadRecord
from toolkit.payload.source import find_payload
from toolkit.payload.wrappers import CONFIG_PATH

GOLDEN = Path(__file__).parent.parent / "golden/payload/manifest.txt"


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    return PayloadHost(tmp_path)


def listed(directory: Path) -> list[str]:
    lines = []
    for name, (kind, mode, content) in snapshot(directory).items():
        target = f" -> {content!s}" if kind == "link" else ""
        lines.append(f"{kind} {mode:04o} {name}{target}")
    return lines


@pytest.mark.parametrize("package_type", ["deb", "rpm"])
def test_files_modes_and_links_are_those_of_the_list(host: PayloadHost, package_type: str) -> None:
    source = host.payload(FIRST, "rpm" if package_type == "rpm" else "deb")
    host.install("--toolkit-source-root", str(source), "--toolkit-package-type", package_type)
    if "UPDATE_GOLDEN" in os.environ:
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text("".join(f"{line}\n" for line in listed(host.toolkit)))
    assert GOLDEN.read_text().splitlines() == listed(host.toolkit)


def test_nothing_but_the_toolkit_and_the_journal_is_left_in_the_install_directory(
    host: PayloadHost,
) -> None:
    host.install()
    host.install(release=SECOND)
    assert {"toolkit", ".toolkit-journal"} == {path.name for path in host.install_dir.iterdir()}


def test_an_unchanged_payload_writes_nothing_at_all(host: PayloadHost) -> None:
    host.install()
    before = {path: stamp(path) for path in host.tree.rglob("*")}
    writer = FaultyWriter(real=host.writer())
    record = host.install(writer=writer)
    assert not record.changes
    assert writer.done == []
    assert before == {path: stamp(path) for path in host.tree.rglob("*")}


def test_a_new_release_replaces_the_old_one(host: PayloadHost) -> None:
    host.install()
    plan = host.plan(release=SECOND)
    assert plan.action is PayloadAction.REPLACE
    record = host.install(release=SECOND)
    assert record.digest == plan.digest == host.installer().installed()
    assert SECOND.encode() in (host.toolkit / "nvidia-ctk.real").read_bytes()
    assert not (host.toolkit / f"libnvidia-container.so.{FIRST}").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda toolkit: (toolkit / "nvidia-ctk.real").unlink(),
        lambda toolkit: (toolkit / "nvidia-ctk.real").write_bytes(b"x" * 100),
        lambda toolkit: (toolkit / "nvidia-ctk").chmod(0o644),
        lambda toolkit: (toolkit / "libnvidia-container.so.1").unlink(),
        lambda toolkit: (
            (toolkit / "nvidia-container-toolkit").unlink()
            or (toolkit / "nvidia-container-toolkit").symlink_to("nvidia-ctk")
        ),
        lambda toolkit: (toolkit / "stray").write_bytes(b""),
        lambda toolkit: (toolkit / CONFIG_PATH).unlink(),
    ],
    ids=["missing", "content", "mode", "link", "target", "stray", "config"],
)
def test_a_damaged_generation_is_seen_and_replaced(host: PayloadHost, damage) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    host.install()
    whole = snapshot(host.toolkit)
    damage(host.toolkit)
    assert host.installer().installed() is None
    assert host.plan().action is PayloadAction.REPLACE
    host.install()
    assert whole == snapshot(host.toolkit)


def test_times_alone_are_no_damage(host: PayloadHost) -> None:
    record = host.install()
    os.utime(host.toolkit / "nvidia-ctk.real")
    assert record.digest == host.installer().installed()
    assert host.plan().action is PayloadAction.UNCHANGED


def test_a_payload_with_the_same_sizes_and_times_is_not_taken_for_the_same(
    host: PayloadHost,
) -> None:
    host.install()
    file = host.payload() / "usr/bin/nvidia-ctk"
    status = file.stat()
    content = file.read_bytes()
    file.write_bytes(content.replace(b"cdi", b"CDI"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert host.plan().action is PayloadAction.REPLACE


def test_settings_added_by_hand_survive_an_upgrade(host: PayloadHost) -> None:
    host.install()
    config = host.toolkit / CONFIG_PATH
    text = config.read_text().replace('mode = "auto"', 'mode = "legacy" # for now')
    config.write_text(text + "\n[features]\nallow-ldconfig-from-container = true\n# mine\n")
    assert host.plan().action is PayloadAction.UNCHANGED
    host.install("--nvidia-driver-root=/opt/driver", release=SECOND)
    now = config.read_text()
    assert 'mode = "legacy" # for now' in now
    assert "allow-ldconfig-from-container = true\n# mine\n" in now
    assert 'root = "/opt/driver"' in now
    host.install(release=FIRST)
    assert "allow-ldconfig-from-container = true\n# mine\n" in config.read_text()


def test_an_edited_config_that_does_not_parse_is_named_and_kept(host: PayloadHost) -> None:
    host.install()
    config = host.toolkit / CONFIG_PATH
    config.write_text("[broken\n")
    before = snapshot(host.tree)
    with pytest.raises(PayloadError, match=r"config\.toml was edited and does not parse"):
        host.install("--nvidia-driver-root=/opt/driver")
    assert before == snapshot(host.tree)


def test_a_tree_of_another_installer_is_taken_over_and_comes_back(host: PayloadHost) -> None:
    foreign = leave_foreign_tree(host)
    record = host.install()
    assert record.previous == "foreign"
    assert GOLDEN.read_text().splitlines() == listed(host.toolkit)
    assert host.installer().restores_foreign()
    host.install(release=SECOND)
    host.installer().remove(record)
    assert foreign == snapshot(host.toolkit)
    assert {"toolkit", ".toolkit-journal"} == {path.name for path in host.install_dir.iterdir()}


def test_a_tree_that_another_installer_put_in_place_of_ours_stays(host: PayloadHost) -> None:
    record = host.install()
    for path in sorted(host.toolkit.rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
    host.toolkit.rmdir()
    foreign = leave_foreign_tree(host)
    host.installer().remove(record)
    assert foreign == snapshot(host.toolkit)


def test_removal_leaves_no_trace(host: PayloadHost) -> None:
    before = snapshot(host.tree)
    record = host.install()
    installer = host.installer()
    installer.remove(record)
    host.writer().remove_tree("/usr/local/nvidia/.toolkit-journal")
    installer.remove_directories(record)
    assert before == snapshot(host.tree)


def test_everything_missing_is_named_at_once(host: PayloadHost) -> None:
    source = host.payload()
    (source / "usr/bin/nvidia-ctk").unlink()
    (source / "usr/bin/nvidia-container-runtime").unlink()
    (source / f"usr/lib/x86_64-linux-gnu/libnvidia-container-go.so.{FIRST}").unlink()
    with pytest.raises(PayloadError) as error:
        host.plan()
    for name in ("nvidia-ctk", "usr/bin/nvidia-container-runtime", "libnvidia-container-go.so.1"):
        assert name in str(error.value)
    assert "nvidia-cdi-hook" not in str(error.value)


def test_missing_files_are_left_out_where_errors_are_ignored(host: PayloadHost) -> None:
    (host.payload() / "usr/bin/nvidia-cdi-hook").unlink()
    plan = host.plan("--ignore-errors")
    assert any("nvidia-cdi-hook" in note for note in plan.notes)
    host.install("--ignore-errors")
    assert not (host.toolkit / "nvidia-cdi-hook").exists()
    assert (host.toolkit / "nvidia-ctk").exists()


def test_a_payload_directory_that_is_not_there_is_named(host: PayloadHost) -> None:
    with pytest.raises(PayloadError, match="/no/such/payload does not exist"):
        host.plan("--toolkit-source-root=/no/such/payload")


def test_a_payload_on_the_host_is_found_below_the_host_root(host: PayloadHost) -> None:
    make_sample_payload(host.tree / "opt/on-the-host")
    plan = host.plan("--toolkit-source-root=/opt/on-the-host")
    assert plan.source == str(host.tree / "opt/on-the-host")


def test_the_package_type_follows_the_package_manager_of_the_host(host: PayloadHost) -> None:
    def looked_for(*flags: str) -> str:
        with pytest.raises(PayloadError) as error:
            find_payload(settings_of(*flags).payload, host.root)
        return error.value.message

    assert looked_for() == "payload directory /artifacts/deb does not exist"
    (host.tree / "usr/bin/dpkg").touch()
    assert looked_for() == "payload directory /artifacts/deb does not exist"
    (host.tree / "usr/bin/rpm").touch()
    assert looked_for() == "payload directory /artifacts/rpm does not exist"
    type_given = "--toolkit-package-type=deb"
    assert looked_for(type_given) == "payload directory /artifacts/deb does not exist"


def test_a_config_that_the_payload_ships_is_the_one_that_is_installed(host: PayloadHost) -> None:
    host.payload(ship_config=True)
    host.install()
    text = (host.toolkit / CONFIG_PATH).read_text()
    assert '#debug = "/var/log/nvidia-container-toolkit.log"\n' in text
    assert 'path = "/usr/local/nvidia/toolkit/nvidia-ctk"\n' in text


def test_a_toolkit_directory_that_is_a_link_is_kept_and_its_files_are_replaced(
    host: PayloadHost,
) -> None:
    elsewhere = host.tree / "data"
    elsewhere.mkdir()
    (elsewhere / "stale").write_text("old")
    host.install_dir.mkdir(parents=True)
    host.toolkit.symlink_to("/data")
    record = host.install()
    assert host.toolkit.is_symlink()
    assert GOLDEN.read_text().splitlines() == listed(elsewhere)
    host.installer().remove(record)
    assert snapshot(elsewhere) == {"stale": ("file", 0o644, b"old")}


class _NoExchange(FaultyWriter):
    def exchange(self, first: str, second: str) -> None:
        raise ExchangeUnsupportedError(f"{first} and {second} can't be exchanged: Invalid argument")


def test_without_an_exchange_each_file_is_replaced_libraries_first_and_wrappers_last(
    host: PayloadHost,
) -> None:
    host.install()
    writer = _NoExchange(real=host.writer())
    record = host.install(release=SECOND, writer=writer)
    renamed = [
        Path(path).name
        for name, path in writer.done
        if name == "rename" and Path(path).parent.name == "toolkit"
    ]
    assert renamed[0].startswith("libnvidia-container")
    assert {"nvidia-container-runtime", "nvidia-ctk"} <= set(renamed[-6:])
    assert record.digest == host.installer().installed()
    assert {"toolkit", ".toolkit-journal"} == {path.name for path in host.install_dir.iterdir()}


def test_leftovers_of_a_crashed_stage_are_cleaned(host: PayloadHost) -> None:
    leftover = host.install_dir / f".toolkit-{'a' * 64}"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("half")
    host.install()
    assert not leftover.exists()


def test_a_payload_that_changes_while_it_is_copied_is_refused(host: PayloadHost) -> None:
    installer = host.installer()
    plan = installer.plan(RUNC)
    record = installer.intent(plan)
    (host.payload() / "usr/bin/nvidia-ctk").write_text("#!/bin/sh\nanother\n")
    with pytest.raises(PayloadError, match="differs from the payload"):
        installer.stage(plan, UninterruptedClock())
    installer.undo(record)
    assert not host.toolkit.exists()


def test_a_record_keeps_the_fields_that_it_does_not_know(host: PayloadHost) -> None:
    document = host.install().to_json() | {"of a later version": [1, 2]}
    assert document == PayloadRecord.from_json(document).to_json()


@pytest.mark.parametrize(
    "target",
    ["../../../outside/victim", "/outside/victim", "/../outside/victim", "sub/../../../../victim"],
)
@pytest.mark.parametrize("place", ["usr/bin/nvidia-ctk", "usr/bin", "usr"])
def test_a_link_of_the_payload_leads_nowhere_out_of_it(
    host: PayloadHost, place: str, target: str
) -> None:
    source = host.payload()
    for outside in (host.base / "outside", host.base):
        outside.mkdir(exist_ok=True)
        (outside / "victim").write_text("theirs")
        for directory in (outside / "usr/bin", outside / "bin"):
            directory.mkdir(parents=True)
            (directory / "nvidia-ctk").write_text("theirs")
    link = source / place
    if place == "usr/bin/nvidia-ctk":
        link.unlink()
    else:
        link.rename(link.with_name("moved"))
        target = os.path.dirname(target)
    link.symlink_to(target)
    with pytest.raises(PayloadError, match="nvidia-ctk"):
        host.install()
    assert not host.toolkit.exists()


def test_links_of_the_payload_are_followed_inside_it_as_its_own_root(host: PayloadHost) -> None:
    source = host.payload()
    (source / "usr/bin").rename(source / "opt")
    (source / "usr/bin").symlink_to("/../../opt")
    (source / "opt/nvidia-ctk").rename(source / "ctk")
    (source / "opt/nvidia-ctk").symlink_to("../../../ctk")
    host.install()
    assert (host.toolkit / "nvidia-ctk.real").read_bytes() == (source / "ctk").read_bytes()


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o777, 0o775, 0o666])
def test_nobody_else_may_change_a_file_that_is_installed_or_run_it_as_another(
    host: PayloadHost, mode: int
) -> None:
    source = host.payload()
    for path in source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
    host.install()
    modes = {path.stat().st_mode & 0o7777 for path in host.toolkit.rglob("*") if path.is_file()}
    assert modes <= {0o755, 0o644}
