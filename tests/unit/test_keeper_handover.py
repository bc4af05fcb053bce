"""A stop goes on in the keeper's process; a program that can't be loaded so is started again."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.program import Installer
from testbed.supervised import wait_for

CONFIG = "version = 2\n"


def private_environment(directory: Path) -> Path:
    """Return an interpreter with our packages that a test can take away."""
    ours = Path(sys.prefix)
    (directory / "bin").mkdir(parents=True)
    (directory / "lib").symlink_to(ours / "lib")
    (directory / "pyvenv.cfg").write_text((ours / "pyvenv.cfg").read_text())
    interpreter = directory / "bin/python"
    interpreter.symlink_to(Path(sys.executable).resolve())
    return interpreter


@pytest.fixture
def installer(tmp_path: Path) -> Iterator[Installer]:
    config = tmp_path / "etc/config.toml"
    config.parent.mkdir()
    config.write_text(CONFIG)
    made = Installer(
        tmp_path,
        {
            "RUNTIME": "containerd",
            "RUNTIME_CONFIG": str(config),
            "RUNTIME_SOCKET": str(tmp_path / "none.sock"),
            "RUNTIME_CONFIG_SOURCE": f"file={config}",
            "RUNTIME_RESTART_MODE": "none",
        },
        program=(str(private_environment(tmp_path / "environment")), "-m", "toolkit"),
    )
    yield made
    made.end()


def idle(installer: Installer) -> None:
    """Start it and wait until the keeper has taken its place."""
    process = installer.start()
    installer.wait_ready()
    words = Path(f"/proc/{process.pid}/cmdline")
    wait_for(lambda: b"daemon/stay.py" in words.read_bytes(), "the keeper")


def test_a_stop_starts_no_second_interpreter(installer: Installer, tmp_path: Path) -> None:
    idle(installer)
    (tmp_path / "environment/bin/python").unlink()

    assert installer.stop() == 0, installer.log()
    assert (tmp_path / "etc/config.toml").read_text() == CONFIG
    assert "cannot start the installer" not in installer.log()


def test_a_program_whose_packages_went_is_started_as_it_was_at_first(
    installer: Installer, tmp_path: Path
) -> None:
    idle(installer)
    library = tmp_path / "environment/lib"
    library.unlink()
    assert installer.process is not None
    installer.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "cannot load the installer" in installer.log(), "the next try")

    library.symlink_to(Path(sys.prefix) / "lib")

    assert installer.process.wait(60) == 0, installer.log()
    assert (tmp_path / "etc/config.toml").read_text() == CONFIG
