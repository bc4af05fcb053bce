"""What the README and the pages show of a run is what a real one prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, real_containerd
from testbed.packages import REPOSITORY
from testbed.program import Installer
from tests.documented import shows

pytestmark = pytest.mark.engine


def shown() -> list[str]:
    """Return the lines of the README's block, those that are left out aside."""
    readme = (REPOSITORY / "README.md").read_text()
    block = readme.partition("What `make demo` prints")[2].split("```")[1]
    return [line for line in block.strip().splitlines() if line.strip() != "| ..."]


def words(line: str) -> list[str]:
    """Return a line's words, whatever the versions and directories of this run are."""
    line = re.sub(r"/tmp/(demo|ctd-\w+)/", "DIR/", line)
    return re.sub(r"\b\d+\.\d+\.\d+[\w+~.-]*", "VERSION", line).split()


def test_the_readme_shows_what_the_demo_prints() -> None:
    if not Path(REPOSITORY / ".venv/bin/nvidia-toolkit").exists():
        pytest.skip("the demo runs the program of the virtual environment")
    done = subprocess.run(
        (sys.executable, "-m", "demo"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = iter([words(line) for line in done.stdout.splitlines()])
    for line in shown():
        wanted = words(line)
        assert any(_has(real, wanted) for real in printed), f"{line}\n\n{done.stdout}"


def _has(real: list[str], wanted: list[str]) -> bool:
    """Tell whether a line has these words in their order, with others in between."""
    rest = iter(real)
    return all(word in rest for word in wanted)


def usual(text: str, directory: Path) -> str:
    """Return an output with the paths of a node, and without what each payload has of its own."""
    for name, path in (
        ("etc/", "/etc/containerd/"),
        ("nvidia", "/usr/local/nvidia"),
        ("run/", "/run/nvidia/toolkit/"),
        ("containerd.sock", "/run/containerd/containerd.sock"),
        ("payload", "/artifacts/deb"),
    ):
        text = text.replace(f"{directory}/{name}", path)
    text = re.sub(r" \((RUNTIME|CONTAINERD|TOOLKIT)_\w+\)", "", text)
    text = re.sub(r"\b\d+\.\d+\.\d+[\w+~.-]*", "VERSION", text)
    return re.sub(r"digest [0-9a-f]{12}, \d+ bytes", "digest D, N bytes", text)


def test_the_page_of_the_commands_shows_the_plans_of_a_real_run() -> None:
    page = (REPOSITORY / "docs/commands.md").read_text()
    (block,) = re.findall(r"```console\n\$ nvidia-toolkit plan\n(.*?)```", page, re.DOTALL)
    with real_containerd(RELEASES[-1]) as engine:
        engine.start()
        installer = Installer(
            engine.directory,
            {
                "RUNTIME": "containerd",
                "CONTAINERD_CONFIG": str(engine.config),
                "RUNTIME_DROP_IN_CONFIG": str(engine.config.parent / "conf.d/99-nvidia.toml"),
                "CONTAINERD_SOCKET": str(engine.socket),
            },
        )
        printed = [installer.run("plan").stdout]
        done = installer.run("--no-daemon")
        assert done.returncode == 0, done.stderr
        printed.append(installer.run("plan").stdout)
        installer.run("revert")
    nowhere = Path("/nowhere")
    first, second = (usual(each, engine.directory) for each in printed)
    assert shows(usual(block, nowhere), first), first
    assert all(line.startswith("# ") for line in second.splitlines())
    assert f"`{second.splitlines()[-1]}`" in page
