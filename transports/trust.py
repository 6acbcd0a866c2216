"""Who may talk to whom: the question a link asks after every handshake, and the answer a cell keeps about its Core.

A handshake proves a key; ``Trust`` says what that key is worth. Core's answer comes from its model (approved cells,
join tokens) and is given by the lead's code; a cell's answer is ``PinnedCore``: the first Core that approves it is the
only one it ever obeys. Invariant: a key, domain or epoch that stands against the pin is refused and logged, never
followed "because it is newer". A pin is removed by a person only.
"""

import logging
import os
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from nano.domain.errors import Forbidden
from nano.transports.messages import Hello, Welcome

logger = logging.getLogger("nano.transports")


class Verdict(Enum):
    APPROVED = "approved"
    WAITING = "waiting"  # known, may only say hello
    REFUSED = "refused"


class Judgement(NamedTuple):
    """``code`` and ``reason`` go to the other end and into the log when the verdict is REFUSED."""

    verdict: Verdict
    code: str = ""
    reason: str = ""
    hint: str = ""

    def error(self) -> Forbidden:
        return Forbidden(self.reason or "This node is not welcome.", code=self.code or "node_refused", hint=self.hint)


APPROVED = Judgement(Verdict.APPROVED)
WAITING = Judgement(Verdict.WAITING)


def refused(code: str, reason: str, hint: str = "") -> Judgement:
    return Judgement(Verdict.REFUSED, code, reason, hint)


class Trust(Protocol):
    def check(self, remote_fingerprint: str, claimed: Hello | Welcome | None) -> Judgement:
        """What the proven key may do. The acceptor asks with the Hello; the connector first with None, before it says
        hello (and shows a join token), then with each Welcome. Must not block."""
        ...

    def admitted(self, remote_fingerprint: str, welcome: Welcome) -> None:
        """Connector only: the other end has approved us. Called before anything else is exchanged."""
        ...


class Pin(msgspec.Struct, frozen=True):
    """The Core a cell belongs to. ``epoch`` is the highest it has seen of it."""

    domain: str
    core: str
    fingerprint: str
    epoch: int


class PinStore(Protocol):
    def load(self) -> Pin | None: ...

    def save(self, pin: Pin) -> None: ...


class MemoryPinStore:
    """For tests and the simulator."""

    def __init__(self, pin: Pin | None = None) -> None:
        self.pin = pin

    def load(self) -> Pin | None:
        return self.pin

    def save(self, pin: Pin) -> None:
        self.pin = pin


class FilePinStore:
    """One JSON file, replaced as a whole and synced. Raises msgspec.ValidationError or DecodeError when it is damaged:
    a cell that has lost its pin must not silently take the next Core that comes along."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Pin | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Pin)
        except FileNotFoundError:
            return None

    def save(self, pin: Pin) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".part")
        with partial.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(pin)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Adopts(Protocol):
    """Where the certificate goes that Core issues with its approval (``NodeIdentity``)."""

    def adopt(self, certificate: str, authority: str) -> None: ...


class PinnedCore:
    """A cell's trust. ``identity`` receives the certificate that comes with an approval."""

    def __init__(self, domain: str, store: PinStore, identity: Adopts | None = None) -> None:
        self._domain = domain
        self._store = store
        self._identity = identity
        self.pin = store.load()

    def check(self, remote_fingerprint: str, claimed: Hello | Welcome | None) -> Judgement:
        pin = self.pin
        if pin is not None and pin.fingerprint != remote_fingerprint:
            return refused(
                "core_not_pinned",
                f"This node belongs to Core {pin.core} ({pin.fingerprint[:16]}…) and met {remote_fingerprint[:16]}….",
                "If the Core was replaced on purpose, remove the pin on this node.",
            )
        if not isinstance(claimed, Welcome):
            return WAITING
        if claimed.domain != self._domain:
            return refused("wrong_domain", f"This node is of domain {self._domain}, not {claimed.domain}.")
        if pin is not None and claimed.epoch < pin.epoch:
            return refused("epoch_old", f"Core is at epoch {claimed.epoch}; this node has seen {pin.epoch}.")
        return APPROVED if claimed.approved else WAITING

    def admitted(self, remote_fingerprint: str, welcome: Welcome) -> None:
        pin = Pin(self._domain, welcome.name, remote_fingerprint, welcome.epoch)
        if pin != self.pin:
            self._store.save(pin)
            self.pin = pin
            logger.info("core pinned name=%s fingerprint=%s epoch=%d", pin.core, pin.fingerprint, pin.epoch)
        if self._identity is not None and welcome.certificate:
            self._identity.adopt(welcome.certificate, welcome.authority)
