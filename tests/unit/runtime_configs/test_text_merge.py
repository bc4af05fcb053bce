"""Templates and YAML: ours goes out by keys where it parses, by lines where it does not."""

from __future__ import annotations

import pytest

from runtime_configs.formats.merge import merge3
from runtime_configs.model import Format

PATH = "/var/lib/engine/config.toml.tmpl"
BASE = '{{ template "base" . }}\n'
RUNSC = '\n[runtimes.runsc]\ntype = "{{ .Type }}"\nflag = {{ printf "%q" .Flag }} # go\n'
OURS = (
    '\n[runtimes.nvidia]\ntype = "v2"\n\n[runtimes.nvidia.options]\nBinary = "/n"\nCgroup = true\n'
)
TORN = "{{ if .A }}[a]\nx = 1\n{{ else }}[a]\nx = 2{{ end }}\n"
"""It never parses as TOML: the table comes twice."""


def reverted(before: str | None, ours: str, now: str) -> str | None:
    result = merge3(
        None if before is None else before.encode(), ours.encode(), now.encode(), Format.TEXT,
        path=PATH,
    )  # fmt: skip
    return None if result is None else result.decode()


@pytest.mark.parametrize("before", [BASE + RUNSC, TORN, BASE])
@pytest.mark.parametrize(
    ("edit", "left"),
    [
        (lambda text: text, ""),
        (lambda text: "# top\n" + text, "# top\n"),
        (lambda text: text + "\n[theirs]\ny = 1\n", "\n[theirs]\ny = 1\n"),
        (lambda text: text.replace('type = "v2"\n', 'type = "v2"\nmine = 1\n'), "mine = 1\n"),
        (lambda text: text.replace("Cgroup = true", "Cgroup = false"), "Cgroup = false\n"),
        (lambda text: text + "mine = 2\n", "mine = 2\n"),
        (lambda text: text.replace('Binary = "/n"\n', ""), ""),
    ],
)
def test_ours_goes_and_what_others_wrote_stays_in_its_table(
    before: str, edit: object, left: str
) -> None:
    assert callable(edit)
    result = reverted(before, before + OURS, edit(before + OURS))
    assert result is not None
    kept = [line for line in result.splitlines() if line]
    if left.startswith(("mine", "Cgroup")):
        header = "[runtimes.nvidia]" if left == "mine = 1\n" else "[runtimes.nvidia.options]"
        assert kept == [*(line for line in before.splitlines() if line), header, left.strip()]
    else:
        assert sorted(kept) == sorted(line for line in (before + left).splitlines() if line)
    assert '"/n"' not in result


def test_a_template_that_we_made_stays_whole_for_what_others_put_into_it() -> None:
    now = BASE + OURS + "\n[theirs]\ny = 1\n"
    assert reverted(None, BASE + OURS, now) == BASE + "\n[theirs]\ny = 1\n"


def test_a_template_that_we_made_goes_with_our_tables() -> None:
    now = BASE + OURS.replace("Cgroup = true\n", "")
    assert reverted(None, BASE + OURS, now) is None


@pytest.mark.parametrize(
    ("now", "left"),
    [
        ("default-runtime: nvidia\nnode-name: a\n", "node-name: a\n"),
        ("# why\ndefault-runtime: nvidia\n", "# why\n"),
        ("default-runtime: crun\n", "default-runtime: crun\n"),
        ("\ndefault-runtime: nvidia\n\n", None),
    ],
)
def test_of_a_yaml_file_that_we_made_the_lines_of_others_stay(now: str, left: str | None) -> None:
    assert reverted(None, "default-runtime: nvidia\n", now) == left


def test_a_line_in_place_of_an_old_one_gives_it_back() -> None:
    before = TORN + 'default = "runc"\nother = 1\n'
    ours = before.replace('"runc"', '"nvidia"')
    assert reverted(before, ours, "# top\n" + ours) == "# top\n" + before
    third = ours.replace('"nvidia"', '"kata"')
    assert reverted(before, ours, third) == third


def test_line_ends_of_windows_stay() -> None:
    before = (BASE + RUNSC).replace("\n", "\r\n")
    ours = before + OURS.replace("\n", "\r\n")
    assert reverted(before, ours, ours + "# foot\r\n") == before + "# foot\r\n"
