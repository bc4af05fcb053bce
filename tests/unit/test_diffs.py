from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from toolkit.diffs import redacted_diff, unified_diff

CREDENTIALS = {
    "password": 'password = "hunter2"',
    "json": '"identitytoken": "hunter2",',
    "header": 'Authorization = ["Basic hunter2"]',
    "address": 'http-proxy = "http://node:hunter2@proxy.example:3128"',
}


def patched(directory: Path, before: str, diff: str) -> str:
    (directory / "etc").mkdir()
    (directory / "etc/config").write_text(before)
    subprocess.run(
        ("/usr/bin/patch", "-p1", "--fuzz=0", "--directory", str(directory)),
        input=diff,
        text=True,
        check=True,
        capture_output=True,
    )
    return (directory / "etc/config").read_text()


@pytest.mark.parametrize("distance", range(5))
@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("secret", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_secret_beside_a_change_is_not_shown_and_patch_takes_the_diff(
    tmp_path: Path, secret: str, side: str, distance: int
) -> None:
    lines = [f"line {number}" for number in range(20)]
    at = 10
    lines.insert(at - distance if side == "above" else at + distance + 1, secret)
    changed = lines.index("line 10") if side == "above" else at
    after = [*lines[:changed], "ours", *lines[changed + 1 :]]
    texts = ["\n".join(each) + "\n" for each in (lines, after)]
    diff = unified_diff("/etc/config", texts[0].encode(), texts[1].encode())
    assert "hunter2" not in diff
    assert "+ours" in diff
    assert patched(tmp_path, texts[0], diff) == texts[1]


def test_context_without_a_secret_has_three_lines_on_each_side() -> None:
    lines = [f"line {number}\n" for number in range(20)]
    after = [*lines[:10], "ours\n", *lines[10:]]
    diff = unified_diff("/etc/config", "".join(lines).encode(), "".join(after).encode())
    assert diff.splitlines()[2:] == [
        "@@ -8,6 +8,7 @@",
        *(f" line {number}" for number in (7, 8, 9)),
        "+ours",
        *(f" line {number}" for number in (10, 11, 12)),
    ]


@pytest.mark.parametrize("secret", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_log_shows_no_secret_though_its_line_is_changed(secret: str) -> None:
    diff = redacted_diff("/etc/config", f"a\n{secret}\n".encode(), b"a\nb\n")
    assert "hunter2" not in diff
    assert "[redacted]" in diff
