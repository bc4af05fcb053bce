from __future__ import annotations

import time

import pytest

from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.values import MISSING, REMOVE, lookup
from runtime_configs.model import ConfigError, Format

PATH = "/etc/engine/config"


def toml(text: str, *changes: tuple[str, object]) -> str:
    made = [Change(path=tuple(path.split("/")), value=value) for path, value in changes]
    return apply_changes(text.encode(), made, Format.TOML, path=PATH).decode()


def json(text: str, *changes: tuple[str, object]) -> str:
    made = [Change(path=tuple(path.split("/")), value=value) for path, value in changes]
    return apply_changes(text.encode(), made, Format.JSON, path=PATH).decode()


def refusal(content: bytes, kind: Format) -> str:
    with pytest.raises(ConfigError) as caught:
        load(content, kind, path=PATH)
    return str(caught.value)


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ("a = 1 # why\n", "a", 2, "a = 2 # why\n"),
        ("a = 1\r\n[t]\r\nb = 1\r\n", "t/c", "x", 'a = 1\r\n[t]\r\nb = 1\r\nc = "x"\r\n'),
        ("[t]\na = 1", "t/b", 2, "[t]\na = 1\nb = 2"),
        ("[t]\n\ta = 1\n\n[u]\n", "t/b", 2, "[t]\n\ta = 1\n\tb = 2\n\n[u]\n"),
        ("# c\n\n[t]\n", "a", 1, "# c\n\na = 1\n\n[t]\n"),
        ("# k0s_managed=true\n[t]\n", "a", 1, "# k0s_managed=true\na = 1\n\n[t]\n"),
        ("[a.b]\nx = 1\n", "a/y", 2, "[a]\ny = 2\n\n[a.b]\nx = 1\n"),
        ("a.b.c = 1\n[t]\n", "a/b/d", 2, "a.b.c = 1\na.b.d = 2\n[t]\n"),
        ("a.b.c = 1\n", "a/x", {"y": {"z": 1}}, "a.b.c = 1\na.x.y.z = 1\n"),
        ("a = { b = 1, c = 'x' }\n", "a/b", 2, "a = { b = 2, c = 'x' }\n"),
        ("a = { b = 1 } # c\n", "a/d/e", True, "a = { b = 1, d = { e = true } } # c\n"),
        ("a = { b.c = 1 }\n", "a/b/c", 2, "a = { b = { c = 2 } }\n"),
        ("a = [1, 2]\n", "a", [1, 2, 3], "a = [1, 2, 3]\n"),
        ("a = [\n  1,\n  2, # two\n]\n", "a", [1, 2, 3], "a = [\n  1,\n  2, # two\n  3,\n]\n"),
        ("a = [\n  1, # one\n  2 # two\n]\n", "a", [1, 2, 3],
         "a = [\n  1, # one\n  2, # two\n  3\n]\n"),
        ("a = [\n  1, # one\n  2 # two\n]\n", "a", [2], "a = [\n  2 # two\n]\n"),
        ("a = [\n  1,\n  2\n]\n", "a", [1], "a = [\n  1\n]\n"),
        ("a = []\n", "a", ["x"], 'a = ["x"]\n'),
        ("[p.'x.y']\na = 1\n", "p/x.y/t", {"b": 1}, "[p.'x.y']\na = 1\n\n[p.'x.y'.t]\nb = 1\n"),
        ("[a]\nb = 1\n\n[c]\nd = 1\n", "a", REMOVE, "[c]\nd = 1\n"),
        ("[a]\nb = 1\n\n[c]\nd = 1\n", "c", REMOVE, "[a]\nb = 1\n"),
        ("[a.b]\nc = 1\n", "a/b", REMOVE, ""),
        ("x = 1\na = 1\n", "a", {"b": 1}, "x = 1\n\n[a]\nb = 1\n"),
        ("x = 1\n[a]\nb = 1\n", "a", 3, "x = 1\na = 3\n"),
        ('s = """\n[t]\n"""\n[t]\nx = 1\n', "t/x", 2, 's = """\n[t]\n"""\n[t]\nx = 2\n'),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\n", "b", 1, "b = 1\n\n[[a]]\nx = 1\n[[a]]\nx = 2\n"),
        ("[[a.b]] # c\nx = 1\n", "a/d", 1, "[a]\nd = 1\n\n[[a.b]] # c\nx = 1\n"),
        ("# c\n[[a.b]]\n[a.b.e]\n", "a/d", {"f": 1}, "# c\n[[a.b]]\n[a.b.e]\n\n[a.d]\nf = 1\n"),
        ("\ufeffa = 1\n", "a", 2, "\ufeffa = 2\n"),
        ("", "a", 1, "a = 1\n"),
        ("a = 1\n\n\n", "t", {}, "a = 1\n\n\n[t]\n"),
    ],
)  # fmt: skip
def test_toml_changes_only_what_changes(before: str, path: str, value: object, after: str) -> None:
    assert toml(before, (path, value)) == after
    assert toml(after, (path, value)) == after


