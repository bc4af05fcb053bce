"""The installed ``config.toml``."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from testbed.payload_host import settings_of
from toolkit.errors import PayloadError
from toolkit.payload.runtime_config import config_toml, keep_edits

TOOLKIT = "/usr/local/nvidia/toolkit"


def made(*flags: str, base: bytes | None = None, there: tuple[str, ...] = ()) -> dict[str, Any]:
    return tomllib.loads(text(*flags, base=base, there=there).decode())


def text(*flags: str, base: bytes | None = None, there: tuple[str, ...] = ()) -> bytes:
    return config_toml(
        base,
        settings=settings_of(*flags),
        toolkit_dir=TOOLKIT,
        runtimes=("/usr/bin/runc", "runc", "crun"),
        exists=there.__contains__,
    )


def test_defaults_name_the_installed_files_and_the_driver() -> None:
    config = made()
    assert config["accept-nvidia-visible-devices-envvar-when-unprivileged"] is True
    assert config["accept-nvidia-visible-devices-as-volume-mounts"] is False
    cli = config["nvidia-container-cli"]
    assert cli["root"] == "/run/nvidia/driver"
    assert cli["path"] == f"{TOOLKIT}/nvidia-container-cli"
    assert cli["ldconfig"] == "@/run/nvidia/driver/sbin/ldconfig"
    assert "debug" not in cli
    assert config["nvidia-ctk"]["path"] == f"{TOOLKIT}/nvidia-ctk"
    hook = config["nvidia-container-runtime-hook"]
    assert hook == {"path": f"{TOOLKIT}/nvidia-container-runtime-hook", "skip-mode-detection": True}
    runtime = config["nvidia-container-runtime"]
    assert runtime["runtimes"] == ["/usr/bin/runc", "runc", "crun"]
    assert runtime["mode"] == "auto"
    assert runtime["modes"]["cdi"]["default-kind"] == "nvidia.com/gpu"


def test_every_option_reaches_its_key() -> None:
    config = made(
        "--nvidia-container-runtime.debug=/var/log/runtime.log",
        "--nvidia-container-runtime.log-level=debug",
        "--nvidia-container-runtime.mode=cdi",
        "--nvidia-container-runtime.modes.cdi.default-kind=management.nvidia.com/gpu",
        "--nvidia-container-runtime.modes.cdi.annotation-prefixes=nvidia.cdi.k8s.io/,x.io/",
        "--nvidia-container-runtime-hook.skip-mode-detection=false",
        "--nvidia-container-cli.debug=/var/log/cli.log",
        "--accept-nvidia-visible-devices-envvar-when-unprivileged=false",
        "--accept-nvidia-visible-devices-as-volume-mounts=true",
        "--opt-in-features=disable-imex-channel-creation,allow-ldconfig-from-container",
        "--driver-root=/",
    )
    runtime = config["nvidia-container-runtime"]
    assert runtime["debug"] == "/var/log/runtime.log"
    assert runtime["log-level"] == "debug"
    assert runtime["mode"] == "cdi"
    cdi = runtime["modes"]["cdi"]
    assert cdi["default-kind"] == "management.nvidia.com/gpu"
    assert cdi["annotation-prefixes"] == ["nvidia.cdi.k8s.io/", "x.io/"]
    assert config["nvidia-container-runtime-hook"]["skip-mode-detection"] is False
    assert config["nvidia-container-cli"]["debug"] == "/var/log/cli.log"
    assert config["nvidia-container-cli"]["root"] == "/"
    assert config["nvidia-container-cli"]["ldconfig"] == "@/sbin/ldconfig"
    assert config["accept-nvidia-visible-devices-envvar-when-unprivileged"] is False
    assert config["accept-nvidia-visible-devices-as-volume-mounts"] is True
    assert config["features"] == {
        "disable-imex-channel-creation": True,
        "allow-ldconfig-from-container": True,
    }


@pytest.mark.parametrize(
    ("shipped", "there", "expected"),
    [
        ("@/sbin/ldconfig", (), "@/d/sbin/ldconfig"),
        ("@/sbin/ldconfig.real", (), "@/d/sbin/ldconfig"),
        ("@/sbin/ldconfig", ("/d/sbin/ldconfig.real",), "@/d/sbin/ldconfig.real"),
        ("@/d/sbin/ldconfig", (), "@/d/sbin/ldconfig"),
        ("/usr/sbin/ldconfig", (), "@/d/usr/sbin/ldconfig"),
    ],
)
def test_ldconfig_is_the_driver_s_own(shipped: str, there: tuple[str, ...], expected: str) -> None:
    base = f'[nvidia-container-cli]\nldconfig = "{shipped}"\n'.encode()
    assert made("--driver-root=/d", base=base, there=there)["nvidia-container-cli"]["ldconfig"] == (
        expected
    )


def test_comments_and_unknown_keys_of_the_package_s_file_stay() -> None:
    base = b"# Said by the package\nnew-key = 7\n\n"
    base += b'[nvidia-container-cli]\n#debug = "/x"\n[extra]\na = 1\n'
    made_text = text(base=base)
    assert b"# Said by the package\nnew-key = 7\n" in made_text
    assert b'#debug = "/x"\n' in made_text
    assert made(base=base)["extra"] == {"a": 1}


def test_a_package_s_file_that_does_not_parse_is_named() -> None:
    with pytest.raises(PayloadError, match="the payload's own etc/nvidia-container-runtime"):
        text(base=b"[broken\n")


def test_an_edit_wins_over_a_changed_default_and_other_changes_are_taken() -> None:
    old, new = text("--driver-root=/old"), text("--driver-root=/new")
    edited = old.replace(b'mode = "auto"', b'mode = "csv"  # ours')
    kept = keep_edits(old, edited, new, "config.toml")
    assert b'mode = "csv"  # ours' in kept
    assert tomllib.loads(kept.decode())["nvidia-container-cli"]["root"] == "/new"
