"""What the site has there already: its spelling, its other handlers, sandboxes and old shims."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.dockerd import RealDockerd
from testbed.program import HANDLERS, Installer, snapshot
from tests.engine.marks import Marks
from tests.unit.containerd.hosts import V2, V3

pytestmark = pytest.mark.engine

RUNC = "runtime_type = 'io.containerd.runc.v2'"


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    """The program, told of this engine."""
    program = Installer(
        containerd.directory,
        {
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": str(containerd.config),
            "CONTAINERD_SOCKET": str(containerd.socket),
            "RUNTIME_DROP_IN_CONFIG": str(containerd.config.parent / "conf.d/99-nvidia.toml"),
        },
    )
    yield program
    program.end()


def config(engine: RealContainerd, handlers: Mapping[str, tuple[str, str]]) -> str:
    """Return a config of the newest version that the engine reads: each handler's two tables."""
    new = engine.release.series.startswith("2")
    plugin = f"[plugins.'{V3 if new else V2}'.containerd"
    text = f"version = {3 if new else 2}\n{plugin}]\ndefault_runtime_name = 'runc'\n"
    for name, (table, options) in handlers.items():
        text += f"{plugin}.runtimes.{name}]\n{table}\n"
        if options:
            text += f"{plugin}.runtimes.{name}.options]\n{options}\n"
    return text


def options(engine: RealContainerd, handler: str) -> dict[str, Any]:
    """Return a handler's options as CRI reports them."""
    found: dict[str, Any] = engine.cri.served().config["containerd"]["runtimes"][handler]
    return dict(found["options"])


def low_level(installer: Installer) -> list[str]:
    """Return the low-level runtimes that the NVIDIA runtime is told of."""
    path = ".config/nvidia-container-runtime/config.toml"
    text = (installer.install_dir / "toolkit" / path).read_text()
    return list(tomllib.loads(text)["nvidia-container-runtime"]["runtimes"])


def set_up(containerd: RealContainerd, installer: Installer) -> None:
    containerd.start()
    containerd.import_image()
    installer.start()
    installer.wait_ready()
    done = installer.run("verify")
    assert done.returncode == 0, done.stderr


def refused(installer: Installer, *words: str) -> None:
    """Assert that neither plan nor a setup goes on, for a reason with these words."""
    for command in ("plan", "--no-daemon"):
        done = installer.run(command)
        assert done.returncode == 1, done.stdout + done.stderr
        assert all(word in done.stderr for word in words), done.stderr
    assert not (installer.install_dir / "toolkit").exists()


def test_options_in_another_spelling_are_inherited_in_one(
    containerd: RealContainerd, installer: Installer
) -> None:
    marks = Marks(containerd)
    site = marks.binary("site-runc")
    lower = f"systemdCgroup = false\nbinaryName = '{site}'"
    containerd.config.write_text(config(containerd, {"runc": (RUNC, lower)}))
    before = snapshot(containerd.config.parent)
    set_up(containerd, installer)
    for name, binary in installer.binaries().items():
        found = options(containerd, name)
        assert len({key.lower() for key in found}) == len(found)
        assert found["BinaryName"] == binary
        assert found["SystemdCgroup"] is False
    assert low_level(installer)[0] == site
    marks.clear()
    assert containerd.cri.run_to_end("nvidia", ("/bin/echo", "hi")) == "hi"
    assert marks.left() == {"site-runc"}
    assert installer.stop() == 0, installer.log()
    assert snapshot(containerd.config.parent) == before


@pytest.mark.parametrize("form", ["binaryName = 'OLD'", "BinaryName = 'OLD'\nBINARYNAME = 'OLD'"])
def test_a_handler_of_our_name_keeps_one_spelling(
    containerd: RealContainerd, installer: Installer, form: str
) -> None:
    marks = Marks(containerd)
    old = form.replace("OLD", marks.binary("old"))
    text = config(containerd, {"runc": (RUNC, ""), "nvidia": (RUNC, old)})
    containerd.config.write_text(text)
    before = snapshot(containerd.config.parent)
    if "\n" in form and containerd.release.series.startswith("2"):
        # The file is not ours there, and no drop-in takes a key away.
        containerd.start()
        refused(installer, "handler nvidia", "BinaryName, BINARYNAME")
        assert snapshot(containerd.config.parent) == before
        return
    set_up(containerd, installer)
    found = options(containerd, "nvidia")
    assert [value for key, value in found.items() if key.lower() == "binaryname"] == [
        installer.binary("nvidia")
    ]
    assert ("binaryName" in found) == ("\n" not in form)
    marks.clear()
    containerd.cri.run_to_end("nvidia", ("/bin/true",))
    assert marks.left() == {"runc"}
    assert installer.stop() == 0, installer.log()
    assert snapshot(containerd.config.parent) == before


