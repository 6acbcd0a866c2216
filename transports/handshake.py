"""The first exchange of a link: Hello, Welcome, and later approval. It stays open as long as the link does.

    connector                                   acceptor
    CONTROL Hello             ->                domain, trust.check(key, hello)
                              <-                MESSAGE Welcome        or REFUSED and close
    trust.check(key, welcome)
    MESSAGE Ok                ->                only for approved=True: "I obey you", or REFUSED and close
                              <-                MESSAGE Welcome(approved=True)      when a waiting node is approved
    MESSAGE Ok                ->

The Ok makes approval a thing both ends know: the acceptor sends nothing else before it, so no command can overtake the
Welcome on another stream (what the connector sends after its Ok may; so the acceptor serves it from its Welcome on).
Invariant: nothing is served to an end that this end has not approved. A key that is not proven never gets here.
Journaling an approval is the caller's business, before ``approve``.
"""

import logging
import re
from collections.abc import Callable

import anyio
import msgspec

from nano.domain.errors import DeadlineExceeded, Forbidden, Invalid, NanoError, Unreachable
from nano.domain.naming import require_name
from nano.transports.exchange import Exchange
from nano.transports.framing import FrameKind, decode_message, encode_message
from nano.transports.link import Remote
from nano.transports.messages import Hello, Ok, Welcome
from nano.transports.serving import open_frame
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.trust import Judgement, Trust, Verdict, refused
from nano.transports.wire_errors import to_refused

logger = logging.getLogger("nano.transports")

GOODBYE_S = 2.0  # how long a refusing end waits for the other to read why

Issue = Callable[[Hello, bytes], tuple[str, str]]
"""(hello, public key DER) -> (certificate PEM, CA PEM) for a node that is being approved."""


