"""Configs of real distributions with the mistakes that people make in them."""

from __future__ import annotations

import copy
import random
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

GOLDEN = Path(__file__).parents[1] / "golden"
PARTS = "PARTS"
"""Stands for the directory of the files that a config imports."""
NAMES = {
    1: "cri",
    2: "io.containerd.grpc.v1.cri",
    3: "io.containerd.cri.v1.runtime",
    4: "io.containerd.cri.v1.runtime",
}
IMAGES = "io.containerd.cri.v1.images"
Table = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutated:
    """One config with the files beside it, and what was done to it."""

    files: dict[str, str]
    """By name below the directory; ``config.toml`` is the top-level one."""
    description: str


def mutated_configs(seed: int, count: int) -> Iterator[Mutated]:
    """Yield configs; the same seed gives the same ones."""
    chance = random.Random(seed)  # noqa: S311 - the same ones each time
    bases = sorted(_bases())
    for _ in range(count):
        origin, text = chance.choice(bases)
        document: Table = tomllib.loads(text)
        document.pop("imports", None)
        files: dict[str, str] = {}
        said = [origin]
        for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
            mutation = chance.choice(MUTATIONS)
            said.append(mutation(document, files, chance))
        if chance.random() < 0.1:
            said.append(_moved_into_an_import(document, files, chance))
        files["config.toml"] = tomlkit.dumps(document)
        if chance.random() < 0.05:
            said.append("broken text")
            files["config.toml"] += chance.choice(
                ("\n[x\n", "\nx = \n", "\nversion = 2\n", "\n]\n")
            )
        yield Mutated(files=files, description="; ".join(said))


def _bases() -> Iterator[tuple[str, str]]:
    """Yield each distribution's config without what leads to files of its own."""
    for path in GOLDEN.glob("*/*/before/**/*.toml"):
        origin = "/".join(path.relative_to(GOLDEN).parts[:2])
        text = path.read_text()
        # One that serves no pods at all is refused by its disabled_plugins, before any dry run.
        if path.name in ("config.toml", "containerd.toml") and '["cri"]' not in text:
            yield origin, text


def _version(document: Table) -> int:
    version = document.get("version", 1)
    return version if type(version) is int and version in NAMES else 2


def _cri(document: Table) -> Table:
    plugins = document.setdefault("plugins", {})
    if not isinstance(plugins, dict):
        return {}
    found = plugins.setdefault(NAMES[_version(document)], {})
    return found if isinstance(found, dict) else {}


def _table(above: Table, *names: str) -> Table:
    for name in names:
        below = above.setdefault(name, {})
        if not isinstance(below, dict):
            return {}
        above = below
    return above


def _registry(document: Table) -> Table:
    if _version(document) > 2:
        return _table(document, "plugins", IMAGES, "registry")
    return _table(_cri(document), "registry")


def _handler(document: Table, chance: random.Random) -> tuple[str, Table]:
    runtimes = _table(_cri(document), "containerd", "runtimes")
    name = chance.choice([*runtimes, "runc", "crun", "kata"])
    handler = _table(runtimes, name)
    handler.setdefault("runtime_type", "io.containerd.runc.v2")
    return name, handler


