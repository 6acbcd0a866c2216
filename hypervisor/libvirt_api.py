"""The module that touches libvirt-python (with ``live_calls``): typed, blocking calls, and one translation of its errors.

Why: the binding has no types and raises one exception for everything. Here every call Nano makes has a signature, and
every failure is a ``HostError`` with a stable code (or ``DiskFull``) that carries libvirt's own words.

Invariant: ``Connection`` knows nothing of Nano's rules (whose a domain is, what is idempotent); all methods block and
must run in ``BlockingCalls``. The event loop is libvirt's default one, which is process-wide by libvirt's design: it is
registered once, before the first ``open`` (without it no events and no keep-alive come).
"""

import contextlib
import functools
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import libvirt

from nano.domain.errors import DiskFull, HostError, NanoError
from nano.hypervisor.host import DOMAIN_MISSING, DOMAIN_WRONG_STATE, HYPERVISOR_UNREACHABLE
from nano.hypervisor.metadata import NAMESPACE

log = logging.getLogger("nano.hypervisor")

KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_COUNT: Final = 6  # half a minute: on a busy machine libvirtd may be slow, and a closed socket is seen at once
TEXT_MAX: Final = 500

UNSUPPORTED: Final = "hypervisor_unsupported"
AGENT_SILENT: Final = "agent_unresponsive"
_CODES: Final[dict[int, str]] = {
    libvirt.VIR_ERR_NO_DOMAIN: DOMAIN_MISSING,
    libvirt.VIR_ERR_OPERATION_INVALID: DOMAIN_WRONG_STATE,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: "hypervisor_busy",
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: AGENT_SILENT,
    libvirt.VIR_ERR_AGENT_UNSYNCED: AGENT_SILENT,
    libvirt.VIR_ERR_NO_CONNECT: HYPERVISOR_UNREACHABLE,
    libvirt.VIR_ERR_INVALID_CONN: HYPERVISOR_UNREACHABLE,
    libvirt.VIR_ERR_RPC: HYPERVISOR_UNREACHABLE,
    libvirt.VIR_ERR_NO_SUPPORT: UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: UNSUPPORTED,
    libvirt.VIR_ERR_INVALID_ARG: UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: UNSUPPORTED,
    libvirt.VIR_ERR_XML_ERROR: "domain_refused",
    libvirt.VIR_ERR_XML_DETAIL: "domain_refused",
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: "domain_refused",
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "domain_refused",
    libvirt.VIR_ERR_OPERATION_FAILED: "domain_refused",
    libvirt.VIR_ERR_DOM_EXIST: "domain_exists",
    libvirt.VIR_ERR_AUTH_FAILED: "hypervisor_denied",
    libvirt.VIR_ERR_ACCESS_DENIED: "hypervisor_denied",
}
_BROKEN_LINK: Final = (
    "client socket is closed",
    "Connection reset by peer",
    "Broken pipe",
    "end of file while reading",
)
_HINTS: Final[dict[str, str]] = {
    DOMAIN_MISSING: "Redefine the guest.",
    HYPERVISOR_UNREACHABLE: "See whether libvirtd runs on the host.",
    "hypervisor_busy": "Try again when the guest's running job has ended.",
    "hypervisor_denied": "Give the cell's user access to libvirt.",
}


class DomainState(NamedTuple):
    uuid: str
    state: int  # VIR_DOMAIN_*
    reason: int


class RawEvent(NamedTuple):
    """As libvirt said it, from libvirt's thread. ``kind``: lifecycle | agent | reboot | io_error."""

    kind: str
    uuid: str
    event: int = 0
    detail: int = 0
    text: str = ""


def register_event_loop() -> None:
    """Start libvirt's default event loop in a daemon thread, once in a process."""
    with _registering:
        if _run_events.started:
            return
        _run_events.started = True
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints every error
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()


class _EventRunner:
    started = False

    def __call__(self) -> None:
        while True:
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError as error:
                log.warning("libvirt event loop error=%s", str(error)[:TEXT_MAX])


_registering = threading.Lock()
_run_events = _EventRunner()


