"""Attempt: one HTTPS connection of a cell to Core's image service, in a thread of its own, that can be stopped.

The standard library's client in a thread moves hundreds of megabytes a second where asynchronous ones move tens. What a
thread waits in can't be cancelled, so its socket is shut down under it.
"""

import http.client
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from nano.domain.errors import Failure, Forbidden, NanoError, Unknown, Unreachable
from nano.transports.identity import NodeIdentity

FRUITLESS_MAX: Final = 5  # attempts in a row without a byte
WAIT_LAST_S: Final = 3.0
CONNECT_S: Final = 5.0  # also how long a cancelled transfer may last: a connect can't be interrupted
READ_S: Final = 20.0


def client_tls(identity: NodeIdentity) -> ssl.SSLContext:
    """TLS 1.3 that trusts the domain's CA only and shows the certificate that came with our approval."""
    if not identity.authority_path.exists():
        raise Forbidden(
            "This node has no certificate of its domain yet.",
            code="node_not_approved",
            hint="It comes with the approval: add the cell to a compute pool.",
        )
    tls = ssl.create_default_context(cafile=str(identity.authority_path))
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(identity.certificate_path, identity.key_path)
    return tls


class Attempt:
    """One connection to the address of a file. Afterwards ``interrupted`` says why ``transfer`` did not come to its end."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self.interrupted = ""
        self.stopped = False
        where = urlsplit(url)
        self.path = where.path
        self.connection = http.client.HTTPSConnection(where.hostname or "", where.port, context=tls, timeout=CONNECT_S)

    def transfer(self) -> None:
        """Blocking, on a connection that is open; looks at ``stopped`` now and then."""
        raise AssertionError("every kind of attempt has its own")

    async def run(self) -> None:
        """Raises what the service answered, or what the disk says; interruptions are only noted. When cancelled, the
        thread is stopped and waited for."""
        failure: list[BaseException] = []
        finished = anyio.Event()

        async def work() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    await anyio.to_thread.run_sync(self._work, limiter=anyio.CapacityLimiter(1))
                except NanoError as error:
                    failure.append(error)
                finally:
                    finished.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            try:
                await finished.wait()
            finally:
                self._stop()
        if failure:
            raise failure[0]

    def _stop(self) -> None:
        """Wakes the thread from whatever read it waits in. The plain socket is shut down, not the TLS one: that would
        first forget its session, and the thread would take the ciphertext still in the kernel for the image."""
        self.stopped = True
        sock: socket.socket | None = self.connection.sock
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # closed already

    def _work(self) -> None:
        try:
            self.connection.connect()
            self.connection.sock.settimeout(READ_S)
            if not self.stopped:
                self.transfer()
        except (OSError, http.client.HTTPException) as error:
            self.interrupted = str(error) or type(error).__name__
        finally:
            self.connection.close()


def refused(status: int, body: bytes) -> NanoError:
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.MsgspecError:
        problem = {}
    detail, code = str(problem.get("detail", f"HTTP {status}")), str(problem.get("code", ""))
    if status == 403:
        return Forbidden(detail, code=code)
    if status == 404:
        return Unknown(detail, code=code)
    return Failure(f"Core's image service refused: {detail}", code=code or "image_service_failed")


def silent(url: str, reason: str, done: int, size: int) -> Unreachable:
    where = urlsplit(url)
    return Unreachable(
        f"Core's image service at {where.scheme}://{where.netloc} does not answer: {reason}.",
        code="image_service_unreachable",
        hint="Is Core running, and its image port open to this host?",
        done=done,
        size=size,
    )