def test_a_table_is_written_whole_and_keeps_the_lines_that_stay() -> None:
    before = "[t]\na = 1 # stays\nb = 2\n[t.u]\nc = 3\n"
    assert toml(before, ("t", {"a": 1, "d": 4})) == "[t]\na = 1 # stays\nd = 4\n"


def test_strings_are_escaped_as_toml_wants_it() -> None:
    assert load(toml("", ("a", 'q" \\ \n\x00\x7f é')).encode(), Format.TOML, path=PATH) == {
        "a": 'q" \\ \n\x00\x7f é'
    }


def test_a_change_inside_an_array_of_tables_falls_back_to_rewriting_it() -> None:
    after = toml("# c\n[[a]]\nx = 1\n", ("a", [{"x": 2}]))
    assert after.startswith("# c\n")
    assert load(after.encode(), Format.TOML, path=PATH) == {"a": [{"x": 2}]}


def test_a_value_that_toml_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="TOML has no NoneType"):
        toml("", ("a", None))


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ('{"a":1}', "b", [1], '{"a":1,"b":[1]}'),
        ('{"a": 1, "b": 2}\n', "a", REMOVE, '{"b": 2}\n'),
        ('{"a": 1, "b": 2}\n', "b", REMOVE, '{"a": 1}\n'),
        ('{\n\t"a": 9007199254740993,\n\t"b": "\\u00e9"\n}', "c", True,
         '{\n\t"a": 9007199254740993,\n\t"b": "\\u00e9",\n\t"c": true\n}'),
        ('{\r\n  "a": {}\r\n}\r\n', "a/b", {"c": []},
         '{\r\n  "a": {\r\n    "b": {\r\n      "c": []\r\n    }\r\n  }\r\n}\r\n'),
        ('{"a": 1, "a": 2}', "a", 3, '{"a": 1, "a": 3}'),
        ('{"a": 1, "a": 2, "b": 1.0e5}', "a", REMOVE, '{"b": 1.0e5}'),
        ('{ "a": null }', "a", {"x": 1}, '{ "a": {"x": 1} }'),
        ("\ufeff{}", "a", "ü", '\ufeff{\n  "a": "ü"\n}'),
        ('{"a": [1, {"b": 2}]}', "c/d", 1, '{"a": [1, {"b": 2}], "c": {"d": 1}}'),
        ('{ "a" :1 , "b" : 2 }', "b", 3, '{ "a" :1 , "b" : 3 }'),
        ('{ "a" :1 , "b" : 2 }', "c", 3, '{ "a" :1 , "b" : 2, "c": 3 }'),
        ('{ "a": 1, "b": 2 }', "a", REMOVE, '{ "b": 2 }'),
        ('{ "a": 1, "b": 2 }', "b", REMOVE, '{ "a": 1 }'),
        ('{\n    "a": {"x":1}\n}', "a/y", {"z": 2}, '{\n    "a": {"x":1,"y":{"z":2}}\n}'),
        ('{\n\t"a": {}\n}', "a/b", [1], '{\n\t"a": {\n\t\t"b": [\n\t\t\t1\n\t\t]\n\t}\n}'),
        ('{"a": {\n "b": 1}}', "a/c", 2, '{"a": {\n "b": 1,\n "c": 2}}'),
        ('{\r\n\t"a": 1,\n\t"b": 2\n}\n', "c", {"x": 1},
         '{\r\n\t"a": 1,\n\t"b": 2,\n\t"c": {\n\t\t"x": 1\n\t}\n}\n'),
    ],
)  # fmt: skip
def test_json_changes_only_what_changes(before: str, path: str, value: object, after: str) -> None:
    assert json(before, (path, value)) == after
    assert json(after, (path, value)) == after


