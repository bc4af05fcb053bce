"""The address for probes, where it can't be listened on."""

from __future__ import annotations

import socket

import pytest

from toolkit.daemon.health import open_listener
from toolkit.errors import UsageError


@pytest.mark.parametrize("source", ["--health-address", "TOOLKIT_HEALTH_ADDRESS"])
def test_a_taken_address_is_one_line_that_names_who_gave_it(source: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError) as caught:
            open_listener(address, source)
    assert str(caught.value).startswith(f"{source} {address}: ")
