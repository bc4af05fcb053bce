from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Figure, Report, Series, exponent, markdown, plain, quieter, shown


def series(*values: float, name: str = "measured", unit: str = "ms") -> Series:
    return Series(name=name, unit=unit, values=values)


def test_a_series_shows_its_median_with_the_least_and_the_greatest_value() -> None:
    assert str(series(120.0, 90.0, 340.0)) == "120 ms (90..340)"


def test_a_single_value_has_no_spread() -> None:
    assert str(series(0.0, unit="bytes")) == "0 bytes"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0424, "0.042"), (3.456, "3.46"), (45.67, "45.7"), (261.4, "261")]
)
def test_a_number_has_as_many_digits_as_it_is_worth(value: float, text: str) -> None:
    assert shown(value) == text


def test_an_aim_is_judged_by_the_median() -> None:
    figure = Figure(section="s", measured=series(90.0, 99.0, 400.0), aim=100.0)
    assert figure.met
    assert figure.aim_text == "<= 100 ms: met"


def test_an_aim_beside_the_baseline_is_judged_by_the_ratio() -> None:
    figure = Figure(
        section="s", measured=series(200.0), baseline=series(100.0, name="copy"), aim_ratio=1.5
    )
    assert figure.ratio == 2.0
    assert figure.met is False
    assert figure.aim_text == "<= 1.50 x: NOT MET"


def test_things_of_different_units_have_no_ratio() -> None:
    figure = Figure(section="s", measured=series(2.0), baseline=series(4.0, unit="MB"))
    assert figure.ratio is None


def test_a_figure_without_an_aim_is_neither_met_nor_missed() -> None:
    assert Figure(section="s", measured=series(2.0)).met is None


def test_the_table_names_a_section_once_and_shows_a_peer_only_if_there_is_one() -> None:
    first = Figure(section="idle", measured=series(9.0, unit="MB"))
    second = Figure(section="idle", measured=series(4.0, unit="MB"))
    rows = Report(figures=[first, second]).table()
    assert [row[0] for row in rows] == ["section", "idle", ""]
    assert len(rows[0]) == 6
    beside = Figure(section="idle", measured=series(4.0), peer=series(10.0))
    rows = Report(figures=[first, beside]).table()
    assert rows[2][-2:] == ("10 ms", "2.50 x")
    assert rows[1][-2:] == ("", "")


def test_both_forms_of_the_table_have_a_line_for_each_row() -> None:
    rows = (("figure", "aim"), ("a|b", "met"))
    assert plain(rows).splitlines() == ["figure  aim", "-----------", "a|b     met"]
    assert markdown(rows).splitlines() == ["| figure | aim |", "|---|---|", "| a\\|b | met |"]


def test_the_run_is_kept_with_every_value_and_the_machine() -> None:
    figure = Figure(section="s", measured=series(1.0, 3.0), baseline=series(4.0), aim=5.0)
    kept = json.loads(json.dumps(Report(figures=[figure]).to_json({"cores": 2})))
    assert kept["machine"] == {"cores": 2}
    assert kept["figures"][0]["measured"]["values"] == [1.0, 3.0]
    assert kept["figures"][0]["ratio"] == 0.5
    assert kept["figures"][0]["met"] is True


@given(power=st.floats(0.2, 3.0), factor=st.floats(0.001, 1000.0))
def test_the_exponent_of_a_power_is_that_power(power: float, factor: float) -> None:
    sizes = (10.0, 100.0, 1000.0, 10_000.0)
    assert exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power)


def test_values_that_lie_far_apart_are_called_noisy() -> None:
    assert str(series(90.0, 100.0, 101.0, 180.0)) == "100 ms (90..180) noisy"
    assert not series(98.0, 100.0, 101.0, 103.0).noisy
    assert not series(90.0, 180.0).noisy, "of two values a spread can't be told"


def test_one_slow_moment_makes_no_run_noisy() -> None:
    assert not series(98.0, 99.0, 100.0, 100.0, 101.0, 101.0, 102.0, 900.0).noisy


def test_a_noisy_run_is_repeated_and_the_quieter_one_kept() -> None:
    noisy = [Figure(section="s", measured=series(10.0, 20.0, 30.0, 90.0))]
    quiet = [Figure(section="s", measured=series(20.0, 21.0, 21.0, 22.0))]
    runs = iter([noisy, quiet])

    assert quieter(lambda: next(runs)) == quiet
    assert next(runs, None) is None


def test_a_quiet_run_is_made_once() -> None:
    runs = iter([[Figure(section="s", measured=series(20.0, 21.0, 21.0, 22.0))]])

    assert len(quieter(lambda: next(runs))) == 1


def test_a_peer_that_ended_on_the_way_is_a_row_that_says_so() -> None:
    figure = Figure(section="s", measured=series(9.0), peer_ended="ended: exit code -1")

    rows = Report(figures=[figure]).table()

    assert rows[1][-2:] == ("ended: exit code -1", "")


def test_an_aim_beside_the_peer_counts_where_there_is_one() -> None:
    alone = Figure(section="s", measured=series(90.0), aim_peer=2.0)
    assert (alone.met, alone.aim_text) == (None, "")
    beside = Figure(section="s", measured=series(90.0), peer=series(50.0), aim_peer=2.0)
    assert beside.met
    assert beside.aim_text == "<= 2 x the peer's: met"
