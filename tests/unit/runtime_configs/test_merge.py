from __future__ import annotations

import tomllib

import pytest

from runtime_configs.formats.documents import Change, apply_changes
from runtime_configs.formats.merge import merge3
from runtime_configs.model import ConfigError, Format

PATH = "/etc/engine/config"
BEFORE = 'default = "crun" # admin\n\n[runtimes.crun]\npath = "/usr/bin/crun"\n'
OURS = (
    'default = "nvidia" # admin\n\n[runtimes.crun]\npath = "/usr/bin/crun"\n'
    '\n[runtimes.nvidia]\npath = "/n"\nlist = ["a"]\n\n[runtimes.nvidia.options]\nx = true\n'
)


def encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def reverted(
    before: str | None, ours: str | None, now: str | None, kind: Format = Format.TOML
) -> str | None:
    result = merge3(encoded(before), encoded(ours), encoded(now), kind, path=PATH)
    return None if result is None else result.decode()


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["no newline", "newline", "CRLF"])
@pytest.mark.parametrize("text", ["imports = []", "a = 1", "# theirs", ""])
def test_a_comment_that_comes_on_top_stays_and_every_other_byte_comes_back(
    mark: str, end: str, text: str
) -> None:
    before, comment = f"{mark}{text}{end}", f"# seen{end or chr(10)}"
    changes = [
        Change(path=("imports",), value=["/etc/containerd/conf.d/*.toml"]),
        Change(path=("runtimes", "nvidia"), value={"path": "/n", "options": {"x": True}}),
    ]
    ours = apply_changes(before.encode(), changes, Format.TOML, path=PATH).decode()
    now = f"{mark}{comment}{ours.removeprefix(mark)}"
    assert reverted(before, ours, now) == f"{mark}{comment}{text}{end}"


@pytest.mark.parametrize("shown", ["before", "ours"])
@pytest.mark.parametrize(
    ("kind", "before", "ours"),
    [
        (Format.JSON, '{\n"b": 1,\n"c": 2,\n"d": 3\n}\n', '{\n"c": 2,\n"d": 4\n}\n'),
        (Format.TOML, "B = 1\nc = 2\n", "c = 2\nB = 3\n"),
        (Format.TOML, "b=1\n", ""),
        (Format.TEXT, "b: 1\n", "b: 2\nn: 1\n"),
    ],
)
def test_a_byte_order_mark_is_all_that_an_editor_added(
    kind: Format, before: str, ours: str, shown: str
) -> None:
    now = "\ufeff" + {"before": before, "ours": ours}[shown]
    assert reverted(before, ours, now, kind) == f"\ufeff{before}"


@pytest.mark.parametrize(
    ("old", "new", "wanted_old", "wanted_new"),
    [
        ('"nvidia" # admin', '"kata" # admin', '"crun" # admin', '"kata" # admin'),
        ('"nvidia" # admin', '"nvidia" # seen', '"crun" # admin', '"crun" # seen'),
        ("[runtimes.crun]", "[runtimes.crun] # mine", "[runtimes.crun]", "[runtimes.crun] # mine"),
        ('path = "/n"', 'path = "/n" # n', "", ""),
        ("\n[runtimes.nvidia]", "\n# new\n[runtimes.nvidia]", '/crun"\n', '/crun"\n\n# new\n'),
        ("x = true\n", "x = true\n\n[other]\ny = 1\n", '/crun"\n', '/crun"\n\n[other]\ny = 1\n'),
        ('default = "nvidia" # admin\n', "", 'default = "crun" # admin\n', ""),
    ],
)
def test_ours_goes_and_the_edit_of_others_stays(
    old: str, new: str, wanted_old: str, wanted_new: str
) -> None:
    assert old in OURS
    wanted = BEFORE.replace(wanted_old, wanted_new) if wanted_old else BEFORE
    assert reverted(BEFORE, OURS, OURS.replace(old, new)) == wanted


def test_a_key_that_others_put_into_our_table_stays_with_its_table() -> None:
    now = OURS.replace('path = "/n"\n', 'path = "/n"\nmine = 1 # keep\n')
    assert reverted(BEFORE, OURS, now) == BEFORE + "\n[runtimes.nvidia]\nmine = 1 # keep\n"


def test_a_third_value_in_our_table_stays() -> None:
    now = OURS.replace('path = "/n"\n', 'path = "/mine"\n')
    result = reverted(BEFORE, OURS, now)
    assert result == BEFORE + '\n[runtimes.nvidia]\npath = "/mine"\n'


