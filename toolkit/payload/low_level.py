"""The engine's low-level runtimes, which the NVIDIA runtime starts containers with."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from runtime_configs.model import EffectiveConfig, EngineName, ServedHandler
from runtime_configs.shims import starts_runc
from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot
from toolkit.host.regular import open_regular
from toolkit.payload.source import RUNTIME
from toolkit.payload.wrappers import CONFIG_PATH
from toolkit.settings import Settings

USUAL = ("runc", "crun")
"""Names that the NVIDIA runtime looks up in its own search path, in this order."""

_DIRECTORIES = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/libexec/crio",
    "/var/lib/rancher/k3s/data/current/bin",
    "/var/lib/rancher/rke2/bin",
    "/var/lib/k0s/bin",
    "/snap/microk8s/current/bin",
)
"""The search path of a service, then the distributions' own directories for runtimes."""
_FALLBACK = "/usr/bin/runc"
_ETC_CONFIG = "/etc/nvidia-container-runtime/config.toml"
_SCRIPT_LIMIT = 1 << 16
_NESTING = 8
"""Maximum depth of NVIDIA runtimes that name one another."""


class LowLevelRuntimes(Struct, frozen=True, kw_only=True):
    """The runtimes for ``config.toml``, and the fallback of the wrappers. Host paths."""

    paths: tuple[str, ...]
    """Absolute paths first, then names to look up."""
    engine_runtime: str
    """An absolute path: the runtime for containers while the driver is not loaded."""


def low_level_runtimes(
    effective: EffectiveConfig | None,
    root: HostRoot,
    settings: Settings,
    search_path: tuple[str, ...] = (),
) -> LowLevelRuntimes:
    """Return the runtimes from the settings, else from the engine's handlers, the default first.

    ``search_path`` is the engine's own PATH, where it looks up a runtime without a path. An NVIDIA
    runtime is skipped, because it would start itself forever; the runtimes in its ``config.toml``
    are used instead.
    """
    given = settings.runtime_config.runtimes
    finder = _Finder(root, tuple(dict.fromkeys((*search_path, *_DIRECTORIES))))
    if given:
        found = [path for each in given for path in finder.low_level(each)]
        chosen = given
    else:
        served = _candidates(effective) if effective else (_installed(root, settings),)
        found = [path for each in served for path in finder.low_level(each)]
        absolute = tuple(dict.fromkeys(path for path in found if path.startswith("/")))
        chosen = (*absolute, *USUAL)
    usual = USUAL[::-1] if settings.runtime is EngineName.CRIO else USUAL
    fallback = (finder.in_search_path(name) for name in (*found, *usual))
    runtime = next((path for path in fallback if path is not None), _FALLBACK)
    return LowLevelRuntimes(paths=tuple(chosen), engine_runtime=runtime)


def _installed(root: HostRoot, settings: Settings) -> str:
    """Return the runtime of an earlier install, whose configured runtimes are kept."""
    return posixpath.join(root.host_path(settings.install_dir), "toolkit", RUNTIME)


def _candidates(effective: EffectiveConfig) -> tuple[str, ...]:
    """Return the OCI binaries of the default handler, ``runc`` and ``crun``.

    Other handlers are skipped: crun-wasm, sysbox or kata are for pods that request them, and a GPU
    pod does not.
    """
    names = dict.fromkeys((effective.default or "", *USUAL))
    found = (effective.handlers.get(name) for name in names)
    return tuple(
        dict.fromkeys(
            each.binary_path
            for each in found
            if each is not None and each.binary_path and _is_oci(each)
        )
    )


def _is_oci(handler: ServedHandler) -> bool:
    """Return whether a handler's binary has OCI's command line, and is not a shim of its own."""
    kind, path = handler.runtime_type or "", handler.table.get("runtime_path")
    return kind == "oci" or starts_runc(kind, path if kind and isinstance(path, str) else "")


class _Finder(Struct, frozen=True):
    root: HostRoot
    directories: tuple[str, ...]

    def low_level(self, binary: str, depth: int = 0) -> tuple[str, ...]:
        """Return the low-level runtimes behind a binary: itself unless it is an NVIDIA runtime."""
        path = binary if binary.startswith("/") else self.in_search_path(binary)
        if path is None or not self._is_nvidia(path):
            return (binary,)
        if depth >= _NESTING:
            return ()
        behind = (self.low_level(each, depth + 1) for each in self._named_by(path))
        return tuple(dict.fromkeys(each for found in behind for each in found))

    def in_search_path(self, name: str) -> str | None:
        """Return the absolute path of an existing runtime, or None."""
        places = (
            [name] if name.startswith("/") else [f"{place}/{name}" for place in self.directories]
        )
        for path in places:
            access = self._access(path)
            if access is not None and access.is_file() and os.access(access, os.X_OK):
                return None if self._is_nvidia(path) else path
        return None

    def _is_nvidia(self, path: str) -> bool:
        """Decide by the name, by a link's target, and by the program that a script starts."""
        if posixpath.basename(path).startswith(RUNTIME):
            return True
        access = self._access(path)
        if access is None:
            return False
        return access.name.startswith(RUNTIME) or RUNTIME in _script(access)

    def _named_by(self, path: str) -> Iterator[str]:
        """Yield the runtimes in the ``config.toml`` of an NVIDIA runtime."""
        for config in self._configs(path):
            access = self._access(config)
            if access is None or not access.is_file():
                continue
            try:
                table = tomllib.loads(access.read_text()).get(RUNTIME, {})
                yield from (str(each) for each in table.get("runtimes", ()))
            except (ValueError, AttributeError, TypeError, OSError):
                continue
            return

    def _configs(self, path: str) -> Iterator[str]:
        """Yield the paths where an NVIDIA runtime looks for its config, the likeliest first."""
        access = self._access(path)
        text = _script(access) if access is not None else ""
        for variable, rest in (
            ("NVIDIA_CTK_CONFIG_FILE_PATH", ""),
            ("XDG_CONFIG_HOME", "/nvidia-container-runtime/config.toml"),
        ):
            # An assignment before the command may be on a line that ends in a backslash.
            found = re.search(rf"\b{variable}=(.+?)[ \t]*\\?$", text, re.MULTILINE)
            if found:
                try:
                    yield shlex.split(found[1], comments=True)[0] + rest
                except (ValueError, IndexError):
                    continue
        yield posixpath.join(posixpath.dirname(path), CONFIG_PATH)
        if access is not None:
            yield posixpath.join(posixpath.dirname(self.root.host_of(str(access))), CONFIG_PATH)
        yield _ETC_CONFIG

    def _access(self, path: str) -> Path | None:
        try:
            return Path(self.root.access(path))
        except HostPathError:
            return None


def _script(path: Path) -> str:
    """Return the text of a script; empty for a binary or an unreadable file."""
    try:
        with open_regular(path) as file:
            start = file.read(_SCRIPT_LIMIT)
    except OSError:
        return ""
    return start.decode(errors="replace") if start.startswith(b"#!") else ""
