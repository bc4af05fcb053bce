"""Find, query, reload and verify the running engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime_configs.model import EngineName

if TYPE_CHECKING:
    from toolkit.engine.control import EngineControl
    from toolkit.host.paths import HostRoot
    from toolkit.settings import Settings


def open_engine(name: EngineName, settings: Settings, root: HostRoot) -> EngineControl:
    """Return the control of one engine on the node below ``root``; makes no call to the engine."""
    from toolkit.engine.open import control_of

    return control_of(name, settings, root)
