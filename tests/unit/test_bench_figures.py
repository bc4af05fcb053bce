from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Figure, Report, Series, exponent, markdown, plain, shown


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
