"""The messages of ttrpc and of NRI that the plugin reads or writes.

Names and numbers are those of ``protos/ttrpc.proto`` and ``protos/nri.proto``.
"""

# ruff: noqa: RUF009 - the functions of wire.py return dataclasses.field

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from toolkit.nri.wire import boolean, integer, message, raw, repeated, text, text_map

RUNTIME_SERVICE = "nri.pkg.api.v1alpha1.Runtime"
PLUGIN_SERVICE = "nri.pkg.api.v1alpha1.Plugin"


class Code(IntEnum):
    """The status codes that are used, as gRPC numbers them."""

    OK = 0
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12


class Event(IntEnum):
    """What a plugin can subscribe to."""

    CREATE_CONTAINER = 4

    @property
    def mask(self) -> int:
        """The event's bit in the answer to Configure."""
        return 1 << (self - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The envelope of a call."""

    service: str = text(1)
    method: str = text(2)
    payload: bytes | memoryview = raw(3)
    timeout_nano: int = integer(4)
    """Nanoseconds; 0: the caller waits for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Why a call failed."""

    code: int = integer(1)
    message: str = text(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The envelope of an answer."""

    status: Status | None = message(1, Status)
    """None: the call went well."""
    payload: bytes | memoryview = raw(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPluginRequest:
    """The plugin's first call."""

    plugin_name: str = text(1)
    plugin_idx: str = text(2)
    """Two digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureRequest:
    """What the engine says of itself; the timeouts are in milliseconds."""

    runtime_name: str = text(2)
    runtime_version: str = text(3)
    registration_timeout: int = integer(4)
    request_timeout: int = integer(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureResponse:
    """The events that the plugin wants."""

    events: int = integer(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynchronizeRequest:
    """The pods and containers that exist already, which are skipped unread."""

    more: bool = boolean(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynchronizeResponse:
    """Nothing to change, and whether further parts are understood."""

    more: bool = boolean(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandbox:
    """The pod of a container."""

    id: str = text(1)
    name: str = text(2)
    namespace: str = text(4)
    annotations: Mapping[str, str] = text_map(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that is being created."""

    id: str = text(1)
    name: str = text(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainerRequest:
    """A container is about to be created."""

    pod: PodSandbox | None = message(1, PodSandbox)
    container: Container | None = message(2, Container)


@dataclass(frozen=True, slots=True, kw_only=True)
class CDIDevice:
    """The fully qualified name of a CDI device, which the engine looks up."""

    name: str = text(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerAdjustment:
    """What the container gets in addition."""

    cdi_devices: tuple[CDIDevice, ...] = repeated(8, CDIDevice, wire_name="CDI_devices")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainerResponse:
    """The answer to CreateContainer; without an adjustment the container stays as it is."""

    adjust: ContainerAdjustment | None = message(1, ContainerAdjustment)
