from __future__ import annotations

import pytest

from runtime_configs.glob import MalformedPatternError, check, escaped, glob_order, matches

# What Go 1.19's filepath.Match says of each.
KNOWN = [
    ("*.toml", ".x.toml", True),
    ("*", "", True),
    ("?*.toml", ".toml", False),
    ("a*b*c", "axbxbxc", True),
    ("a*b*c", "axbxbx", False),
    ("x[0-9]", "x7", True),
    ("x[^0-9]", "x7", False),
    ("x[!0-9]", "x!", True),
    ("x[z-a]", "xm", False),
    ("[a-c-e]", "e", None),
    (r"[\]-_]", "^", True),
    (r"[\-x]", "-", True),
    ("[[]", "[", True),
    ("[a&&b]", "&", True),
    ("[a~b]", "~", True),
    ("a]b", "a]b", True),
    (r"\*x", "*x", True),
    (r"\*x", "axx", False),
    ("?", "é", True),
    ("??", "é", False),
    ("[à-ï]", "é", True),
    ("?", "\udcff", True),
    ("[^a]", "\udcff", True),
    ("*[^].toml", "x.toml", None),
    ("[]a]", "a", None),
    ("[", "[", None),
    ("[a-]", "a", None),
    ("[-a]", "a", None),
    ("[\udcff]", "\udcff", None),
    ("x\\", "x\\", None),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), KNOWN)
def test_a_name_is_matched_as_go_matches_it(
    pattern: str, name: str, *, expected: bool | None
) -> None:
    assert matches(f"/d/{pattern}", f"/d/{name}") is (expected or False)
    if expected is None:
        with pytest.raises(MalformedPatternError):
            check(f"/d/{pattern}/*")
    else:
        check(f"/d/{pattern}/*")


def test_nothing_takes_a_slash() -> None:
    for pattern in ("/d/*", "/d?e", "/d[^a]e", "/d*"):
        assert not matches(pattern, "/d/e/f")
        assert not matches(pattern, "/d/e") or pattern == "/d/*"


def test_an_escaped_path_stands_for_itself_alone() -> None:
    for path in (r"/a*b/[x]?/c\d", "/plain"):
        assert matches(escaped(path), path)
    assert not matches(escaped("/a*"), "/ab")


def test_paths_stand_as_go_comes_to_them_directory_by_directory() -> None:
    assert sorted(["/a-b/x", "/a/y", "/a/é", "/a/.x"], key=glob_order) == [
        "/a/.x",
        "/a/y",
        "/a/é",
        "/a-b/x",
    ]