def test_a_number_of_more_digits_than_python_converts_stays() -> None:
    digits = "1" * 5000
    assert json(f'{{"a": {digits}}}', ("b", 1)) == f'{{"a": {digits}, "b": 1}}'


@pytest.mark.parametrize(
    ("content", "kind", "where"),
    [
        (b"a = 1\nb = \n", Format.TOML, "line 2, column 5"),
        (b"a = [1,\n", Format.TOML, "line 2, column 1"),
        (b"a = 1\na = 2\n", Format.TOML, "line 2"),
        (b"a = '\xff'\n", Format.TOML, "line 1, column 6"),
        (b'{"a": 1,}\n', Format.JSON, "line 1, column 9"),
        (b'{"a": NaN}', Format.JSON, "NaN"),
        (b"{", Format.JSON, "line 1, column 2"),
        (b"[1]", Format.JSON, "not an object"),
        (b'{"a": ' + b"[" * 200_000, Format.JSON, "too deep"),
        (b"a = " + b"[" * 200_000, Format.TOML, "too deep"),
        (b'{"a": ' + b'{"a": ' * 50_000 + b"1" + b"}" * 50_001, Format.JSON, "too deep"),
    ],
)
def test_a_document_that_does_not_parse_is_refused_with_its_place(
    content: bytes, kind: Format, where: str
) -> None:
    message = refusal(content, kind)
    assert message.startswith(f"{PATH}: ")
    assert where in message


@pytest.mark.parametrize("kind", [Format.TOML, Format.JSON])
@pytest.mark.parametrize("blank", ["", "\n", " \n\t\r\n", "\ufeff"])
def test_a_blank_document_has_no_keys(blank: str, kind: Format) -> None:
    assert load(blank.encode(), kind, path=PATH) == {}
    after = apply_changes(blank.encode(), [Change(path=("a",), value=1)], kind, path=PATH)
    assert load(after, kind, path=PATH) == {"a": 1}
    assert after.decode().startswith("\ufeff") == (blank == "\ufeff")


def test_a_key_with_two_thousand_parts_is_refused_and_does_not_crash() -> None:
    text = ".".join(["a"] * 2_000) + " = 1\n"
    with pytest.raises(ConfigError, match="too deep"):
        toml(text, ("b", 1))


def test_lookup_leads_through_tables_only() -> None:
    data = {"a": {"b": 1}, "c": [1]}
    assert lookup(data, ("a", "b")) == 1
    assert lookup(data, ("a", "b", "c")) is MISSING
    assert lookup(data, ("c", "0")) is MISSING


def test_ten_thousand_tables_take_no_more_than_ten_times_as_long_as_a_thousand() -> None:
    def seconds(count: int) -> float:
        tables = "".join(f"[t.x{i}]\n  a = 1\n  b = [1,\n 2] # c\n\n" for i in range(count))
        start = time.process_time()
        toml(tables, ("t/new", {"a": 1}), ("t/x5/a", 2))
        return time.process_time() - start

    # Twice the ratio: a quadratic form would take a hundred times as long. The best of three each,
    # since a busy machine adds to some.
    thousand, ten_thousand = (min(seconds(n) for _ in range(3)) for n in (1_000, 10_000))
    assert ten_thousand < 20 * max(thousand, 0.01)
