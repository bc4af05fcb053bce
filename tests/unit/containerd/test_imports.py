"""Which files containerd reads, in which order, and what it makes of them together."""

from __future__ import annotations

import pytest

from runtime_configs.containerd.imports import load_order, matches
from runtime_configs.containerd.merged import merge
from runtime_configs.containerd.schema import Era
from runtime_configs.model import ConfigError
from tests.fakes.memory_files import MemoryFiles
from tests.unit.containerd.hosts import V2, V3


def paths(files: dict[str, str]) -> list[str]:
    """Return the load order of a tree whose top-level file is /c/top.toml."""
    view = MemoryFiles.holding({path: text.encode() for path, text in files.items()}).view()
    return [each.path for each in load_order(view, "/c/top.toml")]


def test_imports_are_read_breadth_first_and_each_file_once() -> None:
    files = {
        "/c/top.toml": 'imports = ["d/*.toml", "/e.toml"]\n',
        "/c/d/b.toml": 'imports = ["../nested.toml", "/e.toml"]\n',
        "/c/d/a.toml": 'imports = ["/c/top.toml"]\n',
        "/c/d/.dot.toml": "",
        "/c/d/c.conf": "",
        "/c/nested.toml": 'imports = ["d/a.toml"]\n',
        "/e.toml": "",
    }
    assert paths(files) == [
        "/c/top.toml",
        "/c/d/.dot.toml",
        "/c/d/a.toml",
        "/c/d/b.toml",
        "/e.toml",
        "/c/nested.toml",
    ]


def test_a_file_that_is_not_there_is_left_out() -> None:
    assert paths({"/c/top.toml": 'imports = ["gone.toml", "gone/*.toml"]\n'}) == ["/c/top.toml"]
    assert paths({}) == []


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/d/*.toml", "/d/.x.toml", True),
        ("/d/*.toml", "/d/e/x.toml", False),
        ("/*/x[0-9].*", "/d/x7.toml", True),
        ("/*/x[^0-9].*", "/d/x7.toml", False),
        ("/d/?*.toml", "/d/.toml", False),
        (r"/d/\*x*", "/d/*xy", True),
        (r"/d/\*x*", "/d/axy", False),
        ("/d/x[.toml", "/d/x[.toml", True),
        ("/d/*[.toml", "/d/x[.toml", False),
    ],
)
def test_patterns_are_go_s(pattern: str, path: str, *, expected: bool) -> None:
    assert matches(pattern, path) is expected


@pytest.mark.parametrize("pattern", ["*[^].toml", "*[.toml", "a*[", "[]*", "*\\\\"])
def test_a_malformed_pattern_is_refused_with_the_file_that_has_it(pattern: str) -> None:
    files = {"/c/top.toml": f'imports = ["d/{pattern}"]\n', "/c/d/x.toml": ""}
    with pytest.raises(
        ConfigError, match=r"^/c/top\.toml: imports has .* an invalid pattern"
    ) as caught:
        paths(files)
    assert caught.value.hint == "correct it"


def test_brackets_without_a_star_are_a_path() -> None:
    files = {"/c/top.toml": 'imports = ["/c/d/[^].toml"]\n', "/c/d/[^].toml": ""}
    assert paths(files) == ["/c/top.toml", "/c/d/[^].toml"]


def test_doubled_slashes_are_one() -> None:
    files = {"/c/top.toml": 'imports = ["//c//d.toml", "//c/*.toml"]\n', "/c/d.toml": ""}
    assert paths(files) == ["/c/top.toml", "/c/d.toml"]


def merged_default(texts: list[str], era: Era) -> str | None:
    """Return the default's name that files give, the first importing the others in order."""
    names = [f"/{number}.toml" for number in range(1, len(texts))]
    listed = ", ".join(f'"{name}"' for name in names)
    files = {"/c/top.toml": f"imports = [{listed}]\n{texts[0]}"} | dict(
        zip(names, texts[1:], strict=True)
    )
    view = MemoryFiles.holding({path: text.encode() for path, text in files.items()}).view()
    return merge(load_order(view, "/c/top.toml"), era).default


def section(plugin: str, default: str) -> str:
    """Return a CRI section that names a default."""
    return f'[plugins."{plugin}".containerd]\ndefault_runtime_name = "{default}"\n'


OTHER = f'[plugins."{V2}".registry]\nconfig_path = "/c"\n'


@pytest.mark.parametrize(
    ("era", "texts", "expected"),
    [
        (Era.REPLACES, ["version = 2\n" + section(V2, "a"), OTHER], None),
        (Era.MERGES, ["version = 2\n" + section(V2, "a"), "version = 2\n" + OTHER], "a"),
        (Era.MIGRATES, ["version = 2\n" + section(V2, "a"), "version = 2\n" + OTHER], "a"),
        (Era.REPLACES, [section("cri", "a")], "a"),
        (Era.MERGES, [section("cri", "a")], None),
        (Era.MIGRATES, [section("cri", "a")], "a"),
        (Era.MERGES, ["version = 2\n" + section(V2, "a"), "version = 3\n"], None),
        (Era.MIGRATES, ["version = 3\n" + section(V3, "a"), "version = 2\n" + OTHER], "a"),
        (Era.MERGES, ["version = 2\n", section("cri", "b")], "b"),
    ],
)
def test_each_era_puts_files_together_in_its_own_way(
    era: Era, texts: list[str], expected: str | None
) -> None:
    assert merged_default(texts, era) == expected
