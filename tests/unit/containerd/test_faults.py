"""What containerd refuses by its own rules, each with the line of the file that is to be fixed."""

from __future__ import annotations

import json

import pytest

from runtime_configs.adapter import Fault, Placement
from runtime_configs.containerd.copies import trial
from runtime_configs.model import EffectiveConfig, ServedHandler
from runtime_configs.overlay import Overlay
from tests.fakes.memory_files import MemoryFiles
from tests.unit.containerd.hosts import ADAPTER, BINARY, TOP, host, request

V2 = '[plugins."io.containerd.grpc.v1.cri"'
V3 = '[plugins."io.containerd.cri.v1.runtime"'
IMAGES = '[plugins."io.containerd.cri.v1.images"'
REGISTRY = 'registry]\nconfig_path = "/etc/certs.d"\n'
SHIM = "io.containerd.runtime.v1.linux"
RUNC = f'version = 2\n{V2}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'


def unedited(files: MemoryFiles) -> Overlay:
    return Overlay(files.view(), {})


def faults(engine: str, text: str, **more: str) -> list[tuple[int | None, str]]:
    files = host(top=text, **more)
    found = ADAPTER.faults(request(engine), unedited(files))
    return [(each.line, each.message) for each in found]


@pytest.mark.parametrize(
    ("engine", "text", "line", "said"),
    [
        (
            "1.6.20",
            f'version = 2\n{V2}.{REGISTRY}{V2}.registry.mirrors."a"]\nx = 1\n',
            4,
            "mirrors",
        ),
        (
            "2.1.9",
            f'version = 3\n{IMAGES}.{REGISTRY}{IMAGES}.registry.mirrors."a"]\n',
            4,
            "mirrors",
        ),
        ("2.1.9", f'version = 2\n{V2}.{REGISTRY}{V2}.registry.mirrors."a"]\nx = 1\n', 4, "mirrors"),
        ("1.7.24", f'version = 2\n{V2}.{REGISTRY}{V2}.registry.configs."a".tls]\n', 4, "tls"),
        ("1.7.24", f"version = 2\n{V2}]\nsystemd_cgroup = true\n", 3, SHIM),
        ("1.6.20", f"version = 2\n{V2}]\n\nno_pivot = true\n", 4, SHIM),
        ("1.7.24", "[plugins.cri]\nsystemd_cgroup = true\n", 2, SHIM),
        (
            "1.6.20",
            f'{RUNC}runtime_engine = "/usr/bin/x"\n',
            4,
            "runtime_engine of handler runc",
        ),
        ("1.7.24", f'version = 2\n{V2}.containerd]\ndefault_runtime_name = "kata"\n', 3, '"kata"'),
        ("2.1.9", f'version = 3\n{V3}.containerd]\ndefault_runtime_name = ""\n', 3, "is empty"),
        (
            "1.7.24",
            RUNC.replace("runtimes.runc", "runtimes.kata"),
            2,
            '"runc", which is no handler',
        ),
        ("2.1.9", f'version = 3\n{V3}]\ndrain_exec_sync_io_timeout = "soon"\n', 3, "no duration"),
        ("1.7.24", f'version = 2\n{V2}]\nimage_pull_progress_timeout = "5 m"\n', 3, "no duration"),
        (
            "2.1.9",
            f'version = 3\n{V3}.cni]\nbin_dir = "/x"\nbin_dirs = ["/a"]\n',
            3,
            "exclude each other",
        ),
        ("2.1.9", f'version = 3\n{V3}.containerd.runtimes.runc]\nio_type = "pipe"\n', 3, '"pipe"'),
    ],
)
def test_what_the_cri_plugin_refuses_is_named_with_its_line(
    engine: str, text: str, line: int, said: str
) -> None:
    ((found, message),) = faults(engine, text)
    assert said in message
    assert found in (line, None)
    assert found == line or "which is no handler" in message


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        ("1.7.24", "version = 2\n"),
        ("2.1.9", ""),
        ("1.6.20", f'version = 2\n{V2}]\nimage_pull_progress_timeout = "x"\n'),
        ("2.1.9", f"version = 2\n{V2}]\nsystemd_cgroup = true\n"),
        ("2.1.9", f'version = 3\n{V3}.containerd.runtimes.kata]\nruntime_type = "x"\n'),
        ("1.7.24", f'version = 2\n{V2}]\nstream_idle_timeout = "1h2m0.5s"\n'),
        ("1.7.24", f'version = 2\n{V2}.registry]\nconfig_path = ""\n{V2}.registry.mirrors."a"]\n'),
        (
            "1.7.24",
            f'{RUNC}runtime_root = "/r"\n{V2}]\nsystemd_cgroup = true\n'.replace(
                "io.containerd.runc.v2", SHIM
            ),
        ),
    ],
)
def test_what_it_takes_is_no_fault(engine: str, text: str) -> None:
    assert faults(engine, text) == []