def _missing_import(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    name = chance.choice(("/nonexistent/x.toml", "gone.toml", "/nonexistent/*.toml", "*/none"))
    imports = document.setdefault("imports", [])
    if isinstance(imports, list):
        imports.append(name)
    return f"import {name}"


def _import(document: Table, files: dict[str, str], chance: random.Random) -> str:
    part: Table = {"version": chance.choice((1, 2, 2, 3)), "root": "/var/lib/x"}
    if chance.random() < 0.4:
        part["imports"] = [chance.choice(("/nonexistent/y.toml", f"{PARTS}/deep.toml"))]
    name = f"part{len(files)}.toml"
    files[name] = tomlkit.dumps(part)
    document.setdefault("imports", []).append(f"{PARTS}/{name}")
    return f"import of {part}"


def _moved_into_an_import(document: Table, files: dict[str, str], _chance: random.Random) -> str:
    files["plugins.toml"] = tomlkit.dumps(
        {"version": _version(document), "plugins": document.pop("plugins", {})}
    )
    document.setdefault("imports", []).append(f"{PARTS}/plugins*.toml")
    return "plugins in an import"


def _default(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    name = chance.choice(("", "kata", "crun", "runc", "RunC", 5))
    _table(_cri(document), "containerd")["default_runtime_name"] = name
    return f"default {name!r}"


def _config_path(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    registry = _registry(document)
    registry["config_path"] = chance.choice(("/etc/containerd/certs.d", "", "/nonexistent"))
    kind = chance.choice(("mirrors", "tls", "auth", "auths", "none"))
    if kind == "mirrors":
        _table(registry, "mirrors", "docker.io")["endpoint"] = ["https://mirror.example"]
    elif kind == "tls":
        _table(registry, "configs", "r.example", "tls")["insecure_skip_verify"] = True
    elif kind == "auth":
        _table(registry, "configs", "r.example", "auth")["username"] = "u"
    elif kind == "auths":
        url = chance.choice(("https://r.example", "http://[::1", "%zz"))
        _table(registry, "auths", url)["username"] = "u"
    return f"registry.config_path {registry['config_path']!r} and {kind}"


def _kind(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    name, handler = _handler(document, chance)
    key, value = chance.choice((
        ("runtime_type", "io.containerd.runtime.v1.linux"),
        ("runtime_type", "io.containerd.runsc.v1"),
        ("runtime_type", ""), ("runtime_type", 7), ("runtime_engine", "/usr/bin/x"),
        ("runtime_root", "/r"),
        ("privileged_without_host_devices_all_devices_allowed", True),
        ("privileged_without_host_devices", True), ("base_runtime_spec", "/nonexistent.json"),
        ("snapshotter", "nowhere"), ("sandboxer", "nobody"), ("sandbox_mode", "shim"),
        ("io_type", "streaming"), ("io_type", "pipe"), ("cni_conf_dir", "/etc/cni/x"),
        ("pod_annotations", ["a/*"]), ("pod_annotations", "a"), ("runtime_path", "/usr/bin/shim"),
        ("cgroup_writable", True), ("unheard_of", 1), ("options", 3),
    ))  # fmt: skip
    handler[key] = value
    return f"{name}.{key} = {value!r}"


def _options(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    name, handler = _handler(document, chance)
    options = _table(handler, "options")
    key, value = chance.choice((
        ("systemdCgroup", True), ("binaryName", "/usr/bin/crun"), ("BinaryName", 3),
        ("Binaryname", ""),
        ("SystemdCgroup", "yes"), ("Root", "/run/x"), ("NoSuchOption", 1), ("IoUid", -1),
        ("IoUid", "a"),
        ("TypeUrl", "runtimeoptions.v1.Options"), ("ShimCgroup", "/x"),
    ))  # fmt: skip
    options[key] = value
    return f"{name}.options.{key} = {value!r}"


def _of_cri(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    key, value = chance.choice((
        ("systemd_cgroup", True), ("systemd_cgroup", "true"), ("no_pivot", True),
        ("enable_cdi", "x"),
        ("enable_cdi", True), ("stream_idle_timeout", "4h"), ("stream_idle_timeout", "soon"),
        ("stream_server_port", "10010"), ("stream_server_address", "10.1.2.3"),
        ("sandbox_image", 5),
        ("drain_exec_sync_io_timeout", "0s"), ("drain_exec_sync_io_timeout", "5 s"),
        ("image_pull_progress_timeout", "1.5h"), ("image_pull_progress_timeout", "x"),
        ("max_container_log_line_size", -1), ("max_container_log_line_size", "16k"),
        ("enable_unprivileged_ports", True), ("enable_selinux", True),
        ("unset_seccomp_profile", "/nowhere"),
        ("disable_tcp_service", False), ("enable_tls_streaming", True),
        ("cdi_spec_dirs", "/etc/cdi"),
        ("cdi_spec_dirs", ["/etc/cdi"]), ("unknown_key", {"a": 1}), ("cni", 1),
        ("containerd", []),
        ("x509_key_pair_streaming", {"tls_cert_file": "/no", "tls_key_file": "/no"}),
        ("device_ownership_from_security_context", True), ("netns_mounts_under_state_dir", True),
    ))  # fmt: skip
    _cri(document)[key] = value
    return f"cri.{key} = {value!r}"


def _cni(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    key, value = chance.choice((
        ("bin_dir", "/usr/libexec/cni"), ("bin_dirs", ["/a", "/b"]),
        ("conf_dir", "/nonexistent/net.d"),
        ("max_conf_num", 0), ("max_conf_num", "1"), ("ip_pref", "ipv9"),
        ("conf_template", "/nowhere"),
    ))  # fmt: skip
    _table(_cri(document), "cni")[key] = value
    return f"cni.{key} = {value!r}"


def _snapshotter(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    name = chance.choice(
        ("overlay", "native", "overlayfs", "stargz", "btrfs", "zfs", "devmapper", 1)
    )
    if _version(document) > 2:
        _table(document, "plugins", IMAGES)["snapshotter"] = name
    else:
        _table(_cri(document), "containerd")["snapshotter"] = name
    if name == "stargz" and chance.random() < 0.5:
        document["proxy_plugins"] = {
            "stargz": {"type": "snapshot", "address": "/run/stargz/stargz.sock"}
        }
        return "stargz as a proxy plugin"
    return f"snapshotter {name!r}"


def _config_version(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    version = chance.choice((1, 2, 3, 4, 99, "2", None))
    document.pop("version", None)
    if version is not None:
        document["version"] = version
    return f"version {version!r}"


def _of_the_daemon(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    key, value = chance.choice((
        ("debug", {"address": "/run/containerd/debug.sock", "level": "debug"}),
        ("debug", {"level": "loud"}),
        ("debug", {"format": "json"}), ("grpc", {"address": "/run/other/containerd.sock"}),
        ("grpc", {"max_recv_message_size": "x"}), ("grpc", 1),
        ("ttrpc", {"address": "/run/other/t.sock"}),
        ("metrics", {"address": "127.0.0.1:1338"}), ("root", "/var/lib/elsewhere"), ("root", 1),
        ("debug", {"level": "Error"}), ("debug", {"format": "xml"}),
        ("state", "/var/lib/containerd"),
        ("metrics", {"address": "everywhere"}), ("metrics", {"address": "10.1.2.3:1338"}),
        ("grpc", {"tcp_address": "127.0.0.1:0"}), ("grpc", {"tcp_address": "no port"}),
        ("state", "relative/state"), ("oom_score", 0), ("oom_score", "low"), ("temp", ""),
        ("disabled_plugins", ["io.containerd.snapshotter.v1.zfs"]),
        ("disabled_plugins", ["aufs"]),
        ("disabled_plugins", "cri"), ("required_plugins", ["io.containerd.grpc.v1.cri"]),
        ("required_plugins", ["io.containerd.snapshotter.v1.nowhere"]), ("plugin_dir", ""),
        ("timeouts", {"io.containerd.timeout.task.state": "2s"}),
        ("timeouts", {"io.containerd.timeout.task.state": "late"}), ("timeouts", 2),
        ("proxy_plugins", {"x": {"type": "strange", "address": "/x"}}),
        ("stream_processors", {"p": {"accepts": "text", "path": "p"}}), ("imports", "a.toml"),
        ("imports", [1]), ("nonsense", True), ("plugins", 1),
    ))  # fmt: skip
    document[key] = copy.deepcopy(value)
    return f"{key} = {value!r}"


def _other_plugin(document: Table, _files: dict[str, str], chance: random.Random) -> str:
    name, key, value = chance.choice((
        ("io.containerd.gc.v1.scheduler", "schedule_delay", "fast"),
        ("io.containerd.gc.v1.scheduler", "pause_threshold", 0.02),
        ("io.containerd.snapshotter.v1.overlayfs", "root_path", "/nonexistent/overlay"),
        ("io.containerd.snapshotter.v1.devmapper", "pool_name", "pool"),
        ("io.containerd.metadata.v1.bolt", "content_sharing_policy", "weird"),
        ("io.containerd.runtime.v2.task", "platforms", "linux"),
        ("io.containerd.nri.v1.nri", "disable", False),
        ("io.containerd.nri.v1.nri", "plugin_registration_timeout", "x"),
        ("io.containerd.internal.v1.opt", "path", "/nonexistent/opt"),
        ("io.containerd.service.v1.diff-service", "default", ["nowhere"]),
        ("io.containerd.unknown.v1.thing", "a", 1),
    ))  # fmt: skip
    _table(document, "plugins", name)[key] = value
    return f"{name}.{key} = {value!r}"


MUTATIONS: tuple[Callable[[Table, dict[str, str], random.Random], str], ...] = (
    _missing_import, _import, _default, _config_path, _kind, _kind, _options, _of_cri, _of_cri,
    _cni, _snapshotter, _config_version, _of_the_daemon, _of_the_daemon, _other_plugin,
)  # fmt: skip
