"""What containerd reports, in both forms, and what differs between two reports."""

from __future__ import annotations

import json

import pytest

from runtime_configs.model import ConfigError
from tests.unit.containerd.hosts import ADAPTER, BINARY, V2, V3, request

DUMP_V2 = f"""\
version = 2
imports = ["/etc/containerd/config.toml"]
disabled_plugins = []
[plugins."{V2}"]
  enable_cdi = false
  [plugins."{V2}".containerd]
    default_runtime_name = "runc"
    [plugins."{V2}".containerd.default_runtime]
      runtime_type = ""
    [plugins."{V2}".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."{V2}".containerd.runtimes.runc.options]
        BinaryName = ""
        SystemdCgroup = true
  [plugins."{V2}".registry.configs."registry.example".auth]
    password = "hunter2"
"""
STATUS = {
    "containerd": {
        "defaultRuntimeName": "nvidia",
        "runtimes": {
            "nvidia": {
                "runtimeType": "io.containerd.runc.v2",
                "options": {"BinaryName": BINARY, "SystemdCgroup": True},
            },
            "runc": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": ""}},
        },
    },
    "enableCDI": True,
    "sandboxImage": "registry.example/pause:3.9",
}


@pytest.mark.parametrize("dump", [DUMP_V2, DUMP_V2.replace(V2, V3).replace("= 2", "= 3")])
def test_a_dump_gives_handlers_and_default(dump: str) -> None:
    found = ADAPTER.effective(dump.encode())
    assert found.default == "runc"
    assert found.handlers["runc"].binary_path is None
    assert found.handlers["runc"].runtime_type == "io.containerd.runc.v2"
    assert found.disabled is None


@pytest.mark.parametrize("wrap", [lambda raw: raw, lambda raw: {"config": json.dumps(raw)}])
def test_the_verbose_status_gives_the_same(wrap: object) -> None:
    assert callable(wrap)
    found = ADAPTER.effective(json.dumps(wrap(STATUS)).encode())
    assert found.default == "nvidia"
    assert found.handlers["nvidia"].binary_path == BINARY
    assert found.handlers["runc"].binary_path is None


def test_a_default_by_table_has_the_name_of_the_handler_that_it_repeats() -> None:
    status = json.loads(json.dumps(STATUS))
    status["containerd"]["defaultRuntime"] = status["containerd"]["runtimes"]["nvidia"]
    status["containerd"]["defaultRuntimeName"] = "default"
    assert ADAPTER.effective(json.dumps(status).encode()).default == "nvidia"


def test_a_dump_tells_that_the_cri_plugin_is_switched_off() -> None:
    dump = DUMP_V2.replace("disabled_plugins = []", f'disabled_plugins = ["{V2}"]')
    assert V2 in str(ADAPTER.effective(dump.encode()).disabled)


@pytest.mark.parametrize("dump", [b"{", b"version = ", b"\xff\xfe"])
def test_bytes_of_neither_form_are_an_error(dump: bytes) -> None:
    with pytest.raises(ConfigError):
        ADAPTER.effective(dump)


def test_what_was_meant_is_no_difference() -> None:
    after = DUMP_V2.replace("enable_cdi = false", "enable_cdi = true")
    after = after.replace('default_runtime_name = "runc"', 'default_runtime_name = "nvidia"')
    after = after.replace("/etc/containerd/config.toml", "/etc/x.toml")
    after += f'[plugins."{V2}".containerd.runtimes.nvidia]\nruntime_type = "a"\n'
    asked = request(enable_cdi=True)
    before = ADAPTER.effective(DUMP_V2.encode())
    assert ADAPTER.unintended(before, ADAPTER.effective(after.encode()), asked) == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("SystemdCgroup = true", "SystemdCgroup = false", "SystemdCgroup: true -> false"),
        ("runtimes.runc", "runtimes.crun", "runtimes.runc.runtime_type"),
        ("enable_cdi = false", "enable_cdi = true", "enable_cdi: false -> true"),
        ("hunter2", "hunter3", "password: [redacted]"),
    ],
)
def test_what_was_not_meant_is_named_and_secrets_are_not_shown(
    old: str, new: str, words: str
) -> None:
    before = ADAPTER.effective(DUMP_V2.encode())
    after = ADAPTER.effective(DUMP_V2.replace(old, new).encode())
    lines = ADAPTER.unintended(before, after, request())
    assert any(words in line for line in lines)
    assert not any("hunter" in line for line in lines)


def test_a_key_that_is_absent_and_its_zero_value_are_the_same() -> None:
    before = ADAPTER.effective(DUMP_V2.encode())
    after = ADAPTER.effective(DUMP_V2.replace('        BinaryName = ""\n', "").encode())
    assert ADAPTER.unintended(before, after, request()) == ()


def test_reports_of_different_form_are_compared_by_the_others_handlers() -> None:
    before = ADAPTER.effective(DUMP_V2.encode())
    asked = request()
    assert ADAPTER.unintended(before, ADAPTER.effective(json.dumps(STATUS).encode()), asked) == ()
    lost = {"containerd": {"defaultRuntimeName": "nvidia", "runtimes": {}}}
    lines = ADAPTER.unintended(before, ADAPTER.effective(json.dumps(lost).encode()), asked)
    assert any("handler runc" in line and "absent" in line for line in lines)


def test_nothing_has_to_be_staged_before_a_revert() -> None:
    assert ADAPTER.interim_content(b"a", b"b", "runc") is None