def test_an_imported_file_is_named_where_it_has_the_fault() -> None:
    part = f"version = 2\n{V2}]\nno_pivot = true\n"
    files = host(top='version = 2\nimports = ["/etc/p*.toml"]\n', **{"/etc/part.toml": part})
    (found,) = ADAPTER.faults(request("1.7.24"), unedited(files))
    assert found.where == "/etc/part.toml:3"


@pytest.mark.parametrize("engine", ["1.6.20", "1.7.24", "2.1.9", "2.3.4"])
def test_a_missing_import_is_named_at_any_depth_and_a_pattern_may_match_nothing(
    engine: str,
) -> None:
    top = 'version = 2\nimports = ["/etc/none/*.toml", "/etc/part.toml"]\n'
    part = 'version = 2\nimports = [\n  "/etc/there.toml",\n  "/etc/gone.toml",\n]\n'
    files = host(top=top, **{"/etc/part.toml": part, "/etc/there.toml": "version = 2\n"})
    missing = ADAPTER.missing_files(request(engine), unedited(files))
    assert [str(each) for each in missing] == [
        "/etc/part.toml:4: it imports /etc/gone.toml, which is not there"
    ]


def test_a_template_is_not_judged() -> None:
    asked = request("2.1.9", placement=Placement.TEMPLATE, template="/etc/t.tmpl")
    files = host(top='imports = ["/gone.toml"]\n')
    assert ADAPTER.missing_files(asked, unedited(files)) == ()
    assert ADAPTER.faults(asked, unedited(files)) == ()
    assert ADAPTER.trial(asked, files.view(), "/run/d") is None


def test_an_address_that_the_host_has_not_is_a_fault_that_a_start_aside_does_not_show() -> None:
    local = "     |-- 192.0.2.2\n        /32 host LOCAL\n"
    text = f'version = 2\n{V2}]\nstream_server_address = "ADDRESS"\n'
    files = {"/proc/1/net/fib_trie": local}
    for address in ("192.0.2.2", "127.0.0.1", "", "node.example"):
        assert faults("1.7.24", text.replace("ADDRESS", address), **files) == []
    other = host(top=text.replace("ADDRESS", "10.1.2.3"), **files)
    (found,) = ADAPTER.faults(request("1.7.24"), unedited(other))
    assert found == Fault(
        path=TOP,
        line=3,
        message="stream_server_address is 10.1.2.3, which is no address of this host",
        hidden=True,
    )


def test_an_address_counts_though_a_later_file_leaves_it_empty() -> None:
    top = 'version = 2\nimports = ["/etc/p*.toml"]\n[metrics]\naddress = "10.1.2.3:1338"\n'
    files = {"/proc/1/net/fib_trie": "     |-- 192.0.2.2\n        /32 host LOCAL\n"}
    for later, found in (("", [4]), ("127.0.0.1:1338", [])):
        part = f'version = 2\n[metrics]\naddress = "{later}"\n'
        lines = [line for line, _ in faults("1.7.24", top, **files, **{"/etc/part.toml": part})]
        assert lines == found


def test_a_trial_leads_nowhere_on_the_host() -> None:
    text = (
        'version = 2\nroot = "/data/ctd"\nstate = "/live/state"\noom_score = -999\n'
        '[grpc]\naddress = "/live/c.sock"\n[ttrpc]\naddress = "/live/t.sock"\n'
        '[debug]\naddress = "/live/d.sock"\nformat = "json"\n[metrics]\naddress = "10.0.0.1:1"\n'
        '[cgroup]\npath = "/live/cgroup"\n'
        f'{V2}]\nstream_server_port = "10010"\n{V2}.cni]\nconf_dir = "/live/net.d"\n'
        '[plugins."io.containerd.nri.v1.nri"]\ndisable = false\n'
        '[plugins."io.containerd.snapshotter.v1.overlayfs"]\nroot_path = "/live/overlay"\n'
    )
    found = trial(request("1.7.24"), host(top=text).view(), "/run/aside")
    assert found is not None
    ((path, content),) = found.files
    assert path == "/run/aside/000.toml"
    assert b"/live" not in content
    assert b"10010" not in content
    assert b"disable = true" in content
    assert found.arguments[:2] == ("--config", path)


