from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runtime_configs.formats.unified_diff import redacted_diff, unified_diff

CREDENTIALS = {
    "password": 'password = "hunter2"',
    "json": '"identitytoken": "hunter2",',
    "header": 'Authorization = ["Basic hunter2"]',
    "address": 'http-proxy = "http://node:hunter2@proxy.example:3128"',
}

SEVERAL_LINES = {
    "toml string": 'password = """\nhunter2\n"""\n',
    "toml literal": "[x]\nidentitytoken = '''hunter\n[a]\nb = 'hunter2'''\n",
    "toml array": 'Authorization = [\n  "Basic hunter2", # ]\n  "x]", "hunter2",\n]\n',
    "toml inline table": 'x = { a = 1, "auth" = { y = [\n"hunter2"\n] } }\n',
    "toml table": '[a.registry.configs."x:5000".auth]\nidentity = "hunter2"\n\nb = 1 # hunter2\n',
    "toml table's array": '[a."auth"]\nx = [\n  "hunter2",\n]\n# hunter2\n',
    "toml behind a mark": '\ufeff[auth]\nx = """\nhunter2"""\n',
    "toml header's comment": "[a] # password: hunter2\nb = 1\n",
    "toml header's argument": "[a] # login --password hunter2\nb = 1\n",
    "header's comment": "[a] # password: hunter2\nb\n",
    "array's element": 'a = [\n["TOKEN=hunter2"]\n',
    "toml key in parts": 'a . "auth" . "the name" = "hunter2"\n',
    "json object": '{\n  "auths": {\n    "x": [\n      "hunter2"\n    ]\n  }\n}\n',
    "json below its key": '{"x": 1, "token":\n"hunter2"\n}\n',
    "second of a line": 'a = { token = "x", secrets = [\n"hunter2"\n] }\n',
    "yaml block": "token: |\n  hunter2\n\n  hunter2\nname: x\n",
    "yaml list": "tokens:\n- hunter2\n- hunter2\nname: x\n",
    "yaml folded": "a:\n  - password: hunter\n      hunter2\n",
    "comment": '# password = [\n#   "hunter2"\n# ]\nx = 1\n',
    "open comment": '# password = """\n# hunter2\nx = 1\n',
    "not closed": 'password = """\nhunter2\n[x]\na = "hunter2"\n',
    "quote not closed": 'password = "\nhunter2\n',
    "bracket not closed": 'password = [\n[x]\na = "hunter2"\n',
    "template": '{{ if .A }}auth = {{ printf "%q" "hunter2" }}{{ end }}\ntoken = {{ `hunter2` }}\n',
}
"""Also what does not parse: what can't be judged is not shown."""
LONG = {
    "word": "a" * 200_000,
    "secret word": "auth" * 50_000,
    "brackets": "token=[" * 30_000,
    "comments": "# token: [\n" * 20_000,
    "escapes": 'token = "' + '\\"' * 100_000,
    "lines without a value": "token:\n" * 30_000,
    "quotes": "token = '''" + "x'" * 100_000,
    "addresses": "x://a:" * 30_000,
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


@pytest.mark.parametrize("secret", SEVERAL_LINES.values(), ids=SEVERAL_LINES.keys())
@pytest.mark.parametrize("side", ["above", "below", "both"])
def test_a_secret_of_several_lines_is_not_shown_and_patch_takes_the_diff(
    tmp_path: Path, secret: str, side: str
) -> None:
    above, below = secret if side != "below" else "", secret if side != "above" else ""
    before = f"{above}[plain]\n[other]\n{below}"
    after = before.replace("[other]\n", "[other]\nours = 1\n")
    diff = unified_diff("/etc/config", before.encode(), after.encode())
    assert "hunter" not in diff
    assert "+ours = 1\n" in diff
    assert patched(tmp_path, before, diff) == after


@pytest.mark.parametrize("secret", SEVERAL_LINES.values(), ids=SEVERAL_LINES.keys())
def test_a_log_shows_no_secret_of_several_lines(secret: str) -> None:
    content = secret.encode()
    for before, after in ((content, b"a\n"), (b"a\n", content), (None, content), (content, None)):
        diff = redacted_diff("/etc/config", before, after)
        assert "hunter" not in diff
        assert "[redacted]" in diff


def test_a_log_shows_what_is_no_secret() -> None:
    before = 'root = "/x"\n[plugins."a".registry.auths]\ntoken = "x"\n[b]\nc = [1,\n2]\n'
    after = before.replace("/x", "/y").replace('"x"', '"y"').replace("2]", "3]")
    assert redacted_diff("/etc/config", before.encode(), after.encode()).splitlines()[2:] == [
        "@@ -1 +1 @@",
        '-root = "/x"',
        '+root = "/y"',
        "@@ -3 +3 @@",
        "-token = [redacted]",
        "+token = [redacted]",
        "@@ -6 +6 @@",
        "-2]",
        "+3]",
    ]


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_diff_of_a_long_line_or_of_many_takes_time_in_proportion(text: str) -> None:
    redacted_diff("/etc/config", text.encode(), b"a\n")
    unified_diff("/etc/config", text.encode(), b"a\n")
    # One word of a tenth of this length took 11 s: this one would outlast the test's time limit.


@pytest.mark.parametrize("secret", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_log_shows_no_secret_though_its_line_is_changed(secret: str) -> None:
    diff = redacted_diff("/etc/config", f"a\n{secret}\n".encode(), b"a\nb\n")
    assert "hunter2" not in diff
    assert "[redacted]" in diff


NAMES = ["etc/config", "etc/a b/the config ", 'etc/"a" \\b', "etc/tab\there", "etc/é ü"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\n", "a\nc\n"),
        ("a\nb", "a\nc"),
        ("a\nb", "a\nb\nc\n"),
        ("a\nb\n", "a\nb\nc"),
        ("a", None),
        ("a\n", None),
        (None, "a"),
        (None, "a\nb\n"),
        ("a\r\nb\r\n", "a\r\nc\r\n"),
    ],
)
def test_patch_takes_any_name_a_last_line_without_an_end_and_an_absent_file(
    tmp_path: Path, name: str, before: str | None, after: str | None
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    if before is not None:
        path.write_text(before, newline="")
    old, new = (None if each is None else each.encode() for each in (before, after))
    subprocess.run(
        ("/usr/bin/patch", "-p1", "--fuzz=0", "--directory", str(tmp_path)),
        input=f"{unified_diff(f'/{name}', old, new)}# reload: no\n".encode(),
        check=True,
        capture_output=True,
    )
    assert (path.read_bytes() if path.exists() else None) == new
