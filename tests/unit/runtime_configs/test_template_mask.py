"""What a template says once its directives are set aside, and that nothing of it is lost."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_configs.formats.template_mask import masked, unmasked

FORMS = [
    ('{{ template "base" . }}\na = 1\n', {"a": 1}),
    ("{{- if .A }}\na = 1\n{{- end }}\n", {"a": 1}),
    ('{{/* {{ template "base" . }} */}}\na = 1\n', {"a": 1}),
    ("{{- /* over\n  two lines, isn't it */ -}}\na = 1\n", {"a": 1}),
    ('{{ with\n  .A }}\na = "{{ . }}"\n{{ end }}\n', {"a": "{{ . }}"}),
    ('a = "{{ .A }}" # {{ .B }}\n', {"a": "{{ .A }}"}),
    ('a = 1\n{{ if .B }}b = {{ printf "%q" .B }}{{ end }}\n', {"a": 1}),
    ("[a.b]{{ end }}\nc = 1\n", {"a": {"b": {"c": 1}}}),
    ('[a."{{ $k }}"]\nb = 1\n', {"a": {"{{ $k }}": {"b": 1}}}),
    ('[[a."x]{{ $k }}"]] {{ end }} # why\n', {"a": {"x]{{ $k }}": [{}]}}),
    ('"{{ $k }}" = "{{ $v }}"\n', {"{{ $k }}": "{{ $v }}"}),
    ("{{ if .A }}\na = 1\n{{ else if .B }}\na = 2\n{{ else }}\na = 3{{ end }}\n", {"a": 1}),
    ("{{ if .A }}\n{{ range .B }}\n{{ else }}\na = 1\n{{ end }}\na = 2\n{{ end }}\n", {"a": 2}),
    ('a = [\n{{ range .A }}\n  "{{ . }}",\n  {{ .B }},\n{{ end }}\n]\n', {"a": ["{{ . }}"]}),
    ("a = 1\r\n{{ if .B }}\r\nb = 2\r\n{{ end }}\r\n", {"a": 1, "b": 2}),
]  # fmt: skip
MADE = [
    "{{ .A }}",
    '{{ printf "%q" .A }}',
    '{{ if eq .A "x" }}false{{ else }}true{{ end }}',
    '[{{ range $i, $e := .A }}{{ if $i }}, {{ end }}{{ printf "%q" . }}{{ end }}]',
    '"{{ or .A "info" }}"',
    '"it\'s {{ .A }}"',
    '"{{ .A }}"{{ end }}',
    "{{ `a b` }}",
    "{{ '}' }}",
]
TEXT = st.lists(
    st.sampled_from(
        ["{{", "}}", "{{ if .A }}", "{{ else }}", "{{ end }}", "{{/*", "*/}}", "a = ", "[a]", "'",
         '"', "`", "\n", "\r\n", "#", " ", "é", "\x0c", "\\", "'''"]
    )
).map("".join)  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), FORMS)
def test_a_template_says_what_it_says_without_its_directives(
    template: str, expected: dict[str, object]
) -> None:
    assert tomllib.loads(masked(template.encode()).decode()) == expected


@pytest.mark.parametrize("value", MADE)
@pytest.mark.parametrize("rest", ["", " # why", " \r"])
def test_a_value_that_the_template_makes_is_a_string_of_its_own(value: str, rest: str) -> None:
    template = f"\ta.b = {value}{rest}\nc = 1\n"
    found = tomllib.loads(masked(template.encode()).decode())
    assert value.strip('"') in str(found["a"]["b"])
    assert found["c"] == 1


@given(TEXT)
def test_a_mask_comes_off_again(text: str) -> None:
    assert unmasked(masked(text.encode())) == text.encode()
