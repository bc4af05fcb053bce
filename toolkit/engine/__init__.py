"""The engine as it really is: found, asked, reloaded and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime_configs.model import EngineName

if TYPE_CHECKING:
    from toolkit.engine.control import EngineControl
    from toolkit.host.paths import HostRoot
    from toolkit.settings import Settings


def open_engine(name: EngineName, settings: Settings, root: HostRoot) -> EngineControl:
    """Return the control of one engine on the node below ``root``; nothing is asked yet."""
    from toolkit.engine.open import control_of

    return control_of(name, settings, root)