def host_error(error: Any, what: str) -> NanoError:
    """Our error for a libvirtError: stable code, libvirt's text, DiskFull where it says there is no space."""
    text = str(error.get_error_message() or error).strip()[:TEXT_MAX]
    if "No space left" in text:
        return DiskFull(f"{what}: {text}", hint="Free space on the host or choose another cell.")
    number = error.get_error_code()
    code = _CODES.get(number, "hypervisor_error")
    if any(words in text for words in _BROKEN_LINK) or (
        number == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_error_domain() == libvirt.VIR_FROM_RPC
    ):
        code = HYPERVISOR_UNREACHABLE
    return HostError(f"{what}: {text}", code=code, hint=_HINTS.get(code, ""))


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise host_error(error, what) from None


class Connection:
    """One open connection. Domains are named by UUID text in every call."""

    def __init__(self, uri: str) -> None:
        """Connect. Raises HostError(code="hypervisor_unreachable") and the other translated errors."""
        register_event_loop()
        self._callbacks: list[int] = []
        with translated(f"Connecting to {uri}"):
            self._raw: Any = libvirt.open(uri)
        with contextlib.suppress(libvirt.libvirtError):  # the test driver has no wire to keep alive
            self._raw.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)

    def alive(self) -> bool:
        try:
            return bool(self._raw.isAlive())
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            for number in self._callbacks:
                self._raw.domainEventDeregisterAny(number)
            self._callbacks.clear()
            self._raw.unregisterCloseCallback()
        with contextlib.suppress(libvirt.libvirtError):
            self._raw.close()

    def versions(self) -> str:
        """ "libvirt 9.0.0, QEMU 7.2.22". The first call makes libvirt probe QEMU, which takes seconds."""
        with translated("Reading versions"):
            name = {"QEMU": "QEMU", "TEST": "test driver"}.get(self._raw.getType(), str(self._raw.getType()))
            return f"libvirt {_dotted(self._raw.getLibVersion())}, {name} {_dotted(self._raw.getVersion())}"

    def settle(self) -> None:
        """Wait until a libvirtd that has just started has taken up its running guests again.

        Until then it answers, but loses events: a guest that ends now is stopped without a word (libvirt 9.0). Statistics
        without NOWAIT wait for each guest's job, and taking it up is one.
        """
        with translated("Waiting for libvirt to find its guests again"):
            self._raw.getAllDomainStats(
                libvirt.VIR_DOMAIN_STATS_BALLOON, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            )

    def states(self) -> list[DomainState]:
        """Every domain of the host, running or not, in one call."""
        with translated("Listing domains"):
            records = self._raw.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
        return [
            DomainState(domain.UUIDString(), int(stats.get("state.state", 0)), int(stats.get("state.reason", 0)))
            for domain, stats in records
        ]

    def stats(self) -> list[tuple[str, dict[str, Any]]]:
        """CPU, memory, disk and network counters of every running domain in one call that waits for no guest."""
        groups = (
            libvirt.VIR_DOMAIN_STATS_STATE
            | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
            | libvirt.VIR_DOMAIN_STATS_BALLOON
            | libvirt.VIR_DOMAIN_STATS_INTERFACE
            | libvirt.VIR_DOMAIN_STATS_BLOCK
        )
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
        with translated("Reading statistics"):
            try:
                nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
                records = self._raw.getAllDomainStats(groups, flags | nowait)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED):
                    raise
                records = self._raw.getAllDomainStats(groups, flags)
        return [(domain.UUIDString(), dict(stats)) for domain, stats in records]

    def state(self, uuid: str) -> DomainState | None:
        """None when there is no such domain."""
        with translated(f"Looking at domain {uuid}"):
            try:
                state, reason = self.domain(uuid).state()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise
        return DomainState(uuid, int(state), int(reason))

    def mark_text(self, uuid: str) -> str:
        """The text of the domain's metadata element in our namespace, "" when it has none or is gone."""
        with translated(f"Reading the metadata of domain {uuid}"):
            try:
                return str(self.domain(uuid).metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
            except libvirt.libvirtError as error:
                if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
                    return ""
                raise

    def define(self, xml: str, *, autostart: bool) -> None:
        with translated("Defining the domain"):
            domain = self._raw.defineXML(xml)
            if bool(domain.autostart()) != autostart:
                domain.setAutostart(int(autostart))

    def autostart(self, uuid: str) -> bool:
        with translated("Reading the definition"):
            return bool(self.domain(uuid).autostart())

    def create(self, uuid: str) -> None:
        with translated("Starting the domain"):
            self.domain(uuid).create()

    def resume(self, uuid: str) -> None:
        with translated("Resuming the domain"):
            self.domain(uuid).resume()

    def shutdown(self, uuid: str) -> None:
        """By ACPI, never by the agent: it answers at once and does not depend on the guest's software."""
        with translated("Shutting the domain down"):
            domain = self.domain(uuid)
            try:
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _FLAG_REFUSED:
                    raise
                domain.shutdown()

    def destroy(self, uuid: str) -> None:
        with translated("Powering the domain off"):
            self.domain(uuid).destroy()

    def reboot(self, uuid: str) -> None:
        with translated("Rebooting the domain"):
            domain = self.domain(uuid)
            try:
                domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _FLAG_REFUSED:
                    raise
                domain.reboot(0)

    def reset(self, uuid: str) -> None:
        with translated("Resetting the domain"):
            self.domain(uuid).reset(0)

    def undefine(self, uuid: str) -> None:
        """With everything libvirt keeps about it: saved memory, firmware variables, snapshot and checkpoint records."""
        with translated("Undefining the domain"):
            domain = self.domain(uuid)
            for flags in _UNDEFINE_FLAGS:
                try:
                    domain.undefineFlags(flags)
                except libvirt.libvirtError as error:
                    if error.get_error_code() not in _FLAG_REFUSED or flags == _UNDEFINE_FLAGS[-1]:
                        raise
                else:
                    return

    def open_graphics(self, uuid: str) -> socket.socket:
        """A connected socket to the first display, which needs no listening port. The password step is skipped."""
        with translated("Opening the display"):
            number = self.domain(uuid).openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
        return socket.socket(fileno=number)

    def guest_info(self, uuid: str, limit_s: int) -> dict[str, Any]:
        """What the guest agent says of its host name and interfaces, each answer within ``limit_s`` seconds."""
        with translated("Asking the guest agent"):
            domain = self.domain(uuid)
            domain.agentSetResponseTimeout(limit_s, 0)
            wanted = libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME | libvirt.VIR_DOMAIN_GUEST_INFO_INTERFACES
            return dict(domain.guestInfo(wanted, 0))

    def on_events(self, tell: Callable[[RawEvent], None], lost: Callable[[], None]) -> None:
        """Have every domain event told, and the loss of the connection; both from libvirt's thread."""

        def lifecycle(_conn: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
            tell(RawEvent("lifecycle", domain.UUIDString(), event, detail))

        def agent(_conn: Any, domain: Any, state: int, reason: int, _opaque: Any) -> None:
            tell(RawEvent("agent", domain.UUIDString(), state, reason))

        def reboot(_conn: Any, domain: Any, _opaque: Any) -> None:
            tell(RawEvent("reboot", domain.UUIDString()))

        def io_error(_conn: Any, domain: Any, path: str, alias: str, action: int, reason: str, _opaque: Any) -> None:
            tell(RawEvent("io_error", domain.UUIDString(), action, 0, f"{alias or path}: {reason}"[:TEXT_MAX]))

        with translated("Registering for events"):
            for number, callback in (
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
                (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, agent),
                (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, reboot),
                (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, io_error),
            ):
                self._callbacks.append(self._raw.domainEventRegisterAny(None, number, callback, None))
        with contextlib.suppress(libvirt.libvirtError):  # the test driver cannot lose its connection
            self._raw.registerCloseCallback(lambda _conn, _reason, _opaque: lost(), None)

    @property
    def raw(self) -> Any:
        """The binding's own object, for the other modules of calls."""
        return self._raw

    def domain(self, uuid: str) -> Any:
        """The same of a domain."""
        return self._raw.lookupByUUIDString(uuid)


_FLAG_REFUSED: Final = (
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
)
_UNDEFINE_FLAGS: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM,
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
    0,
)


@functools.lru_cache(maxsize=16)
def _dotted(number: int) -> str:
    """9000000 -> "9.0.0" (libvirt's major * 1,000,000 + minor * 1,000 + release)."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