class Connector:
    """The connecting end of one link."""

    def __init__(self, link: StreamLink, trust: Trust, hello: Hello, settings: LinkSettings) -> None:
        self._link = link
        self._trust = trust
        self._hello = hello
        self._settings = settings

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Started when the first Welcome has been accepted; then waits for an approval until the link is closed.
        Raises (before it is started) Forbidden when either end refuses, Unreachable, or DeadlineExceeded."""
        await _require(self._link, self._trust.check(self._link.carrier.fingerprint, None), None)
        control = self._link.open_control(self._hello)
        with _deadline(self._settings, self._link):
            await self._welcome(control)
        task_status.started()
        try:
            while not self._link.approved:
                await self._welcome(control)
            await self._link.closed.wait()
        except (NanoError, anyio.EndOfStream) as error:
            if not self._link.closed.is_set():
                logger.warning("link closed remote=%s reason=%s", self._link.remote.name, error)
                await self._link.aclose(str(error))

    async def _welcome(self, control: Exchange) -> None:
        welcome = open_frame(*await control.receive())
        if not isinstance(welcome, Welcome):
            raise Invalid(f"The other node answered Hello with {type(welcome).__name__}.", code="frame_malformed")
        carrier = self._link.carrier
        judgement = self._trust.check(carrier.fingerprint, welcome)
        if welcome.domain != self._hello.domain:
            judgement = refused("wrong_domain", f"{self._hello.name} is of another domain than {welcome.name}.")
        await _require(self._link, judgement, control)
        self._link.remote = Remote(welcome.name, "core", welcome.domain, carrier.fingerprint, carrier.address)
        if welcome.approved:
            self._trust.admitted(carrier.fingerprint, welcome)
            self._link.set_approved()
            control.send(FrameKind.MESSAGE, encode_message(Ok()))


class AcceptedLink(StreamLink):
    """The accepting end of a link, with what only it can do: approve a waiting peer."""

    hello: Hello
    _welcome: Welcome
    _issue: Issue | None
    _settings: LinkSettings

    async def approve(self) -> None:
        """Tell the waiting peer that it is approved, and wait until it has pinned us. Nothing when it is already.
        Raises Unreachable (link lost), Forbidden (it belongs to another Core), DeadlineExceeded."""
        if self.approved:
            return
        control = self.control
        assert control is not None
        certificate, authority = self._issue(self.hello, self.carrier.remote_public_key) if self._issue else ("", "")
        welcome = msgspec.structs.replace(self._welcome, approved=True, certificate=certificate, authority=authority)
        # What the peer asks from now on may overtake its Ok on another stream, so it is served at once; we ask nothing
        # before that Ok, because our question may as well overtake this Welcome.
        self.admit()
        control.send(FrameKind.MESSAGE, encode_message(welcome))
        with _deadline(self._settings, self):
            try:
                open_frame(*await control.receive())
            except (NanoError, anyio.EndOfStream) as error:
                logger.warning("approval not taken remote=%s reason=%s", self.remote.name, error)
                await self.aclose("approval not taken")
                if isinstance(error, NanoError):
                    raise
                raise Unreachable("The node closed the link instead of accepting its approval.") from None
        self.set_approved()

    async def greet(self, trust: Trust, welcome: Welcome, issue: Issue | None) -> None:
        """Read the Hello and answer it. Raises Forbidden when refused (the peer has been told), Unreachable,
        DeadlineExceeded or Invalid."""
        self._welcome, self._issue = welcome, issue
        with _deadline(self._settings, self):
            await self.control_arrived.wait()
            if self.control is None:
                raise self._lost()
            hello = decode_message(self.control.opening)
        if not isinstance(hello, Hello):
            raise Invalid("The other node did not begin with Hello.", code="frame_malformed")
        self.hello = hello
        # As claimed, and not yet checked: these go into log lines.
        self.remote = Remote(
            _shown(hello.name), _shown(hello.kind), _shown(hello.domain), self.carrier.fingerprint, self.carrier.address
        )
        judgement = _plain_faults(hello, welcome) or trust.check(self.carrier.fingerprint, hello)
        await _require(self, judgement, self.control)
        if judgement.verdict is Verdict.APPROVED:
            await self.approve()
        else:
            self.control.send(FrameKind.MESSAGE, encode_message(msgspec.structs.replace(welcome, approved=False)))


def _plain_faults(hello: Hello, welcome: Welcome) -> Judgement | None:
    """What is wrong with a Hello whoever sends it. Names become resource names and parts of paths."""
    try:
        require_name(hello.name, "node's name")
        require_name(hello.kind, "kind of node")
    except Invalid as error:
        return refused(error.code, error.message, error.hint)
    if hello.domain != welcome.domain:
        return refused("wrong_domain", f"This is domain {welcome.domain}.", "Correct the node's domain name.")
    if hello.epoch > welcome.epoch:
        return refused("epoch_old", f"Core is at epoch {welcome.epoch}; the node has seen {hello.epoch}.")
    return None


def _shown(text: str) -> str:
    """A name as it is; anything else so that it can't forge a log line."""
    return text if re.fullmatch(r"[0-9A-Za-z_-]{1,64}", text) else repr(text[:64])


async def _require(link: StreamLink, judgement: Judgement, control: Exchange | None) -> None:
    """Nothing when welcome or waiting; else log, tell the other end, close and raise Forbidden."""
    if judgement.verdict is not Verdict.REFUSED:
        return
    error: Forbidden = judgement.error()
    logger.warning(
        "node refused name=%s domain=%s address=%s fingerprint=%s code=%s reason=%s",
        link.remote.name,
        link.remote.domain,
        link.carrier.address,
        link.carrier.fingerprint,
        error.code,
        error.message,
    )
    if control is not None:
        control.refuse(to_refused(error, doing="hello"))
        with anyio.move_on_after(GOODBYE_S):
            await link.closed.wait()
    await link.aclose(error.code)
    raise error


class _deadline:
    """The handshake's time limit; a miss closes the link."""

    def __init__(self, settings: LinkSettings, link: StreamLink) -> None:
        self._scope = anyio.move_on_after(settings.handshake_timeout_s)
        self._link = link
        self._seconds = settings.handshake_timeout_s

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, kind: object, value: BaseException | None, traceback: object) -> bool | None:
        swallowed = self._scope.__exit__(kind, value, traceback)  # type: ignore[arg-type]
        if self._scope.cancelled_caught:
            self._link.carrier.close("handshake timeout")
            self._link.carrier_lost("handshake timeout")
            raise DeadlineExceeded(
                f"{self._link.carrier.address} did not finish the handshake within {self._seconds:g} s."
            )
        return swallowed
