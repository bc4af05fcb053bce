"""What an engine's files and messages may hold, a reader answers or refuses in its own words."""

from __future__ import annotations

import pytest

from tests.property.reader_fuzz import READERS, run


@pytest.mark.parametrize(
    "count", [4_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(0)])]
)
@pytest.mark.parametrize("seed", [2026])
def test_mutations_of_real_files_raise_nothing_but_the_reader_s_own_errors(
    count: int, seed: int
) -> None:
    done = run(count, seed)
    assert set(READERS) <= set(done)
    assert sum(done[name] for name in (*READERS, "nri")) == count
