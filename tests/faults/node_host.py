"""A whole host below one directory with an engine in memory: set up, repaired and reverted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime_configs.model import Version
from runtime_configs.registry import adapter_for
from testbed.sample_payload import make_sample_payload
from tests.fakes.engine import FakeEngine
from tests.fakes.sandbox import no_sandbox
from tests.faults.steps import SteppedFiles, Steps
from tests.unit.cli_session import settings_of
from toolkit.apply.begin import Outcome
from toolkit.apply.setup import set_up
from toolkit.engine.control import EngineControl
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.host.paths import HostRoot
from toolkit.host.view import HostFilesView
from toolkit.journal.record import Record
from toolkit.journal.store import JournalStore
from toolkit.node import Node
from toolkit.payload.installer import PayloadInstaller
from toolkit.undo.engine import GoBackReport
from toolkit.undo.ownership import named_again
from toolkit.undo.recovery import recover
from toolkit.undo.revert import revert_record

CONFIG = "/etc/containerd/config.toml"
DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"
VOLATILE = ("stamps", "inode", "sources")
"""What a payload's state holds of inodes and times: another run has others."""
Entry = tuple[object, ...]
Tree = dict[str, Entry]


@dataclass(slots=True)
class FaultHost:
    """The host's files below ``directory``/host, the payload beside, the engine in memory."""

    directory: Path
    version: Version = field(default_factory=lambda: Version(major=1, minor=7))
    config: bytes | None = b"# by hand\nversion = 2\n"
    arguments: tuple[str, ...] = ()
    release: str = "1.0.0"
    top_level: str = CONFIG
    drop_in: str = DROP_IN
    engine: FakeEngine = field(init=False)
    _loadable: tuple[tuple[str, bytes], ...] = ()

    def __post_init__(self) -> None:
        for name in ("bin/sh", "usr/bin/runc", "usr/bin/containerd"):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)
        self.place("/etc/containerd/certs.d/keep", b"theirs")
        if self.config is not None:
            self.place(self.top_level, self.config)
        self.engine = FakeEngine(
            view=HostFilesView(HostRoot(root=str(self.root))),
            version=self.version,
            top_level=self.top_level,
            drop_in=self.drop_in,
        )
        self.engine.boot()

    @property
    def root(self) -> Path:
        """The host's root directory."""
        return self.directory / "host"

    @property
    def install_dir(self) -> Path:
        """As this process sees it."""
        return self.root / "usr/local/nvidia"

    def place(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file as somebody else would."""
        at = self.root / path[1:]
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
        at.chmod(mode)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes."""
        at = self.root / path[1:]
        return at.read_bytes() if at.exists() else None

    def node(self, steps: Steps | None = None, *more: str) -> Node:
        """Return the parts of one run of the program."""
        steps = steps or Steps()
        source = self.directory / f"payload-{self.release}"
        if not source.exists():
            make_sample_payload(source, release=self.release)
        settings = settings_of(
            "--runtime=containerd",
            f"--host-root={self.root}",
            f"--toolkit-source-root={source}",
            "--toolkit-package-type=deb",
            "--verify-timeout=2",
            *self.arguments,
            *more,
        )
        root = HostRoot(root=str(self.root))
        writer = SteppedFiles(root, steps)
        view = HostFilesView(root)
        self.engine.step = steps.take
        engine: EngineControl = self.engine
        return Node(
            settings=settings,
            root=root,
            writer=writer,
            view=view,
            commands=self.engine,
            store=JournalStore(
                writer=writer, view=view, install_dir=root.host_path(settings.install_dir)
            ),
            installer=PayloadInstaller(settings=settings, root=root, writer=writer),
            control=lambda _name, _socket=None: engine,
            adapter=adapter_for,
            sandbox=no_sandbox,
        )

    def set_up(
        self,
        steps: Steps | None = None,
        *more: str,
        clock: Clock | None = None,
        repair: bool = False,
    ) -> Outcome:
        """Do what a start does: recover, then set up."""
        node = self.node(steps, *more)
        recover(node)
        return set_up(node, clock or UninterruptedClock(), patience=0.0, repair=repair)

    def revert(self, steps: Steps | None = None, *, purge: bool = False) -> GoBackReport | None:
        """Do what the command does: recover, then revert."""
        node = self.node(steps)
        record = recover(node, reverts=True) or named_again(node)
        return None if record is None else revert_record(node, record, purge=purge)

    def recover(self, steps: Steps | None = None) -> Record | None:
        """Do what every start does first."""
        return recover(self.node(steps))

    def tree(self) -> Tree:
        """Return every entry of the host: type, mode, owner, content."""
        return tree_of(self.root)

    def check_loadable(self) -> None:
        """Raise CannotLoadError unless the engine would start with its files as they are."""
        paths = sorted((self.root / "etc/containerd").rglob("*.toml"))
        found = tuple((str(path), path.read_bytes()) for path in paths)
        if found != self._loadable:
            self.engine.loadable()
            self._loadable = found

    def save(self, name: str) -> Saved:
        """Keep the host as it is."""
        kept = self.directory / f"saved-{name}"
        shutil.copytree(self.root, kept, symlinks=True)
        state = {each: getattr(self.engine, each) for each in ("running", "effective", "problem")}
        return Saved(self, kept, state)

    def leftovers(self) -> list[str]:
        """Return what only an unfinished run leaves."""
        return leftovers(self.tree())


@dataclass(slots=True)
class Saved:
    """A state that a host can be brought back to."""

    host: FaultHost
    kept: Path
    engine: Mapping[str, object]

    def restore(self) -> None:
        """Bring it back."""
        shutil.rmtree(self.host.root)
        shutil.copytree(self.kept, self.host.root, symlinks=True)
        for name, value in self.engine.items():
            setattr(self.host.engine, name, value)


def tree_of(root: Path) -> Tree:
    """Return every entry below a directory: type, mode, owner, content."""
    found: Tree = {}
    for parent, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(parent, name)
            found[path[len(str(root)) :]] = _entry(path)
    return found


def leftovers(tree: Tree) -> list[str]:
    """Return what only an unfinished run leaves."""
    return [path for path in tree if _is_leftover(path)]


def difference(found: Tree, wanted: Tree) -> list[str]:
    """Name what differs."""
    return sorted(
        f"{'-' if path not in found else '+' if path not in wanted else '~'} {path}"
        for path in {*found, *wanted}
        if found.get(path) != wanted.get(path)
    )


def _entry(path: str) -> Entry:
    state = os.lstat(path)
    content: object = None
    if os.path.islink(path):
        content = os.readlink(path)
    elif os.path.isfile(path):
        content = Path(path).read_bytes()
        if os.path.basename(path) in ("payload.json", "payload-staged.json"):
            document = json.loads(content)
            content = json.dumps({k: v for k, v in document.items() if k not in VOLATILE})
    return (oct(state.st_mode), state.st_uid, state.st_gid, content)


def _is_leftover(path: str) -> bool:
    name = os.path.basename(path)
    return (
        name in ("intent.json", "payload-staged.json", ".toolkit-staged")
        or name.endswith((".new", ".old", ".toolkit-new", ".toolkit-old"))
        or (name.startswith(".toolkit-") and name not in (".toolkit-journal", ".toolkit-before"))
    )


def journal_holds_ours(host: FaultHost) -> list[str]:
    """Return the records whose way back names our toolkit directory."""
    found = []
    directory = host.install_dir / ".toolkit-journal"
    ours = b"/usr/local/nvidia/toolkit"
    for name in ("journal.json", "intent.json"):
        path = directory / name
        if not path.exists():
            continue
        document = json.loads(path.read_bytes())
        for each in document["files"]:
            for aim in ("first", "before"):
                digest = each[aim]
                if digest is None:
                    continue
                if ours in (directory / "blobs" / digest).read_bytes():
                    found.append(f"{name}: {each['path']}: {aim}")
    return found
