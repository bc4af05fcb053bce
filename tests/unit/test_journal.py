"""The journal's text form: kept whole, refused when newer, told when damaged."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName, Format, Role
from toolkit.errors import ExitCode, JournalError
from toolkit.host.writer import FileMetadata
from toolkit.journal.codec import SCHEMA_MAJOR, decode, encode
from toolkit.journal.record import FileRecord, Record, State, digest_of

PATH = "/opt/nvidia/.toolkit-journal/journal.json"
FILE = FileRecord(
    path="/etc/containerd/config.toml",
    format=Format.TOML,
    role=Role.TOP_LEVEL,
    first="a" * 64,
    before="b" * 64,
    start="c" * 64,
    ours="d" * 64,
    metadata=FileMetadata(mode=0o640, uid=1, gid=2, xattrs={"security.selinux": b"\x00label"}),
)
RECORD = Record(
    state=State.COMMITTED,
    version="1.0",
    engine=EngineName.CONTAINERD,
    socket="/run/containerd/containerd.sock",
    unit="containerd.service",
    files=(FILE, replace(FILE, path="/b", first=None, before=None, start=None, metadata=None)),
    directories=("/etc/containerd/conf.d",),
    install_directories=("/opt", "/opt/nvidia"),
    run_directories=("/run/nvidia", "/run/nvidia/toolkit"),
    handlers=(("nvidia", "/opt/nvidia/toolkit/nvidia-container-runtime"),),
    default="nvidia",
    previous_handlers=(("runc", ""),),
    previous_default="runc",
    start_handlers=(("runc", ""),),
    start_default="runc",
    start_lack="its plugin failed",
    reloads=False,
    payload={"digest": "e" * 64},
)


@pytest.mark.parametrize("state", State)
def test_a_record_comes_back_as_it_was_written(state: State) -> None:
    record = replace(RECORD, state=state)
    assert decode(encode(record), PATH) == record


def test_a_record_without_an_engine_comes_back() -> None:
    record = Record(state=State.WRITING, version="1", engine=None)
    assert decode(encode(record), PATH) == record


def test_the_text_form_is_the_same_each_time() -> None:
    assert encode(decode(encode(RECORD), PATH)) == encode(RECORD)


def test_fields_of_a_later_minor_schema_are_kept_at_every_level() -> None:
    document = json.loads(encode(RECORD))
    document["schema"]["minor"] = 99
    document["later"] = [1]
    document["files"][0]["later"] = {"x": None}
    found = json.loads(encode(decode(json.dumps(document).encode(), PATH)))
    assert (found["later"], found["files"][0]["later"]) == ([1], {"x": None})


def test_a_record_of_an_earlier_minor_schema_is_read() -> None:
    document = json.loads(encode(RECORD))
    for name in ("start_handlers", "start_default", "start_lack", "run_directories"):
        del document[name]
    found = decode(json.dumps(document).encode(), PATH)
    assert found == replace(
        RECORD, start_handlers=None, start_default=None, start_lack=None, run_directories=()
    )


def test_the_first_version_finds_the_field_that_it_asks_for_and_ours_is_read_without() -> None:
    document = json.loads(encode(RECORD))
    assert document["files"][0].pop("container_path") == FILE.path
    document["replaced_payload"] = {"digest": "f" * 64}  # of an intent of that version
    found = decode(json.dumps(document).encode(), PATH)
    assert replace(found, extra={}) == RECORD
    assert json.loads(encode(found))["replaced_payload"] == {"digest": "f" * 64}


def test_a_newer_major_schema_is_refused_in_one_line_with_a_mend() -> None:
    document = json.loads(encode(RECORD))
    document["schema"]["major"] = SCHEMA_MAJOR + 1
    with pytest.raises(JournalError) as caught:
        decode(json.dumps(document).encode(), PATH)
    assert str(caught.value).startswith(f"{PATH}: a newer version of this program wrote it")
    assert "nothing was changed" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.FAILED


DAMAGE: dict[str, object] = {
    "nothing": b"",
    "half of it": encode(RECORD)[: len(encode(RECORD)) // 2],
    "no table": b"[]",
    "no text": b"\xff\xfe",
    "another table": b"{}",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_is_told_with_where_the_bytes_are(content: bytes) -> None:
    with pytest.raises(JournalError) as caught:
        decode(content, PATH)
    assert "damaged journal" in str(caught.value)
    assert "blobs" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "unheard of"),
        ("engine", "podman"),
        ("files", {}),
        ("files", [{}]),
        ("handlers", "nvidia"),
        ("handlers", [["one"]]),
        ("directories", [1]),
        ("payload", []),
        ("version", None),
        ("schema", {"major": "1"}),
    ],
)
def test_a_field_of_the_wrong_kind_counts_as_damage_and_never_as_a_crash(
    name: str, value: object
) -> None:
    document = json.loads(encode(RECORD))
    document[name] = value
    with pytest.raises(JournalError):
        decode(json.dumps(document).encode(), PATH)


def test_a_record_names_every_content_that_it_needs() -> None:
    assert RECORD.blobs == {letter * 64 for letter in "abcd"}
    assert RECORD.file("/b") == RECORD.files[1]
    assert RECORD.file("/c") is None


def test_an_absent_file_has_no_digest() -> None:
    assert digest_of(None) is None
    assert digest_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