@pytest.mark.parametrize(
    ("before", "ours", "now", "wanted"),
    [
        ('["a"]', '["a", "us"]', '["a", "us", "them"]', '["a", "them"]'),
        ('["a"]', '["a", "us"]', '["them", "a", "us"]', '["them", "a"]'),
        ('["a"]', '["us"]', '["us", "them"]', '["a", "them"]'),
        ('["a"]', '["a", "us"]', "[]", "[]"),
        ('["a"]', '["a", "us"]', '["a"]', '["a"]'),
    ],
)
def test_of_a_list_only_our_elements_go(before: str, ours: str, now: str, wanted: str) -> None:
    texts = (f"imports = {before}\n", f"imports = {ours}\n", f"imports = {now}\n")
    assert reverted(*texts) == f"imports = {wanted}\n"


def test_a_list_that_we_made_stays_with_what_others_put_into_it() -> None:
    assert reverted("", 'i = ["us"]\n', 'i = ["us", "them"]\n') == 'i = ["them"]\n'


@pytest.mark.parametrize("kind", list(Format))
def test_files_that_come_and_go(kind: Format) -> None:
    document = "{}\n" if kind is Format.JSON else ""
    assert reverted(document, document + "\n", None, kind) is None
    assert reverted(None, document, document, kind) is None
    assert reverted(None, document, None, kind) is None
    assert reverted(document, None, None, kind) == document
    assert reverted(document, None, "x", kind) == "x"


def test_a_file_of_ours_alone_goes_although_its_lines_were_moved_or_removed() -> None:
    ours = "# ours\n[a]\nx = 1\n\n[b]\ny = 2\n"
    assert reverted(None, ours, "# ours\n[b]\ny = 2\n\n[a]\nx = 1\n") is None
    assert reverted(None, ours, "[b]\ny = 2\n") is None
    assert reverted(None, ours, ours + "\n\n") is None


def test_a_file_of_ours_stays_with_what_others_added() -> None:
    ours = "# ours\n[a]\nx = 1\n"
    assert reverted(None, ours, ours + "\n[b]\ny = 2\n") == "\n[b]\ny = 2\n"
    assert reverted(None, ours, "# theirs\n" + ours) == "# theirs\n"


def test_a_file_that_is_only_ours_is_never_merged() -> None:
    assert reverted("a", "b", "b", Format.OPAQUE) == "a"
    assert reverted("a", "b", "b\n", Format.OPAQUE) == "b\n"


def test_in_a_file_that_does_not_parse_any_more_our_lines_are_taken_out_by_their_text() -> None:
    assert reverted(BEFORE, OURS, OURS + "oops [\n") == BEFORE + "oops [\n"


def test_a_file_that_does_not_parse_and_hides_our_lines_is_refused() -> None:
    now = OURS.replace('path = "/n"', 'path = "/m"') + "oops [\n"
    with pytest.raises(ConfigError, match="not valid TOML"):
        reverted(BEFORE, OURS, now)


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ('{"a": 1, "r": {"n": {"p": 1}, "z": 2}, "b": 3}', '{"a": 1, "r": {"z": 2}, "b": 3}'),
        ('{"a": 1, "r": {"n": {"p": 1}}, "b": 3}', '{"a": 1, "b": 3}'),
        ('{"a": 1, "r": {"n": {"p": 1, "q": 2}}}', '{"a": 1, "r": {"n": {"q": 2}}}'),
        ('{"r": {"n": {"p": 1}}}', "{}"),
        ('{"a": 1, "r": 5}', '{"a": 1, "r": 5}'),
        ('{"a": 1.0, "r": {"n": {"p": 1}}}', '{"a": 1.0}'),
    ],
)
def test_json_loses_only_our_members(now: str, wanted: str) -> None:
    assert reverted('{"a": 1}', '{"a": 1, "r": {"n": {"p": 1}}}', now, Format.JSON) == wanted


def test_an_old_number_comes_back_with_all_its_digits() -> None:
    before, ours = '{"a": 9007199254740993.10}', '{"a": 1}'
    assert (
        reverted(before, ours, '{"a": 1, "b": 2}', Format.JSON)
        == '{"a": 9007199254740993.10, "b": 2}'
    )


def test_a_table_that_others_emptied_gets_no_header_of_its_own() -> None:
    before = "[a]\nx = 1\n[a.runtimes.runc.options]\ny = 1\n"
    ours = '[a]\nx = 1\nd = "n"\n[a.runtimes.runc.options]\n[a.runtimes.nvidia]\np = "/n"\n'
    now = ours.replace("[a.runtimes.runc.options]\n", "")
    assert reverted(before, ours, now) == "[a]\nx = 1\n"


def test_an_empty_table_that_we_took_out_comes_back() -> None:
    before = "a = 1\n[gone]\n[kept]\nx = 1\n"
    ours = "a = 2\n[kept]\nx = 1\n"
    result = reverted(before, ours, ours.replace("a = 2", "a = 2 # seen\nb = 3"))
    assert result is not None
    assert tomllib.loads(result) == {"a": 1, "b": 3, "gone": {}, "kept": {"x": 1}}
