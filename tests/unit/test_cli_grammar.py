from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli_session import refusal, settings_of
from toolkit.errors import UsageError
from toolkit.options.catalog import OPTIONS
from toolkit.options.command_line import read
from toolkit.options.lookup import Sources
from toolkit.options.option import Option

BOOLEANS = [option for option in OPTIONS if option.boolean]
OTHERS = [option for option in OPTIONS if not option.boolean and not option.commands]
WORDS = {"true": True, "t": True, "1": True, "yes": True}
WORDS |= {"false": False, "f": False, "0": False, "no": False}


def any_case(word: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([char.lower(), char.upper()]) for char in word)).map("".join)


def spellings(options: list[Option[object]]) -> st.SearchStrategy[tuple[Option[object], str]]:
    """Every flag, with one dash and with two."""
    return st.sampled_from(
        [
            (option, f"{dashes}{flag.lstrip('-')}")
            for option in options
            for flag in option.flags
            for dashes in ("-", "--")
        ]
    )


def parsed(*arguments: str) -> Sources:
    line = read(arguments)
    assert line.error is None
    return Sources(flags=line.flags, environ={})


def command_of(option: Option[object]) -> tuple[str, ...]:
    return option.commands[:1]


@given(spellings(BOOLEANS))
def test_a_boolean_flag_alone_is_true(case: tuple[Option[object], str]) -> None:
    option, flag = case
    assert parsed(*command_of(option), flag).value(option) is True


@given(spellings(BOOLEANS), st.sampled_from(sorted(WORDS)).flatmap(any_case))
def test_a_boolean_flag_takes_each_word_in_any_case(
    case: tuple[Option[object], str], word: str
) -> None:
    option, flag = case
    sources = parsed(*command_of(option), f"{flag}={word}")
    assert sources.value(option) is WORDS[word.lower()]
    assert sources.source(option) == flag


@given(spellings(BOOLEANS), st.text().filter(lambda text: text.lower() not in WORDS))
def test_any_other_word_is_refused_and_the_flag_is_named(
    case: tuple[Option[object], str], word: str
) -> None:
    option, flag = case
    with pytest.raises(UsageError) as caught:
        parsed(*command_of(option), f"{flag}={word}").value(option)
    assert str(caught.value).startswith(f"{flag}: ")
    assert str(caught.value).isprintable()


@given(spellings(OTHERS), st.sampled_from(["=", " "]), st.text(max_size=20))
def test_a_value_follows_an_equals_sign_or_is_the_next_argument_whatever_it_is(
    case: tuple[Option[object], str], joint: str, value: str
) -> None:
    option, flag = case
    arguments = [f"{flag}={value}"] if joint == "=" else [flag, value]
    (given_flag,) = parsed(*arguments).flags[option.name]
    assert (given_flag.spelling, given_flag.text) == (flag, value)


def test_a_boolean_never_takes_the_next_argument() -> None:
    with pytest.raises(UsageError, match="unknown command 'false'"):
        settings_of("--no-daemon", "false")
    assert settings_of("--no-daemon", "/opt/nvidia").install_dir == "/opt/nvidia"


def test_a_value_may_look_like_a_flag() -> None:
    (flag,) = parsed("--config", "--debug").flags["config"]
    assert flag.text == "--debug"


def test_letters_are_never_joined() -> None:
    with pytest.raises(UsageError, match=r"^-np: unknown option"):
        settings_of("-np")


def test_the_last_of_repeated_flags_counts_whatever_its_spelling() -> None:
    assert settings_of("--root=/a", "-toolkit-install-dir", "/b").install_dir == "/b"


def test_the_flag_for_the_install_directory_wins_over_the_word() -> None:
    for arguments in (["/a", "--root=/b"], ["--toolkit-install-dir", "/b", "/a"]):
        assert settings_of(*arguments, ROOT="/c").install_dir == "/b"
    assert settings_of("/a", ROOT="/c").install_dir == "/a"


def test_a_list_flag_may_be_repeated() -> None:
    settings = settings_of("--opt-in-features=a,b", "--opt-in-features", " c ,,a")
    assert settings.runtime_config.opt_in_features == ("a", "b", "c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--debg"], "--debg: unknown option; did you mean --debug?"),
        (["-zz"], "-zz: unknown option; see --help"),
        (["-\n"], "-\\n: unknown option; see --help"),
        (["--zz=1"], "--zz: unknown option; see --help"),
        (["--ignore-error"], "--ignore-error: unknown option; see --help"),
        (["--config"], "--config: its value is missing; write --config=VALUE"),
        (["---debug"], "---debug: unknown option; did you mean --debug?"),
        (["-"], "unknown command '-'"),
        ([""], "unknown command ''"),
        (["--", "--debug"], "unknown command '--debug'"),
        (["install"], "unknown command 'install'"),
        (["plan", "status"], "'status' is one argument too many"),
        (["/a", "/b"], "'/b' is one argument too many"),
    ],
)
def test_a_mistyped_command_line_is_one_clear_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(*arguments)
    assert str(caught.value).startswith(message)


@given(st.lists(st.text(max_size=12) | st.sampled_from([f for o in OPTIONS for f in o.flags])))
def test_no_command_line_ends_in_anything_but_settings_or_one_line(arguments: list[str]) -> None:
    line = refusal(*arguments)
    assert line is None or (line and "\n" not in line)
