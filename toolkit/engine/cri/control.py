"""What the engines that serve pods over the CRI have in common."""

from __future__ import annotations

from toolkit.engine.base import BaseControl


class CriControl(BaseControl):
    """An engine whose reload is a restart, which cuts off a container that is being started."""

    def own_container_running(self, deadline: float) -> bool | None:
        """Say whether the engine reports the container that this process is in as running."""
        if self._host.root.root == "/":
            return None
        from toolkit.engine.process import own_container

        return own_container.is_running(self._access, self._host.table, deadline)
