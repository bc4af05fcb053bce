"""The documents: links lead somewhere, commands and messages are the program's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SOURCES = "\n".join(
    path.read_text()
    for package in ("toolkit", "runtime_configs")
    for path in sorted((ROOT / package).rglob("*.py"))
)


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_every_message_of_the_troubleshooting_is_one_of_the_program() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text().partition("## The pod")[0]
    rows = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
    assert len(rows) > 15
    # A message may be written over two lines of the source.
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCES)
    for row in rows:
        for message in re.findall(r"`([^`]+)`", row):
            assert message in joined, message


def test_every_document_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        document = ahead.pop()
        if document in seen or document.suffix != ".md":
            continue
        seen.add(document)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            ahead += [] if ":" in target else [(document.parent / target).resolve()]
    missing = {path.name for path in DOCUMENTS if path not in seen}
    assert not missing


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(
            r"(?:^|`)(?:\w+=\S+ )?make ([a-z-]+)", document.read_text(), re.MULTILINE
        )
        assert set(named) <= targets, document.name


def test_the_readme_installs_the_chart_with_the_operators_four_variables() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in (
        "CONTAINERD_CONFIG",
        "CONTAINERD_SOCKET",
        "CONTAINERD_RUNTIME_CLASS",
        "CONTAINERD_SET_AS_DEFAULT",
    ):
        assert f"].name={name}" in readme
        assert f"| `{name}` |" in readme
