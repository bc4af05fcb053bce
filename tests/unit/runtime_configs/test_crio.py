from __future__ import annotations

import tomllib

import pytest
from msgspec.structs import replace

from runtime_configs.adapter import OVERRIDE_IGNORED, ConfigRequest
from runtime_configs.crio.adapter import CrioAdapter
from runtime_configs.model import (
    ConfigError,
    DesiredHandlers,
    EditSet,
    Format,
    HostView,
    RuntimeHandler,
)
from runtime_configs.overlay import Overlay
from tests.fakes.host_tree import HostTree
from tests.fakes.memory_files import MemoryFiles
from toolkit.errors import HostPathError

TOP = "/etc/crio/crio.conf"
DROP_IN = "/etc/crio/crio.conf.d/99-nvidia.toml"
BINARY = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
REQUEST = ConfigRequest(
    desired=DesiredHandlers(
        handlers=(RuntimeHandler(name="nvidia", binary_path=BINARY),), default="nvidia"
    ),
    top_level=TOP,
    drop_in=DROP_IN,
)
LIVE = b"""
[crio.runtime]
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_path = "/usr/bin/runc"
runtime_config_path = "/etc/x"
platform_runtime_paths = { "linux/arm64" = "/a" }
inherit_default_runtime = true
monitor_path = "/usr/bin/conmon"
default_annotations = { "a.b/c" = "d" }
allowed_annotations = []
[crio.runtime.runtimes.kata]
runtime_path = "/usr/bin/kata"
runtime_type = "vm"
"""


def handler(request: ConfigRequest, files: dict[str, bytes]) -> object:
    edits = CrioAdapter().edits(request, HostTree(files)).edits
    assert [edit.path for edit in edits] == [DROP_IN]
    return tomllib.loads((edits[0].after or b"").decode())["crio"]["runtime"]["runtimes"]["nvidia"]


def test_a_handler_has_the_fields_of_the_default_one_but_those_that_lead_past_our_binary() -> None:
    request = replace(REQUEST, effective=CrioAdapter().effective(LIVE))
    assert handler(request, {}) == {
        "runtime_path": BINARY,
        "runtime_type": "oci",
        "monitor_path": "/usr/bin/conmon",
        "default_annotations": {"a.b/c": "d"},
    }


def test_fields_come_from_the_files_where_the_engine_cannot_be_asked() -> None:
    assert handler(REQUEST, {TOP: LIVE}) == handler(
        replace(REQUEST, effective=CrioAdapter().effective(LIVE)), {}
    )


def test_our_own_handler_is_never_what_is_inherited_from() -> None:
    ours = LIVE.replace(b'"runc"\n[', b'"nvidia"\n[') + (
        b'[crio.runtime.runtimes.nvidia]\nruntime_path = "%s"\nmonitor_path = "/old"\n'
        % BINARY.encode()
    )
    request = replace(REQUEST, effective=CrioAdapter().effective(ours))
    assert "/usr/bin/conmon" in str(handler(request, {}))


def test_fields_come_from_the_default_before_us_though_ours_is_in_force() -> None:
    ours = LIVE.replace(b'"runc"\n[', b'"nvidia"\n[') + (
        b'[crio.runtime.runtimes.crun]\nruntime_path = "/usr/bin/crun"\nmonitor_path = "/else"\n'
        b'[crio.runtime.runtimes.nvidia]\nruntime_path = "%s"\n' % BINARY.encode()
    )
    request = replace(REQUEST, effective=CrioAdapter().effective(ours))
    for name, monitor in (("runc", "/usr/bin/conmon"), ("crun", "/else")):
        found = handler(replace(request, previous_default=name), {})
        assert isinstance(found, dict)
        assert found["monitor_path"] == monitor


def test_a_virtual_machine_as_default_gives_no_fields() -> None:
    live = LIVE.replace(b'default_runtime = "runc"', b'default_runtime = "kata"')
    request = replace(REQUEST, effective=CrioAdapter().effective(live))
    assert "monitor_path" in str(handler(request, {}))


