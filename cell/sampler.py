"""Sampler: measures the host every two seconds and turns counters into rates. Samples are never journaled."""

import logging
from collections.abc import Callable

import anyio

from nano.domain.errors import NanoError
from nano.domain.host_domain import HostDomain
from nano.domain.site import Site
from nano.hypervisor.host import GuestSample, Host, HostSample
from nano.transports.messages import GuestRates, Heartbeat

log = logging.getLogger("nano.cell")

PERIOD_S = 2.0  # nano-behaviour §2


class Sampler:
    """``latest`` is None until two samples were taken, then at most PERIOD_S old while the hypervisor answers."""

    def __init__(self, host: Host, site: Site, now: Callable[[], float]) -> None:
        self.latest: Heartbeat | None = None
        self.trouble = ""
        """Why the hypervisor gave no sample at the last try; ``changed()`` is called when that begins and ends."""
        self.changed: Callable[[], None] = lambda: None
        self._host = host
        self._site = site
        self._now = now
        self._before: tuple[float, HostSample] | None = None
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    async def run(self) -> None:
        while True:
            try:
                sample = await self._host.sample()
            except NanoError as error:
                log.warning("no sample code=%s reason=%s", error.code, error.message)
                self._tell(error.message)
                await anyio.sleep(PERIOD_S)
                continue
            self._tell("")
            now = self._now()
            then, before = self._before or (now - PERIOD_S, sample)
            self._before = (now, sample)
            self.latest = self._beat(before, sample, max(now - then, 1e-3))
            for listener in self._listeners:
                listener()
            await anyio.sleep(PERIOD_S)

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.changed()

    def _beat(self, before: HostSample, sample: HostSample, elapsed_s: float) -> Heartbeat:
        def rate(new: int, old: int) -> int:
            return max(0, int((new - old) / elapsed_s))

        capabilities = self._host.capabilities
        earlier = {guest.guest_id: guest for guest in before.guests}
        return Heartbeat(
            cores=capabilities.cores,
            cpu_percent=round(sample.cpu_percent, 1),
            memory_total=sample.memory_total,
            memory_available=sample.memory_available,
            disk_total=sample.disk_total,
            disk_available=sample.disk_available,
            read_rate=rate(sample.read_bytes, before.read_bytes),
            write_rate=rate(sample.write_bytes, before.write_bytes),
            receive_rate=rate(sample.receive_bytes, before.receive_bytes),
            send_rate=rate(sample.send_bytes, before.send_bytes),
            uptime_s=sample.uptime_s,
            virt_type=capabilities.virt_type,
            virt_note=capabilities.virt_note,
            hypervisor=capabilities.hypervisor,
            abilities=capabilities.abilities,
            storage=capabilities.storage,
            guests=tuple(self._rates(earlier.get(guest.guest_id, guest), guest, elapsed_s) for guest in sample.guests),
        )

    def _rates(self, before: GuestSample, sample: GuestSample, elapsed_s: float) -> GuestRates:
        def rate(new: int, old: int) -> int:
            return max(0, int((new - old) / elapsed_s))

        cpu_s = max(0, sample.cpu_time_ns - before.cpu_time_ns) / 1e9
        cores = self._cores(sample.guest_id)
        return GuestRates(
            guest_id=sample.guest_id,
            cpu_percent=round(min(100.0, cpu_s * 100 / (elapsed_s * cores)), 1),
            memory_used=sample.memory_used,
            read_rate=rate(sample.read_bytes, before.read_bytes),
            write_rate=rate(sample.write_bytes, before.write_bytes),
            receive_rate=rate(sample.receive_bytes, before.receive_bytes),
            send_rate=rate(sample.send_bytes, before.send_bytes),
        )

    def _cores(self, guest_id: str) -> int:
        domain = self._site.get(f"domain/{guest_id}")
        return domain.spec.cores if isinstance(domain, HostDomain) else 1