def test_our_keys_that_somebody_spells_in_another_way_are_undone_too(
    containerd: RealContainerd, installer: Installer
) -> None:
    marks = Marks(containerd)
    old = marks.binary("old")
    text = config(containerd, {"runc": (RUNC, ""), "nvidia": (RUNC, f"binaryName = '{old}'")})
    containerd.config.write_text(text)
    containerd.start()
    installer.start("--reconcile-interval=0")
    installer.wait_ready()
    for path in containerd.config.parent.rglob("*.toml"):
        now = path.read_text().replace("binaryName", "BinaryName")
        path.write_text(now + "# seen\n")
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert not {"nvidia-cdi", "nvidia-legacy"} & set(containerd.cri.served().handlers)
    left = tomllib.loads(containerd.config.read_text())["plugins"]
    found = next(iter(left.values()))["containerd"]["runtimes"]["nvidia"]["options"]
    assert {key.lower(): value for key, value in found.items()} == {"binaryname": old}
    assert str(installer.install_dir) not in containerd.config.read_text()


def test_another_handlers_binary_is_no_low_level_runtime(
    containerd: RealContainerd, installer: Installer
) -> None:
    marks = Marks(containerd)
    crun = f"BinaryName = '{marks.binary('crun')}'\nSystemdCgroup = false"
    handlers = {"runc": (RUNC, "SystemdCgroup = false"), "crun-wasm": (RUNC, crun)}
    containerd.config.write_text(config(containerd, handlers))
    set_up(containerd, installer)
    assert low_level(installer) == ["runc", "crun"]
    marks.clear()
    containerd.cri.run_to_end("nvidia", ("/bin/true",))
    assert marks.left() == {"runc"}
    assert installer.stop() == 0, installer.log()


SANDBOXES = {
    "gvisor": ("runtime_type = 'io.containerd.runsc.v1'", "io.containerd.runsc.v1"),
    "kata": ("runtime_type = 'io.containerd.kata-qemu.v2'", "io.containerd.kata-qemu.v2"),
    "unknown": ("runtime_type = 'io.containerd.runc-fp.v1'", "io.containerd.runc-fp.v1"),
    "by a path": (
        "runtime_type = '/opt/kata/bin/containerd-shim-kata-v2'",
        "/opt/kata/bin/containerd-shim-kata-v2",
    ),
    "behind runc's type": (
        f"{RUNC}\nruntime_path = '/opt/kata/bin/containerd-shim-kata-v2'",
        "runtime_path /opt/kata/bin/containerd-shim-kata-v2",
    ),
}


@pytest.mark.parametrize(
    ("containerd_release", "kind"),
    [
        (RELEASES[0], "gvisor"),
        *((RELEASES[1], each) for each in SANDBOXES),
        (RELEASES[2], "gvisor"),
        (RELEASES[2], "behind runc's type"),
    ],
    indirect=["containerd_release"],
    ids=lambda each: each if isinstance(each, str) else each.series,
)
def test_a_handler_of_our_name_that_is_a_sandbox_is_refused_before_a_byte(
    containerd: RealContainerd, installer: Installer, kind: str
) -> None:
    table, words = SANDBOXES[kind]
    text = config(containerd, {"runc": (RUNC, ""), "nvidia": (table, "TypeUrl = 'x'")})
    containerd.config.write_text(text)
    containerd.start()
    before, pid = snapshot(containerd.config.parent), containerd.process.pid
    refused(installer, str(containerd.config), "handler nvidia", words, "--runtime-name")
    assert snapshot(containerd.config.parent) == before
    assert containerd.process.pid == pid
    if kind == "gvisor":
        installer.start("--runtime-name=gpu")
        installer.wait_ready()
        served = containerd.cri.served()
        assert served.handlers["gpu"] == installer.binary("nvidia")
        assert installer.stop() == 0, installer.log()
        assert snapshot(containerd.config.parent) == before


@pytest.mark.parametrize("containerd_release", RELEASES[:2], indirect=True, ids=["1.6", "1.7"])
def test_a_leftover_of_the_old_shim_loses_the_keys_that_it_alone_knows(
    containerd: RealContainerd, installer: Installer
) -> None:
    marks = Marks(containerd)
    old = "runtime_type = 'io.containerd.runtime.v1.linux'"
    left = f"{old}\nruntime_engine = '{marks.binary('old')}'\nRuntime_Root = '/x'"
    containerd.config.write_text(
        config(
            containerd,
            {"runc": (RUNC, ""), "nvidia": (f"{left}\nruntime_root = '/run/old'", "")},
        )
    )
    before = snapshot(containerd.config.parent)
    set_up(containerd, installer)
    found = containerd.cri.served().config["containerd"]["runtimes"]["nvidia"]
    assert found["runtimeType"] == "io.containerd.runc.v2"
    assert not found["runtimeEngine"]
    assert not found["runtimeRoot"]
    marks.clear()
    containerd.cri.run_to_end("nvidia", ("/bin/true",))
    assert marks.left() == {"runc"}
    assert installer.stop() == 0, installer.log()
    assert snapshot(containerd.config.parent) == before


