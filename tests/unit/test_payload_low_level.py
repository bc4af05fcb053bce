"""The low-level runtimes in ``config.toml``, and the one that a wrapper falls back on."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import EffectiveConfig, ServedHandler
from testbed.payload_host import PayloadHost, settings_of
from toolkit.payload.low_level import LowLevelRuntimes, low_level_runtimes

RUNC_V2 = "io.containerd.runc.v2"


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    return PayloadHost(tmp_path)


def program(host: PayloadHost, path: str, text: str = "#!/bin/sh\n") -> None:
    place = host.tree / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o755)


def served(default: str, **binaries: str | tuple[str | None, str]) -> EffectiveConfig:
    handlers = {}
    for name, binary in binaries.items():
        path, kind = binary if isinstance(binary, tuple) else (binary, RUNC_V2)
        handlers[name] = ServedHandler(name=name, binary_path=path, runtime_type=kind, table={})
    return EffectiveConfig(handlers=handlers, default=default, raw={})


def found(host: PayloadHost, effective: EffectiveConfig | None, *flags: str) -> LowLevelRuntimes:
    return low_level_runtimes(effective, host.root, settings_of(*flags))


def test_the_default_handler_s_binary_comes_first(host: PayloadHost) -> None:
    program(host, "/opt/bin/my-runc")
    program(host, "/usr/bin/runc")
    effective = served("mine", runc="/usr/bin/runc", mine="/opt/bin/my-runc")
    assert found(host, effective) == LowLevelRuntimes(
        paths=("/opt/bin/my-runc", "/usr/bin/runc", "runc", "crun"),
        engine_runtime="/opt/bin/my-runc",
    )


def test_without_an_engine_the_usual_names_are_looked_up(host: PayloadHost) -> None:
    program(host, "/usr/sbin/crun")
    assert found(host, None) == LowLevelRuntimes(
        paths=("runc", "crun"), engine_runtime="/usr/sbin/crun"
    )


def test_a_handler_without_a_binary_path_means_the_name_in_the_search_path(
    host: PayloadHost,
) -> None:
    program(host, "/usr/local/sbin/runc")
    effective = served("runc", runc=(None, RUNC_V2))
    assert found(host, effective).engine_runtime == "/usr/local/sbin/runc"


def test_a_shim_of_another_kind_is_no_low_level_runtime(host: PayloadHost) -> None:
    program(host, "/usr/bin/runc")
    effective = served("kata", kata=("/opt/kata/bin/kata", "io.containerd.kata.v2"))
    assert found(host, effective).paths == ("runc", "crun")


def nvidia_install(host: PayloadHost, directory: str, *runtimes: str) -> str:
    program(host, f"{directory}/nvidia-container-runtime")
    config = f"{directory}/.config/nvidia-container-runtime/config.toml"
    program(host, config, f"[nvidia-container-runtime]\nruntimes = {list(runtimes)}\n")
    return f"{directory}/nvidia-container-runtime"


def test_behind_an_nvidia_runtime_is_what_it_names_itself(host: PayloadHost) -> None:
    program(host, "/opt/bin/runc")
    ours = nvidia_install(host, "/usr/local/nvidia/toolkit", "/opt/bin/runc", "runc")
    effective = served("nvidia", nvidia=ours)
    assert found(host, effective) == LowLevelRuntimes(
        paths=("/opt/bin/runc", "runc", "crun"), engine_runtime="/opt/bin/runc"
    )


def test_an_nvidia_runtime_of_a_package_is_asked_by_its_file_in_etc(host: PayloadHost) -> None:
    program(host, "/usr/bin/crun")
    program(host, "/usr/bin/nvidia-container-runtime.cdi")
    config = "/etc/nvidia-container-runtime/config.toml"
    program(host, config, '[nvidia-container-runtime]\nruntimes = ["/usr/bin/crun"]\n')
    effective = served("nvidia", nvidia="/usr/bin/nvidia-container-runtime.cdi")
    assert found(host, effective).paths == ("/usr/bin/crun", "runc", "crun")


@pytest.mark.parametrize("way", ["link", "script"])
def test_an_nvidia_runtime_under_another_name_is_recognised(host: PayloadHost, way: str) -> None:
    ours = nvidia_install(host, "/opt/nvidia/toolkit", "/usr/bin/runc")
    program(host, "/usr/bin/runc")
    disguised = host.tree / "usr/bin/gpu-runtime"
    if way == "link":
        disguised.symlink_to(ours)
    else:
        config = "/opt/nvidia/toolkit/.config/nvidia-container-runtime/config.toml"
        program(
            host,
            "/usr/bin/gpu-runtime",
            f'#!/bin/sh\nNVIDIA_CTK_CONFIG_FILE_PATH={config} \\\n\texec {ours} "$@"\n',
        )
    effective = served("gpu", gpu="/usr/bin/gpu-runtime")
    assert found(host, effective) == LowLevelRuntimes(
        paths=("/usr/bin/runc", "runc", "crun"), engine_runtime="/usr/bin/runc"
    )


def test_nvidia_runtimes_that_name_each_other_end(host: PayloadHost) -> None:
    program(host, "/usr/bin/runc")
    first = nvidia_install(host, "/a", "/b/nvidia-container-runtime")
    nvidia_install(host, "/b", "/a/nvidia-container-runtime")
    assert found(host, served("a", a=first)) == LowLevelRuntimes(
        paths=("runc", "crun"), engine_runtime="/usr/bin/runc"
    )


def test_what_the_user_names_is_taken_as_it_is(host: PayloadHost) -> None:
    program(host, "/usr/bin/crun")
    flag = "--nvidia-container-runtime.runtimes=crun,runc"
    assert found(host, served("runc", runc="/x/runc"), flag) == LowLevelRuntimes(
        paths=("crun", "runc"), engine_runtime="/usr/bin/crun"
    )


def test_the_fallback_is_absolute_though_nothing_is_there(host: PayloadHost) -> None:
    assert found(host, None).engine_runtime == "/usr/bin/runc"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("crun-wasm", RUNC_V2), ("sysbox", RUNC_V2), ("kata", "oci"), ("other", None)],
)
def test_another_handler_s_binary_is_none(host: PayloadHost, name: str, kind: str | None) -> None:
    program(host, "/usr/bin/runc")
    program(host, "/opt/bin/other")
    effective = served("runc", runc=(None, RUNC_V2))
    binary = ServedHandler(name=name, binary_path="/opt/bin/other", runtime_type=kind, table={})
    effective = replace(effective, handlers={**effective.handlers, name: binary})
    assert found(host, effective) == LowLevelRuntimes(
        paths=("runc", "crun"), engine_runtime="/usr/bin/runc"
    )


@pytest.mark.parametrize(
    ("kind", "path", "counts"),
    [
        ("io.containerd.runc.v1", "", True),
        ("io.containerd.runtime.v1.linux", "", True),
        ("/opt/bin/containerd-shim-runc-v2", "", True),
        (RUNC_V2, "/opt/bin/site-shim", True),
        (RUNC_V2, "/opt/kata/bin/containerd-shim-kata-v2", False),
        ("/opt/kata/bin/containerd-shim-kata-v2", "", False),
        ("io.containerd.runc-fp.v1", "", False),
        ("vm", "", False),
    ],
)
def test_the_default_handler_counts_where_its_shim_is_one_of_runc(
    host: PayloadHost,
    kind: str,
    path: str,
    counts: bool,  # noqa: FBT001 - a column of the table
) -> None:
    handler = ServedHandler(
        name="site", binary_path="/site/runc", runtime_type=kind, table={"runtime_path": path}
    )
    effective = EffectiveConfig(handlers={"site": handler}, default="site", raw={})
    assert found(host, effective).paths == (*(("/site/runc",) if counts else ()), "runc", "crun")