LIVE = {
    "containerd": {
        "defaultRuntimeName": "nvidia",
        "runtimes": {
            "runc": {"runtimeType": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}},
            "nvidia": {"runtimeType": "x", "options": {"BinaryName": BINARY}},
        },
    },
    "registry": {"mirrors": None, "configs": {"r.example": {"auth": None}}},
    "enableSelinux": False,
    "sandboxImage": "pause:3.9",
    "rootDir": "/var/lib/containerd",
}


def pending(dump: str) -> tuple[str, ...]:
    nvidia = {"runtime_type": "x", "options": {"BinaryName": BINARY}}
    served = ServedHandler(name="nvidia", binary_path=BINARY, runtime_type="x", table=nvidia)
    live = EffectiveConfig(handlers={"nvidia": served}, default="nvidia", raw=LIVE)
    return ADAPTER.pending(live, ADAPTER.effective(dump.encode()), request("1.7.24"))


def test_a_setting_of_the_files_that_is_not_in_force_is_named_and_our_own_is_not() -> None:
    same = (
        f'version = 2\n{V2}]\nsandbox_image = "pause:3.9"\nenable_selinux = false\nunknown = 1\n'
        f'{V2}.containerd]\ndefault_runtime_name = "runc"\n'
        f'{V2}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
        f"{V2}.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
    )
    assert pending(same) == ()
    edited = same.replace("pause:3.9", "pause:3.10").replace("SystemdCgroup = true", "")
    assert pending(edited) == (
        "containerd.runtimes.runc.options.SystemdCgroup: true is in force, the files say nothing",
        'sandbox_image: "pause:3.9" is in force, the files say "pause:3.10"',
    )


def test_no_secret_of_a_pending_edit_is_shown() -> None:
    dump = f'version = 2\n{V2}.registry.configs."r.example".auth]\npassword = "hunter2"\n'
    lines = pending(dump)
    assert "hunter2" not in json.dumps(lines)


def started_with(text: str, **more: str) -> str:
    found = trial(request("1.7.24"), host(top=text, **more).view(), "/run/aside")
    assert found is not None
    return found.files[0][1].decode()


@pytest.mark.parametrize(
    ("mounts", "more", "used"),
    [
        ("/dev/a / ext4 rw 0 0\n", "", '"btrfs"'),
        ("/dev/a / ext4 rw 0 0\n/dev/b /var/lib btrfs rw 0 0\n", "", '"native"'),
        ("/dev/a / btrfs rw 0 0\n/dev/b /var/lib/containerd ext4 rw 0 0\n", "", '"btrfs"'),
        ("/dev/a / ext4 rw 0 0\n/dev/b /data btrfs rw 0 0\n", 'root = "/data/x"\n', '"native"'),
    ],
)
def test_a_snapshotter_that_fits_the_hosts_disk_alone_is_no_reason_to_refuse(
    mounts: str, more: str, used: str
) -> None:
    text = f'version = 2\n{more}{V2}.containerd]\nsnapshotter = "btrfs"\n'
    assert f"snapshotter = {used}" in started_with(text, **{"/proc/1/mounts": mounts})


def test_a_snapshotter_of_devices_is_tried_as_another_where_it_is_configured() -> None:
    text = f'version = 2\n{V2}.containerd]\nsnapshotter = "devmapper"\n'
    assert 'snapshotter = "devmapper"' in started_with(text)
    pool = '[plugins."io.containerd.snapshotter.v1.devmapper"]\npool_name = "p"\n'
    assert 'snapshotter = "native"' in started_with(text + pool)


def test_what_is_no_level_format_or_address_stays_for_the_engine_to_refuse() -> None:
    for line in ('level = "loud"', 'format = "xml"'):
        assert line in started_with(f"version = 2\n[debug]\n{line}\n")
    assert 'address = "everywhere"' in started_with('[metrics]\naddress = "everywhere"\n')
    assert 'level = "info"' in started_with('version = 2\n[debug]\nlevel = "ERROR"\n')


def test_root_and_state_may_not_be_one_directory() -> None:
    text = 'version = 2\nstate = "/var/lib/containerd"\n'
    assert faults("2.1.9", text) == [(2, "root and state are one directory")]
    assert faults("2.1.9", f'{text}root = "/data"\n') == []


def test_imports_in_another_spelling_lead_to_the_copies_too() -> None:
    top = 'version = 2\nIMPORTS = ["/etc/part.toml"]\n'
    files = host(top=top, **{"/etc/part.toml": "version = 2\n"})
    found = trial(request("2.1.9"), files.view(), "/run/aside")
    assert found is not None
    content = found.files[0][1].decode()
    assert "/etc/part.toml" not in content
    assert 'IMPORTS = ["/run/aside/001.toml"]' in content
