"""Lan: a network of hosts on one machine, made of network namespaces, and nothing of the real network.

A switch namespace holds a bridge that joins the hosts. Each host is a namespace with a bridge ``br0`` of its own that holds
its address and its guests' cards, as a real cell has. Everything made here is removed by ``close``; names carry a prefix so
that several of these can stand side by side.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

SUBNET: Final = "10.77.0"
SWITCH_ADDRESS: Final = f"{SUBNET}.254"


class Lan:
    """``prefix`` is at most six letters (interface names have fifteen characters)."""

    def __init__(self, prefix: str) -> None:
        self.switch = f"{prefix}sw"
        self._prefix = prefix
        self._hosts: dict[str, int] = {}

    def open(self) -> None:
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "set", "lo", "up")
        _bridge(self.switch, "sw0", SWITCH_ADDRESS)

    def add_host(self, index: int) -> str:
        """A new host with address 10.77.0.<index>; the name of its namespace."""
        name = f"{self._prefix}{index}"
        _ip("netns", "add", name)
        self._hosts[name] = index
        _ip("-n", name, "link", "set", "lo", "up")
        _ip(
            "link", "add", "uplink", "netns", name, "type", "veth", "peer", "name", f"port{index}", "netns", self.switch
        )
        _ip("-n", self.switch, "link", "set", f"port{index}", "master", "sw0", "up")
        _bridge(name, "br0", self.address(name))
        _ip("-n", name, "link", "set", "uplink", "master", "br0", "up")
        return name

    def address(self, host: str) -> str:
        return f"{SUBNET}.{self._hosts[host]}"

    def cut(self, host: str) -> None:
        """Pull the host's network plug."""
        _ip("-n", self.switch, "link", "set", f"port{self._hosts[host]}", "down")

    def mend(self, host: str) -> None:
        _ip("-n", self.switch, "link", "set", f"port{self._hosts[host]}", "up")

    def close(self) -> None:
        for name in [*self._hosts, self.switch]:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        self._hosts.clear()

    def inside(self, namespace: str, command: Sequence[str]) -> list[str]:
        """The command, to be run in the namespace's network and otherwise in this machine as it is."""
        return ["nsenter", f"--net=/run/netns/{namespace}", *command]


@contextmanager
def lan(prefix: str) -> Iterator[Lan]:
    network = Lan(prefix)
    network.open()
    try:
        yield network
    finally:
        network.close()


def _bridge(namespace: str, name: str, address: str) -> None:
    _ip("-n", namespace, "link", "add", name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", name)
    _ip("-n", namespace, "link", "set", name, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
