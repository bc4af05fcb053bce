"""A handler is added in the form that a file has them in, whichever that is."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

import pytest

from runtime_configs.formats.documents import Change, apply_changes
from runtime_configs.formats.merge import merge3
from runtime_configs.model import ConfigError, Format

PATH = "/etc/containerd/config.toml"
CRI = "io.containerd.grpc.v1.cri"
CONTAINERD = ("plugins", CRI, "containerd")
TABLE = {"type": "v2", "options": {"BinaryName": "/n"}}
CHANGES = (
    Change(path=(*CONTAINERD, "default_runtime_name"), value="nvidia"),
    Change(path=(*CONTAINERD, "runtimes", "nvidia"), value=TABLE),
)
HEADER = f'[plugins."{CRI}".containerd]\n'


def changed(text: str) -> str:
    return apply_changes(text.encode(), CHANGES, Format.TOML, path=PATH).decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            HEADER + '  runtimes.crun = { type = "a" } # mine\n',
            HEADER + '  runtimes.crun = { type = "a" } # mine\n  default_runtime_name = "nvidia"\n'
            '  runtimes.nvidia.type = "v2"\n  runtimes.nvidia.options.BinaryName = "/n"\n',
        ),
        (
            f'[plugins]\n"{CRI}".containerd.runtimes.crun.type = "a"',
            (
                f'[plugins]\n"{CRI}".containerd.runtimes.crun.type = "a"\n'
                f'"{CRI}".containerd.default_runtime_name = "nvidia"\n'
                f'"{CRI}".containerd.runtimes.nvidia.type = "v2"\n'
                f'"{CRI}".containerd.runtimes.nvidia.options.BinaryName = "/n"'
            ),
        ),
        (
            HEADER + "runtimes = { } # none\n",
            HEADER
            + 'runtimes = { nvidia = { type = "v2", options = { BinaryName = "/n" } } } # none\n'
            'default_runtime_name = "nvidia"\n',
        ),
        (
            f'[plugins]\n"{CRI}".containerd.x = 1\n[plugins."{CRI}".containerd.runtimes.crun]\n',
            (
                f'[plugins]\n"{CRI}".containerd.x = 1\n'
                f'"{CRI}".containerd.default_runtime_name = "nvidia"\n'
                f'[plugins."{CRI}".containerd.runtimes.crun]\n'
                f'[plugins."{CRI}".containerd.runtimes.nvidia]\ntype = "v2"\n'
                f'[plugins."{CRI}".containerd.runtimes.nvidia.options]\nBinaryName = "/n"\n'
            ),
        ),
    ],
)
def test_the_form_of_the_file_is_kept(before: str, after: str) -> None:
    assert changed(before) == after
    encoded = (before.encode(), after.encode(), after.encode())
    assert merge3(*encoded, Format.TOML, path=PATH) == before.encode()


@pytest.mark.parametrize(
    "before",
    [
        'plugins = { "io.containerd.grpc.v1.cri" = { containerd = { runtimes.crun.type = "a" } } }',
        'plugins = {}\nx = """\n[plugins]\n"""\n',
        '["plugins"."io.containerd.\\u0067rpc.v1.cri"]\n"cont\\u0061inerd".runtimes = {}\n',
        f"[plugins]\n'{CRI}' = {{ containerd = {{ 'default_runtime_name' = 'crun' }} }} # one\n",
        f'{HEADER}runtimes.nvidia = {{ type = "a", options.BinaryName = "x" }}\n',
        f"[[other]]\n[[other.plugins]]\n[other.plugins.x]\n{HEADER}[[other]]\n[plugins]\n",
    ],
)
def test_every_form_takes_the_handler_and_gives_the_bytes_back(before: str) -> None:
    after = changed(before)
    found: object = tomllib.loads(after)
    for key in CONTAINERD:
        assert isinstance(found, Mapping)
        found = found[key]
    assert isinstance(found, Mapping)
    assert found["default_runtime_name"] == "nvidia"
    assert found["runtimes"]["nvidia"] == TABLE
    assert changed(after) == after
    encoded = (before.encode(), after.encode(), after.encode())
    assert merge3(*encoded, Format.TOML, path=PATH) == before.encode()


def test_a_key_with_escapes_is_not_copied_for_new_headers() -> None:
    after = changed('["plugins"."io.containerd.\\u0067rpc.v1.cri"]\nx = 1\n')
    assert after.count("\\u0067") == 1


@pytest.mark.parametrize("text", ["a" + ".a" * 20_000 + " = 1\n", f"[{'a.' * 20_000}a]\n"])
def test_a_key_of_thousands_of_parts_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        changed(text)


def test_a_string_with_thousands_of_dots_is_no_key() -> None:
    dots = "a." * 20_000
    text = f'# {dots}\nx = "{dots}"\ny = """\n{dots}\n"""\n'
    assert changed(text).startswith(text)
