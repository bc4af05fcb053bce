"""What the payload's own parts record beside the journal: one JSON file for each."""

from __future__ import annotations

import json
import posixpath
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from toolkit.host.writer import FileWriter
from toolkit.journal.store import PRIVATE_DIRECTORY, PRIVATE_FILE

State = TypeVar("State", bound=Struct)


class StateFile(Generic[State]):
    """One state on the host; bytes are stored in base64."""

    def __init__(self, kind: type[State], *, writer: FileWriter, directory: str, name: str) -> None:
        """Set the path; nothing is read yet. ``directory`` is a host path."""
        self._kind = kind
        self._writer = writer
        self._directory = directory
        self.path = posixpath.join(directory, name)

    def load(self) -> State | None:
        """Return the state; None if there is none, or if it is damaged.

        What a damaged one named then counts as somebody else's.
        """
        found = self._writer.read(self.path)
        if found is None:
            return None
        try:
            return msgspec.convert(json.loads(found.content), self._kind)
        except ValueError:
            return None

    def save(self, state: State) -> None:
        """Write the state, durably."""
        self._writer.make_directories(self._directory, PRIVATE_DIRECTORY)
        content = json.dumps(msgspec.to_builtins(state)).encode() + b"\n"
        self._writer.write(self.path, content, PRIVATE_FILE)

    def remove(self) -> None:
        """Remove the file, durably; a missing one is not an error."""
        self._writer.remove(self.path)