@pytest.mark.parametrize("containerd_release", RELEASES[:2], indirect=True, ids=["1.6", "1.7"])
@pytest.mark.parametrize("key", ["runtime_engine", "Runtime"])
def test_handlers_are_not_derived_for_the_old_shim(
    containerd: RealContainerd, installer: Installer, key: str
) -> None:
    marks = Marks(containerd)
    named = f"{key} = '{marks.binary('site')}'"
    old = "runtime_type = 'io.containerd.runtime.v1.linux'"
    runc = (old, named) if key == "Runtime" else (f"{old}\n{named}", "")
    containerd.config.write_text(config(containerd, {"runc": runc}))
    set_up(containerd, installer)
    assert low_level(installer)[0] == marks.path("site")
    marks.clear()
    containerd.cri.run_to_end("nvidia", ("/bin/true",))
    assert marks.left() == {"site"}
    assert installer.stop() == 0, installer.log()


SHIMS = {
    "by a path as its type": "runtime_type = 'SHIM'",
    "by a path beside its type": f"{RUNC}\nruntime_path = 'SHIM'",
    "under another prefix": "runtime_type = 'site.own.runc.v2'",
    "of the first version": "runtime_type = 'io.containerd.runc.v1'",
}


@pytest.mark.parametrize(
    ("kind", "whose"),
    [*((kind, "runc") for kind in SHIMS), ("by a path as its type", "nvidia")],
)
def test_a_shim_of_runc_under_another_name_starts_our_binary(
    containerd: RealContainerd, installer: Installer, kind: str, whose: str
) -> None:
    marks = Marks(containerd)
    shim = containerd.directory / "opt/containerd-shim-runc-v2"
    shim.parent.mkdir()
    shutil.copy(containerd.release.programs / "containerd-shim-runc-v2", shim)
    table = SHIMS[kind].replace("SHIM", str(shim))
    handlers = {"runc": (RUNC, ""), whose: (f"{table}\nsnapshotter = 'overlayfs'", "")}
    containerd.config.write_text(config(containerd, handlers))
    set_up(containerd, installer)
    found = containerd.cri.served().config["containerd"]["runtimes"]["nvidia"]
    if "path" in kind:
        assert found["runtimePath"] == str(shim)
    kept = kind == "of the first version" and whose == "runc"
    old = kept and containerd.release.series.startswith("1")
    assert found["runtimeType"] == f"io.containerd.runc.v{1 if old else 2}"
    marks.clear()
    containerd.cri.run_to_end("nvidia", ("/bin/true",))
    assert marks.left() == {"runc"}
    assert installer.stop() == 0, installer.log()


@pytest.fixture
def docker_installer(dockerd: RealDockerd) -> Iterator[Installer]:
    """The program, told of a dockerd."""
    program = Installer(dockerd.directory, dockerd.variables)
    yield program
    program.end()


def test_another_runtimes_binary_is_none_of_dockers_either(
    dockerd: RealDockerd, docker_installer: Installer
) -> None:
    kata = dockerd.directory / "kata"
    shutil.copy("/bin/true", kata)
    dockerd.write({"runtimes": {"kata": {"Path": str(kata)}}})
    before = dockerd.config.read_bytes()
    dockerd.start()
    docker_installer.start()
    docker_installer.wait_ready()
    assert low_level(docker_installer) == ["runc", "crun"]
    assert docker_installer.stop() == 0, docker_installer.log()
    assert dockerd.config.read_bytes() == before


@pytest.mark.parametrize("key", ["runtimeType", "RuntimeType"])
def test_a_docker_runtime_of_our_name_that_is_a_sandbox_is_refused_before_a_byte(
    dockerd: RealDockerd, docker_installer: Installer, key: str
) -> None:
    dockerd.write({"runtimes": {"nvidia": {key: "io.containerd.runsc.v1", "options": {}}}})
    before = snapshot(dockerd.config.parent)
    dockerd.start()
    refused(docker_installer, '"nvidia"', "io.containerd.runsc.v1", "--runtime-name")
    assert snapshot(dockerd.config.parent) == before
    assert dockerd.reloads() == 0


def test_a_docker_runtime_in_another_spelling_is_ours_afterwards(
    dockerd: RealDockerd, docker_installer: Installer
) -> None:
    old = Path(dockerd.directory / "bin/runc")
    dockerd.write({"runtimes": {"nvidia": {"path": "/else", "Path": str(old)}}})
    before = dockerd.config.read_bytes()
    dockerd.start()
    docker_installer.start()
    docker_installer.wait_ready()
    written = json.loads(dockerd.config.read_text())["runtimes"]["nvidia"]
    assert written == {"Path": docker_installer.binary("nvidia")}
    assert dockerd.info()["Runtimes"]["nvidia"]["path"] == docker_installer.binary("nvidia")
    assert set(HANDLERS) <= set(dockerd.info()["Runtimes"])
    assert docker_installer.stop() == 0, docker_installer.log()
    assert dockerd.config.read_bytes() == before
