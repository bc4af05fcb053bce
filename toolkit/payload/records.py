"""The payload on disk: the journal's record, and the state of each generation."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from toolkit.errors import JournalError
from toolkit.journal.codec import flat, parse
from toolkit.payload.manifest import Entry, Manifest, Stamp

FOREIGN = "foreign"
"""Stands for the digest of another installer's tree."""
Sum = tuple[int, int, int, int, int, str]
"""A file's stamp, and its SHA-256 at that time."""


class PayloadRecord(Struct, frozen=True, kw_only=True):
    """What will be done, or was done, with the payload: part of the daemon's journal."""

    install_dir: str
    digest: str
    staged: str
    """Path where the generation is staged, on the host."""
    previous: str | None
    """Digest of the replaced generation, ``foreign``, or None if there was none."""
    changes: bool = True
    """False if the payload was already installed: nothing to stage, swap or undo."""
    directories: tuple[str, ...] = ()
    """Directories that the installation creates, outermost first."""
    extra: Mapping[str, object] = {}
    """Fields of a later version, preserved."""

    def to_json(self) -> dict[str, object]:
        """Return the record as a JSON document."""
        return flat(self)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> PayloadRecord:
        """Parse a document. Raises JournalError if it is not such a record."""
        try:
            return parse(document, cls)
        except ValueError as error:
            raise JournalError(f"the journal's record of the payload: {error}") from error


class InstalledFile(Struct, frozen=True, kw_only=True):
    """One file of the installed payload."""

    path: str
    """On the host."""
    sha256: str
    stamp: Stamp | None
    """Its stamp when the installation was committed; None if it is not committed yet."""


class GenerationState(Struct, frozen=True, kw_only=True):
    """One generation, staged or installed; stored next to the journal on the host."""

    digest: str
    entries: tuple[Entry, ...] = field(name="manifest")
    config: str
    """The ``config.toml`` that we would have written on a clean host."""
    previous: str | None
    inode: int
    """Inode of the staged directory; shows whether an exchange happened."""
    in_place: bool = False
    """Files are being replaced one by one, with a whole copy of the old tree beside them."""
    sources: Mapping[str, Sum] = {}
    """Path of each file of the payload to its checksum."""
    stamps: Mapping[str, Stamp] = {}
    """Path of each installed file to its stamp."""

    @property
    def manifest(self) -> Manifest:
        """The entries, compared and summed up."""
        return Manifest(entries=self.entries)
