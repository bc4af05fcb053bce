"""What an engine needs besides its adapter and its control: an entry in each of these tables."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

import pytest

from runtime_configs.distros.table import PLAIN_ROWS
from runtime_configs.model import EngineName, of_engine
from runtime_configs.registry import ADAPTERS
from toolkit.engine.loading import CLIENTS
from toolkit.engine.open import CONTROLS
from toolkit.engine.process.identity import PROGRAMS, UNITS
from toolkit.engine.process.kubelet import SOCKETS
from toolkit.engine.process.peer import GREETINGS
from toolkit.engine.reload import AT_HANG_UP

REPOSITORY = Path(__file__).parents[2]


def schema() -> Container[str]:
    document = json.loads((REPOSITORY / "deploy/helm/values.schema.json").read_text())
    engines: list[str] = document["properties"]["operator"]["properties"]["defaultRuntime"]["enum"]
    return engines


def golden() -> Container[str]:
    """Return the engines with a golden case, by the line that names it."""
    found = [path.read_text() for path in (REPOSITORY / "tests/golden").glob("*/*/case.toml")]
    return {name for name in EngineName if any(f'engine = "{name}"' in each for each in found)}


TABLES: dict[str, Container[str]] = {
    "ADAPTERS in runtime_configs/registry.py": ADAPTERS,
    "DISTRIBUTIONS in runtime_configs/distros/table.py, a row named plain": PLAIN_ROWS,
    "CONTROLS in toolkit/engine/open.py": CONTROLS,
    "CLIENTS in toolkit/engine/loading.py": CLIENTS,
    "PROGRAMS in toolkit/engine/process/identity.py": PROGRAMS,
    "UNITS in toolkit/engine/process/identity.py": UNITS,
    "GREETINGS in toolkit/engine/process/peer.py": GREETINGS,
    "SOCKETS in toolkit/engine/process/kubelet.py": SOCKETS,
    "AT_HANG_UP in toolkit/engine/reload.py": AT_HANG_UP,
    "tests/golden, a case of it": golden(),
    "deploy/helm/values.schema.json: run `make manifests`": schema(),
    "docs/configuration.md: run `make docs`": (REPOSITORY / "docs/configuration.md").read_text(),
}


@pytest.mark.parametrize("engine", EngineName)
def test_an_engine_is_in_every_table(engine: EngineName) -> None:
    missing = [where for where, table in TABLES.items() if engine not in table]
    assert not missing, f"{engine} is missing from:\n  " + "\n  ".join(missing)


@pytest.mark.parametrize("engine", [each for each in ADAPTERS if each in CONTROLS])
def test_the_adapter_and_the_control_of_an_engine_have_its_name(engine: EngineName) -> None:
    assert ADAPTERS[engine]().name is engine
    assert CONTROLS[engine]().name is engine


def test_an_engine_without_an_entry_is_an_error_that_names_the_table() -> None:
    table = {EngineName.DOCKER: "docker's"}
    with pytest.raises(LookupError, match=r"crio is missing from TABLE in file\.py: add"):
        of_engine(table, EngineName.CRIO, "TABLE in file.py")
