"""Pinger: asks an address many times a second whether it is there, and tells the longest time for which nothing came back.

``Pinger`` is what a test holds; the asking is done by this module as a program in the network namespace it is given, because a
process has one network. What was asked before the first answer does not count.
"""

import itertools
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

EVERY_S: Final = 0.02
LIMIT_S: Final = 300.0
ECHO: Final = struct.Struct(">BBHHH")
IPV4_HEAD: Final = 20


class Silence(NamedTuple):
    """``longest_s`` between two answers, of so many."""

    longest_s: float
    answers: int


class Pinger:
    """Entered, it asks; ``silence`` is there afterwards. ``inside`` makes a command run in the namespace."""

    def __init__(self, inside: Sequence[str], address: str) -> None:
        self._command = [*inside, sys.executable, "-m", "nano.tools.testbed.pinger", address]
        self.silence = Silence(0.0, 0)

    def __enter__(self) -> "Pinger":
        """Returns when the first answer has come."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "answers\n"
        return self

    def __exit__(self, *_: object) -> None:
        told, _nothing = self._process.communicate("", timeout=LIMIT_S)
        self.silence = Silence(*json.loads(told))


def ask(address: str) -> Silence:
    """Until the standard input ends. Says "answers" when the first has come."""
    identity, number = os.getpid() & 0xFFFF, 0
    came: list[float] = []
    ends, due = time.monotonic() + LIMIT_S, 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as line:
        line.connect((address, 0))
        while (now := time.monotonic()) < ends:
            if now >= due:
                number, due = number + 1, now + EVERY_S
                line.send(_request(identity, number & 0xFFFF))
            ready, _, _ = select.select([line, sys.stdin], [], [], max(0.0, due - now))
            if line in ready and _answers(line.recv(2048), identity):
                if not came:
                    print("answers", flush=True)
                came.append(time.monotonic())
            if sys.stdin in ready:
                break
    return Silence(max((after - before for before, after in itertools.pairwise(came)), default=LIMIT_S), len(came))


def _request(identity: int, number: int) -> bytes:
    head = ECHO.pack(8, 0, 0, identity, number)
    total = sum(struct.unpack(">4H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return ECHO.pack(8, 0, ~total & 0xFFFF, identity, number)


def _answers(packet: bytes, identity: int) -> bool:
    if len(packet) < IPV4_HEAD + ECHO.size:
        return False
    kind, _, _, whose, _ = ECHO.unpack_from(packet, IPV4_HEAD)
    return (kind, whose) == (0, identity)


if __name__ == "__main__":
    try:
        told = ask(sys.argv[1])
    except OSError as error:  # the network is there, but not whom we ask
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    print(json.dumps(told), flush=True)