@pytest.mark.parametrize(
    ("name", "content", "refused"),
    [
        ("zz", b'[crio.runtime]\ndefault_runtime = "runc"\n', True),
        ("zz", b'[crio.runtime]\ndefault_runtime = "nvidia"\n', False),
        ("zz", b'[crio.runtime.runtimes.nvidia]\nruntime_path = "/else"\n', True),
        (".hidden", b'[crio.runtime]\ndefault_runtime = "runc"\n', False),
        ("10-a", b'[crio.runtime]\ndefault_runtime = "runc"\n', False),
        ("zz", b"[crio.image]\n", False),
    ],
)
def test_a_later_file_that_takes_our_change_back_is_refused(
    name: str,
    content: bytes,
    refused: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    tree = HostTree({f"/etc/crio/crio.conf.d/{name}": content})
    if not refused:
        assert CrioAdapter().edits(REQUEST, tree).edits
        return
    with pytest.raises(ConfigError, match=f"/{name}: it is read after"):
        CrioAdapter().edits(REQUEST, tree)


def test_a_file_that_does_not_parse_stops_the_set_up() -> None:
    with pytest.raises(ConfigError, match=r"10-x: .*line 2"):
        CrioAdapter().edits(REQUEST, HostTree({"/etc/crio/crio.conf.d/10-x": b"a = [\n"}))


def test_the_hook_is_a_file_of_its_own_and_warns_of_a_directory_that_is_not_read() -> None:
    live = b'[crio.runtime]\nhooks_dir = ["/etc/hooks"]\n'
    request = replace(
        REQUEST,
        crio_hook_path="/usr/share/hooks/oci.json",
        hook_binary="/t/nvidia-container-runtime-hook",
        effective=CrioAdapter().effective(live),
    )
    edits = CrioAdapter().edits(request, HostTree({}))
    assert [(edit.path, edit.format) for edit in edits.edits] == [
        ("/usr/share/hooks/oci.json", Format.OPAQUE)
    ]
    assert "--hooks-dir" in edits.notes[0]
    after = edits.edits[0].after or b""
    again = CrioAdapter().edits(request, HostTree({"/usr/share/hooks/oci.json": after}))
    assert again.edits == ()


def test_an_override_is_said_to_have_no_effect_changes_or_not() -> None:
    request = replace(REQUEST, desired=replace(REQUEST.desired, override={"snapshotter": "x"}))
    hook = replace(request, crio_hook_path="/h.json", hook_binary="/t/hook")
    for asked in (request, hook):
        first = CrioAdapter().edits(asked, HostTree({}))
        tree = HostTree({edit.path: edit.after or b"" for edit in first.edits})
        again = CrioAdapter().edits(asked, tree)
        assert again.edits == ()
        assert first.notes == again.notes == (OVERRIDE_IGNORED,)
    assert CrioAdapter().edits(REQUEST, HostTree({})).notes == ()


def test_only_settings_that_we_did_not_mean_are_named() -> None:
    adapter = CrioAdapter()
    after = adapter.effective(
        LIVE.replace(b'"runc"\n[', b'"nvidia"\npids_limit = 7\n[')
        + b'[crio.runtime.runtimes.nvidia]\nruntime_path = "/n"\n'
    )
    assert adapter.unintended(adapter.effective(LIVE), after, REQUEST) == (
        "crio.runtime.pids_limit: nothing -> 7",
    )


def after(edits: EditSet, view: HostView) -> Overlay:
    return Overlay(view, {each.path: each.after for each in edits.edits})


def test_the_staged_copies_are_all_files_that_cri_o_reads() -> None:
    adapter = CrioAdapter()
    tree = HostTree({TOP: b"# top\n", "/etc/crio/crio.conf.d/10-a": b"# a\n"})
    check = adapter.dry_run(REQUEST, after(adapter.edits(REQUEST, tree), tree), "/s")
    assert check is not None
    staged = dict(check.files)
    assert staged["/s/crio.conf"] == b"# top\n"
    assert staged["/s/crio.conf.d/10-a"] == b"# a\n"
    assert b"nvidia" in staged["/s/crio.conf.d/99-nvidia.toml"]


def test_a_seccomp_profile_and_a_later_field_of_crio_are_taken_over_too() -> None:
    live = LIVE.replace(
        b'monitor_path = "/usr/bin/conmon"',
        b'seccomp_profile = "/etc/crio/strict.json"\nnot_known_yet = 3\nstream_websockets = true',
    )
    found = handler(replace(REQUEST, effective=CrioAdapter().effective(live)), {})
    assert found == {
        "runtime_path": BINARY,
        "runtime_type": "oci",
        "seccomp_profile": "/etc/crio/strict.json",
        "not_known_yet": 3,
        "default_annotations": {"a.b/c": "d"},
    }


def test_keys_that_the_dump_prints_below_the_last_handler_are_no_handlers() -> None:
    below = b'disable_hostport_mapping = true\ntimezone = "UTC"\n'
    adapter = CrioAdapter()
    before = adapter.effective(LIVE + below)
    assert before.handlers["kata"].table == {"runtime_path": "/usr/bin/kata", "runtime_type": "vm"}
    ours = b'[crio.runtime.runtimes.nvidia]\nruntime_path = "/n"\n'
    after = adapter.effective(LIVE.replace(b'"runc"\n[', b'"nvidia"\n[') + ours + below)
    assert adapter.unintended(before, after, REQUEST) == ()
    changed = adapter.effective(LIVE + ours + below.replace(b"UTC", b"local"))
    assert adapter.unintended(before, changed, REQUEST) == (
        'crio.runtime.timezone: "UTC" -> "local"',
    )


def test_default_handlers_that_are_printed_once_there_are_others_are_no_surprise() -> None:
    adapter = CrioAdapter()
    assert (
        adapter.unintended(adapter.effective(b"[crio.runtime]\n"), adapter.effective(LIVE), REQUEST)
        == ()
    )


def test_a_handler_that_follows_the_default_one_may_follow_it_to_ours() -> None:
    adapter = CrioAdapter()
    follower = (
        b'[crio.runtime.runtimes.fast]\ninherit_default_runtime = true\nruntime_path = "%s"\n'
    )
    before = adapter.effective(LIVE + follower % b"/usr/bin/runc")
    after = adapter.effective(LIVE + follower % BINARY.encode())
    assert adapter.unintended(before, after, REQUEST) == ()
    kept = replace(REQUEST, desired=replace(REQUEST.desired, default=None))
    assert len(adapter.unintended(before, after, kept)) == 1


def test_files_in_directories_below_are_read_where_crio_comes_to_them() -> None:
    later = b'[crio.runtime]\ndefault_runtime = "runc"\n'
    tree = HostTree({"/etc/crio/crio.conf.d/99-nvidia.toml.d/x": later})
    with pytest.raises(ConfigError, match=r"99-nvidia\.toml\.d/x: it is read after"):
        CrioAdapter().edits(REQUEST, tree)
    tree = HostTree({"/etc/crio/crio.conf.d/50-site/zz": later, DROP_IN: b"# ours\n"})
    adapter = CrioAdapter()
    check = adapter.dry_run(REQUEST, after(adapter.edits(REQUEST, tree), tree), "/s")
    assert check is not None
    assert dict(check.files)["/s/crio.conf.d/50-site/zz"] == later


def test_a_drop_in_may_be_in_the_root_directory() -> None:
    request = replace(REQUEST, drop_in="/99-nvidia.toml")
    edits = CrioAdapter().edits(request, HostTree({TOP: LIVE, "/98.toml": b"# theirs\n"}))
    assert [edit.path for edit in edits.edits] == ["/99-nvidia.toml"]


def test_an_empty_directory_beside_the_drop_in_is_walked_past() -> None:
    host = MemoryFiles.holding({TOP: LIVE})
    host.make_directories("/etc/crio/crio.conf.d/empty/too")
    host.put("/etc/crio/crio.conf.d/[x]/50.conf", b"[crio.image]\n")
    adapter = CrioAdapter()
    edits = adapter.edits(REQUEST, host.view())
    assert [edit.path for edit in edits.edits] == [DROP_IN]
    check = adapter.dry_run(REQUEST, after(edits, host.view()), "/s")
    assert check is not None
    assert [path for path, _ in check.files] == [
        "/s/crio.conf",
        "/s/crio.conf.d/99-nvidia.toml",
        "/s/crio.conf.d/[x]/50.conf",
    ]


def test_a_link_to_a_directory_is_read_as_crio_reads_it() -> None:
    host = MemoryFiles.holding({TOP: LIVE, "/srv/site/a.conf": b""})
    host.make_directories("/etc/crio/crio.conf.d")
    host.link("/etc/crio/crio.conf.d/site", "/srv/site")
    with pytest.raises(HostPathError, match=r"/etc/crio/crio\.conf\.d/site: Is a directory"):
        CrioAdapter().edits(REQUEST, host.view())


def test_a_node_without_a_top_level_file_is_tried_without_one() -> None:
    adapter = CrioAdapter()
    tree = HostTree({"/etc/crio/crio.conf.d/10-crio.conf": LIVE})
    check = adapter.dry_run(REQUEST, after(adapter.edits(REQUEST, tree), tree), "/s")
    assert check is not None
    assert check.arguments == ("--config", "", "--config-dir", "/s/crio.conf.d", "config")
    assert set(dict(check.files)) == {
        "/s/crio.conf.d/10-crio.conf",
        "/s/crio.conf.d/99-nvidia.toml",
    }
    check = adapter.dry_run(REQUEST, Overlay(tree, {DROP_IN: None}), "/s")
    assert check is not None
    assert set(dict(check.files)) == {"/s/crio.conf.d/10-crio.conf"}


def test_a_key_in_another_case_is_the_same_key() -> None:
    top = LIVE.replace(b"[crio.runtime", b"[Crio.RUNTIME")
    top = top.replace(b"default_runtime", b"Default_Runtime")
    top = top.replace(b"monitor_path", b"Monitor_Path").replace(b".runtimes.", b".Runtimes.")
    assert handler(REQUEST, {TOP: top}) == handler(REQUEST, {TOP: LIVE})
    ours = b'[crio.Runtime]\nDEFAULT_RUNTIME = "crun"\nlog_level = "debug"\n'
    edits = CrioAdapter().edits(REQUEST, HostTree({TOP: top, DROP_IN: ours})).edits
    after = tomllib.loads((edits[0].after or b"").decode())["crio"]
    assert after["Runtime"]["DEFAULT_RUNTIME"] == "nvidia"
    assert list(after) == ["Runtime"]
    found = CrioAdapter().effective(edits[0].after or b"")
    assert (found.default, found.handlers["nvidia"].binary_path) == ("nvidia", BINARY)


def test_a_key_in_two_spellings_is_refused_as_either_may_count() -> None:
    text = b'[crio.runtime]\ndefault_runtime = "crun"\nDefault_Runtime = "runc"\n'
    with pytest.raises(ConfigError, match=r"crio\.runtime has default_runtime and Default_Runtime"):
        CrioAdapter().edits(REQUEST, HostTree({TOP: text}))


def test_a_key_that_somebody_spells_in_another_way_goes_at_a_revert() -> None:
    before = b'[crio.runtime]\ndefault_runtime = "crun"\n'
    tree = HostTree({DROP_IN: before})
    [edit] = CrioAdapter().edits(REQUEST, tree).edits
    now = (edit.after or b"").replace(b"default_runtime =", b"Default_Runtime =")
    now = now.replace(b"runtime_path", b"Runtime_Path") + b"# seen\n"
    left = CrioAdapter().strip_our_changes(edit, now)
    assert CrioAdapter().effective(left or b"").default == "crun"
    assert b"Default_Runtime" in (left or b"")
    assert b"nvidia" not in (left or b"")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'runtime_path = "/usr/bin/kata"\nruntime_type = "vm"\n', "runtime_type vm"),
        (b'runtime_path = "/usr/bin/kata"\nRuntime_Type = "vm"\n', "runtime_type vm"),
        (b"inherit_default_runtime = true\n", "vm .that of the default runtime kata"),
    ],
)
def test_a_handler_of_our_name_for_virtual_machines_is_refused(text: bytes, words: str) -> None:
    live = LIVE.replace(b'default_runtime = "runc"', b'default_runtime = "kata"')
    theirs = "/etc/crio/crio.conf.d/10-kata"
    files = {TOP: live, theirs: b"[crio.runtime.runtimes.nvidia]\n" + text}
    with pytest.raises(ConfigError, match=f'"nvidia" has .*{words}') as caught:
        CrioAdapter().edits(REQUEST, HostTree(files))
    assert caught.value.path == theirs
    assert "--runtime-name" in caught.value.hint
