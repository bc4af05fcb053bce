"""The ``config.toml`` of the installed NVIDIA runtime: the package's own, with our keys set."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.merge import merge3
from runtime_configs.formats.values import KeyPath, lookup
from runtime_configs.model import ConfigError, Format
from toolkit.errors import PayloadError
from toolkit.payload.source import CLI, CTK, HOOK, RUNTIME
from toolkit.settings import Settings

DEFAULT = """\
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"

[nvidia-container-cli]
environment = []
ldconfig = "@/sbin/ldconfig"
load-kmods = true

[nvidia-ctk]

[nvidia-container-runtime]
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]

[nvidia-container-runtime.modes.csv]
mount-spec-path = "/etc/nvidia-container-runtime/host-files-for-container.d"

[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "ldconfig"

[nvidia-container-runtime-hook]
"""
"""The runtime's own defaults, for a package that ships no file."""

_SHIPPED = "etc/nvidia-container-runtime/config.toml"
_LDCONFIG = ("nvidia-container-cli", "ldconfig")


def config_toml(
    base: bytes | None,
    *,
    settings: Settings,
    toolkit_dir: str,
    runtimes: tuple[str, ...],
    exists: Callable[[str], bool],
) -> bytes:
    """Return the file's text. ``exists`` tests a host path.

    Raises PayloadError if the package's own file does not parse.
    """
    text = base if base is not None else DEFAULT.encode()
    try:
        ldconfig = lookup(load(text, Format.TOML, path=_SHIPPED), _LDCONFIG)
        values = _values(settings, toolkit_dir, runtimes)
        values[_LDCONFIG] = _driver_ldconfig(
            ldconfig if isinstance(ldconfig, str) else "@/sbin/ldconfig",
            settings.driver.root,
            exists,
        )
        changes = [Change(path=path, value=value) for path, value in values.items()]
        return apply_changes(text, changes, Format.TOML, path=_SHIPPED)
    except ConfigError as error:
        raise PayloadError(f"the payload's own {error}", "fix the payload") from error


def _values(
    settings: Settings, toolkit_dir: str, runtimes: tuple[str, ...]
) -> dict[KeyPath, object]:
    chosen = settings.runtime_config
    values: dict[KeyPath, object] = {
        (
            "accept-nvidia-visible-devices-envvar-when-unprivileged",
        ): chosen.accept_envvar_when_unprivileged,
        ("accept-nvidia-visible-devices-as-volume-mounts",): chosen.accept_volume_mounts,
        ("nvidia-container-cli", "root"): settings.driver.root,
        ("nvidia-container-cli", "path"): posixpath.join(toolkit_dir, CLI),
        ("nvidia-ctk", "path"): posixpath.join(toolkit_dir, CTK),
        (HOOK, "path"): posixpath.join(toolkit_dir, HOOK),
        (HOOK, "skip-mode-detection"): chosen.skip_mode_detection,
        (RUNTIME, "runtimes"): list(runtimes),
    }
    optional: dict[KeyPath, object] = {
        (RUNTIME, "debug"): chosen.debug,
        (RUNTIME, "log-level"): chosen.log_level,
        (RUNTIME, "mode"): chosen.mode,
        (RUNTIME, "modes", "cdi", "default-kind"): chosen.default_kind,
        (RUNTIME, "modes", "cdi", "annotation-prefixes"): list(chosen.annotation_prefixes),
        ("nvidia-container-cli", "debug"): chosen.cli_debug,
    }
    values.update({path: value for path, value in optional.items() if value})
    values.update({("features", name): True for name in chosen.opt_in_features})
    return values


def _driver_ldconfig(base: str, driver_root: str, exists: Callable[[str], bool]) -> str:
    """Return the driver's ldconfig; ``@`` means a path on the host.

    On Ubuntu /sbin/ldconfig is a script around ldconfig.real, which cannot run in a container.
    """
    plain = base.removeprefix("@").removesuffix(".real")
    if driver_root.rstrip("/") and (plain + "/").startswith(driver_root.rstrip("/") + "/"):
        path = plain
    else:
        path = posixpath.join(driver_root, plain.lstrip("/"))
    return f"@{path}.real" if exists(f"{path}.real") else f"@{path}"


def keep_edits(ours_before: bytes, now: bytes, ours: bytes, path: str) -> bytes:
    """Return the edited file, updated with the changes between our two versions.

    A key changed on both sides keeps the edit. Raises PayloadError if the edited file does not
    parse.
    """
    try:
        return merge3(ours, ours_before, now, Format.TOML, path=path) or ours
    except ConfigError as error:
        raise _unusable(path, error) from error


def with_mode(config: bytes, mode: str, path: str) -> bytes:
    """Return the config of a runtime with a fixed mode, whatever ``config`` says.

    ``path`` is the host path of ``config``. Raises PayloadError if it does not parse.
    """
    change = Change(path=(RUNTIME, "mode"), value=mode)
    try:
        text = apply_changes(config, [change], Format.TOML, path=path)
    except ConfigError as error:
        raise _unusable(path, error) from error
    origin = f"# Made by nvidia-toolkit from {path}, with this mode: edit that file.\n"
    return origin.encode() + text


def _unusable(path: str, error: ConfigError) -> PayloadError:
    message = f"{path} was edited and does not parse: {error.message}"
    return PayloadError(message, "fix or remove it")
