"""Go's patterns against a matcher that tries everything, and a grammar spelled as an expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_configs.glob import MalformedPatternError, check, escaped, matches

CHARACTERS = "ab-]^!.é\udcff"
"""Two bytes at most: of a longer one Go's stars may take a part, which others then do not find."""
NAMES = st.text(CHARACTERS, max_size=6)
ANYTHING = st.text(CHARACTERS + "*?[\\/", max_size=10)
BOUNDS = st.sampled_from(["a", "b", ".", "é", "^", r"\-", r"\]", r"\^", r"\a"])

CHARACTER = r"(?:[^\\\]\-\udc80-\udcff]|\\[^\udc80-\udcff])"
WELL_FORMED = re.compile(rf"(?:[^\\\[]|\\.|\[\^?+(?:{CHARACTER}(?:-{CHARACTER})?)+\])*", re.DOTALL)


@st.composite
def classes(draw: st.DrawFn) -> str:
    ranges = draw(st.lists(st.lists(BOUNDS, min_size=1, max_size=2), min_size=1, max_size=3))
    body = "".join("-".join(each) for each in ranges)
    negation = draw(st.sampled_from(["", "^"]))
    if not negation and body.startswith("^"):
        body = "\\" + body
    return f"[{negation}{body}]"


PIECES = st.one_of(
    st.sampled_from(["*", "?", "a", "b", ".", "é", "]", "^", "-", r"\*", r"\a", "\udcff"]),
    classes(),
)


def takes(pieces: list[str], name: bytes) -> bool:
    """Try every way in which the pieces might take the name."""
    if not pieces:
        return not name
    first, rest = pieces[0], pieces[1:]
    if first == "*":
        return any(takes(rest, name[start:]) for start in range(len(name) + 1))
    if not name:
        return False
    if first != "?" and not first.startswith("["):
        plain = first.removeprefix("\\").encode("utf-8", "surrogateescape")
        return name.startswith(plain) and takes(rest, name[len(plain) :])
    character = name[:2].decode("utf-8", "replace")[0]
    width = len(character.encode()) if character != "�" else 1
    return (first == "?" or among(first, character)) and takes(rest, name[width:])


def among(text: str, character: str) -> bool:
    negated = text[1] == "^"
    ranges = re.findall(r"(\\?.)(?:-(\\?.))?", text[1 + negated : -1], re.DOTALL)
    return negated != any(low[-1] <= character <= (high[-1:] or low[-1]) for low, high in ranges)


@given(st.lists(PIECES, max_size=6), NAMES)
def test_a_pattern_takes_what_its_pieces_can_take(pieces: list[str], name: str) -> None:
    pattern = "".join(pieces)
    check(pattern)
    assert matches(pattern, name) is takes(pieces, name.encode("utf-8", "surrogateescape"))


@given(ANYTHING, ANYTHING)
def test_a_pattern_is_malformed_where_the_grammar_does_not_have_it(pattern: str, name: str) -> None:
    if all(WELL_FORMED.fullmatch(part) for part in pattern.split("/")):
        check(pattern)
        return
    with pytest.raises(MalformedPatternError):
        check(pattern)
    assert not matches(pattern, name)


@given(ANYTHING, ANYTHING)
def test_an_escaped_path_stands_for_itself_alone(path: str, other: str) -> None:
    assert matches(escaped(path), path)
    assert matches(escaped(path), other) is (path == other)
