from __future__ import annotations

from runtime_configs.overlay import Overlay
from tests.fakes.memory_files import MemoryFiles


def test_files_are_as_they_would_be_in_the_order_in_which_go_comes_to_them() -> None:
    host = MemoryFiles.holding({"/d/a/x": b"1", "/d/a-b/x": b"2", "/d/c/x": b"3"}).view()
    seen = Overlay(host, {"/d/a/x": b"4", "/d/c/x": None, "/d/b/x": b"5", "/d/b/y": None})
    assert seen.glob("/d/*/*") == ("/d/a/x", "/d/a-b/x", "/d/b/x")
    assert [seen.read(f"/d/{name}/x") for name in ("a", "a-b", "b", "c")] == [
        b"4",
        b"2",
        b"5",
        None,
    ]


def test_what_the_host_has_shows_through_when_the_files_change() -> None:
    files: dict[str, bytes | None] = {}
    seen = Overlay(MemoryFiles.holding({"/d/x": b"1"}).view(), files)
    assert seen.glob("/d/*") == ("/d/x",)
    files["/d/x"], files["/d/y"] = None, b"2"
    assert seen.glob("/d/*") == ("/d/y",)
