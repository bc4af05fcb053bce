from __future__ import annotations

from pathlib import Path

import pytest

from runtime_configs.model import ConfigError
from tests.golden.case import ROOT, GoldenCase, applied, cases, load_case


@pytest.fixture(params=cases(), ids=lambda path: path.relative_to(ROOT).as_posix())
def case(request: pytest.FixtureRequest) -> GoldenCase:
    folder: Path = request.param
    return load_case(folder)


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def test_the_host_tree_comes_out_as_recorded_and_goes_back(case: GoldenCase, update: bool) -> None:  # noqa: FBT001 - a fixture
    before = case.tree("before")
    if case.expected.error is not None:
        with pytest.raises(ConfigError) as caught:
            case.edits(before)
        assert case.expected.error in str(caught.value)
        assert (case.expected.hint or "") in caught.value.hint
        return
    edits = case.edits(before)
    after = applied(before, edits)
    missing = [note for note in case.expected.notes if not any(note in n for n in edits.notes)]
    assert not missing, edits.notes
    if update:
        case.write("after", after)
    assert case.tree("after") == after
    assert case.edits(after).edits == ()
    assert case.reverted(after, edits) == before
    if case.has("edited"):
        back = case.reverted(case.tree("edited"), edits)
        if update:
            case.write("reverted", back)
        assert case.tree("reverted") == back
    else:
        if update:
            case.write("reverted", before)
        assert case.tree("reverted") == before
