from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_configs.model import ConfigError, EffectiveConfig
from tests.fakes.node import FakeCommands, FakeView
from toolkit.engine.facts import Source
from toolkit.engine.process.daemon_arguments import option, path_option
from toolkit.engine.sources import ConfigSources, parse_version
from toolkit.host.commands import CommandResult


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.6.20~ds1", (1, 6, 20)),
        ("v2.1.0-rc.1", (2, 1, 0)),
        ("2.1.9+unknown", (2, 1, 9)),
        ("containerd github.com/containerd/containerd/v2 2.1.9+unknown ", (2, 1, 9)),
        ("containerd github.com/k3s-io/containerd v1.7.11-k3s2 abc", (1, 7, 11)),
        ("Docker version 28.5.2+dfsg4, build 3ef3c07c", (28, 5, 2)),
        ("crio version 1.36.3\nVersion: 1.36.3\n", (1, 36, 3)),
        ("20.10.24", (20, 10, 24)),
    ],
)
def test_a_version_is_found_in_what_engines_print(text: str, numbers: tuple[int, int, int]) -> None:
    version = parse_version(text)
    assert version is not None
    assert version.numbers == numbers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.6.20~ds1", "1.6.20~ds1"),
        (
            "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
            "1.6.20~ds1",
        ),
        ("containerd github.com/k3s-io/containerd v1.7.11-k3s2 abc", "v1.7.11-k3s2"),
        ("Docker version 28.5.2+dfsg4, build 3ef3c07c", "28.5.2+dfsg4"),
    ],
)
def test_a_version_is_shown_without_what_is_printed_around_it(text: str, shown: str) -> None:
    version = parse_version(text)
    assert version is not None
    assert version.text == shown


def test_no_version_is_no_version() -> None:
    assert parse_version("unknown") is None
    assert parse_version("") is None


@given(st.text())
def test_no_text_upsets_the_version(text: str) -> None:
    parse_version(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "/etc/c.toml", "--debug"),
        ("--config=/etc/c.toml",),
        ("-c", "/etc/c.toml"),
        ("-c=/etc/c.toml",),
        ("--config=/other", "--config", "/etc/c.toml"),
    ],
)
def test_an_option_is_found_in_each_spelling_and_the_last_one_counts(
    arguments: tuple[str, ...],
) -> None:
    assert path_option(arguments, "--config", "-c") == "/etc/c.toml"


def test_an_option_without_a_value_or_with_a_relative_path_is_none() -> None:
    assert option(("--config",), "--config") is None
    assert path_option(("--config", "c.toml"), "--config") is None
    assert path_option(("--address", "unix:///run/x.sock"), "--address") == "/run/x.sock"


def decode(content: bytes) -> EffectiveConfig:
    if not content.startswith(b"good"):
        raise ConfigError("/etc/c.toml", "does not parse")
    return EffectiveConfig(handlers={}, default=content.decode(), raw={})


def read(
    *sources: str, live: bytes | None, dump: CommandResult | None = None, files: dict[str, bytes]
) -> tuple[Source | None, str | None, tuple[str, ...]]:
    commands = FakeCommands({"dump": dump} if dump else {})
    found = ConfigSources(
        live=live,
        dump=("/usr/bin/engine", "dump") if dump else None,
        file="/etc/c.toml",
        deadline=0.0,
        commands=commands,
        view=FakeView(files),
    ).effective(sources, decode)
    return found.source, found.config.default if found.config else None, found.failures


DUMP = CommandResult(status=0, output=b"good dump", errors="")
FAILED = CommandResult(status=1, output=b"", errors="engine: failed to load TOML\n")
FILES = {"/etc/c.toml": b"good file", "/etc/other.toml": b"good other"}


def test_the_first_source_that_works_is_taken() -> None:
    order = ("live", "command", "file")
    assert read(*order, live=b"good live", dump=DUMP, files=FILES)[:2] == (Source.LIVE, "good live")
    assert read(*order, live=None, dump=DUMP, files=FILES)[:2] == (Source.COMMAND, "good dump")
    assert read(*order, live=b"bad", dump=FAILED, files=FILES)[:2] == (Source.FILE, "good file")
    assert read("file", "live", live=b"good live", files=FILES)[:2] == (Source.FILE, "good file")


def test_a_file_may_be_named() -> None:
    assert read("file=/etc/other.toml", live=None, files=FILES)[:2] == (Source.FILE, "good other")


def test_each_source_that_did_not_work_says_why() -> None:
    source, _, failures = read("live", "command", "file", live=None, dump=FAILED, files={})
    assert source is None
    assert failures == (
        "live: the daemon could not be asked",
        "command: engine: failed to load TOML",
        "file: /etc/c.toml is not there",
    )


def limit_of_the_dump(deadline: float) -> float:
    commands = FakeCommands({"dump": DUMP})
    sources = ConfigSources(
        live=None,
        dump=("/usr/bin/engine", "dump"),
        file="",
        deadline=deadline,
        commands=commands,
        view=FakeView({}),
    )
    assert sources.effective(["command"], decode).source is Source.COMMAND
    (seconds,) = commands.limits
    return seconds


def test_the_dump_command_gets_what_is_left_and_a_few_seconds_where_nothing_is() -> None:
    deadline = time.monotonic() + 60.0
    seconds = limit_of_the_dump(deadline)
    left = deadline - time.monotonic()
    # Between what is left after the call and what was left before it, on however slow a machine.
    assert left <= seconds <= 60.0
    assert limit_of_the_dump(time.monotonic() - 60.0) == 3.0
