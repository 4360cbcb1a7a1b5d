"""Open a device by its address: the one place that knows every kind of link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from agents.device import Device
from agents.run import DeviceRef
from orchestrator.address import AdbAddress, AdbTcpAddress, LocalAddress, UsbmuxAddress, parse_address
from orchestrator.errors import ConfigError


@contextmanager
def open_device(ref: DeviceRef) -> Iterator[Device]:
    """The device, opened for one thread. Raises: ConfigError for an address this version cannot reach, AgentError."""
    address = parse_address(ref.address)
    match address:
        case LocalAddress():
            from agents.host.device import open_host
            from agents.runner.build import default_cache

            with open_host(ref, cache=default_cache()) as device:
                yield device
        case AdbAddress() | AdbTcpAddress() | UsbmuxAddress():
            raise ConfigError(
                f"device {ref.name!r} is at {ref.address}: this version measures on `local:` only; leave it out with the campaign's `devices`"
            )
        case _:
            assert_never(address)
