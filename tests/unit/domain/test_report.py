"""What a Cell's journal means for Core: whatever happens to a domain, both come to say the same of it."""

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nano.domain import host_domain as hd
from nano.domain.guest import GuestCrashed, GuestMoved
from nano.domain.report import RecordReport, Reported, ReportedFact
from nano.domain.site import Site
from tests.unit.domain.test_guest_commands import AT, Bench

CHANGES = st.sampled_from(((), ("cores",), ("name", "memory")))
POWERS = ("running", "stopped", "paused", "crashed", "missing")
ADDRESSES = st.sampled_from(((), ("10.0.0.9",)))
HAPPENED = st.one_of(
    st.just(hd.DomainRedefined()),
    st.builds(hd.DomainVanished, st.just("undefined")),
    st.builds(hd.DomainPowerChanged, st.sampled_from(POWERS), st.just("found so")),
    st.builds(hd.DomainAgentChanged, st.booleans(), ADDRESSES),
    CHANGES,
)


@settings(deadline=None)
@example([hd.DomainPowerChanged("running", "so"), ("cores",), hd.DomainVanished("undefined")])
@example([("cores",), hd.DomainRedefined()])
@given(st.lists(HAPPENED, max_size=6))
def test_core_and_cell_say_the_same_of_a_guest(happened: list[Reported | tuple[str, ...]]) -> None:
    bench, site = Bench(), Site()
    guest_id = bench.ready("web")
    domain = f"domain/{guest_id}"
    spec = bench.zone.find_guest("web").spec
    site.apply(domain, hd.DomainRequested(guest_id=guest_id, spec=spec), AT)
    site.apply(domain, hd.DomainCreated(), AT)
    for number, item in enumerate(happened):
        event = item
        if isinstance(item, tuple):
            event = hd.DomainChanged(spec=msgspec.structs.replace(spec, cores=2 + number), pending=item)
        site.apply(domain, event, AT)
        bench.do(RecordReport(cell="one", facts=(ReportedFact(guest_id, event),)))
        (kept,) = site.domains()
        told = bench.zone.find_guest("web")
        for field in ("spec", "power", "pending", "agent", "addresses"):
            assert getattr(told, field) == getattr(kept, field), field


def test_a_crashed_guest_that_moved_is_stopped_there() -> None:
    bench = Bench()
    guest_id = bench.ready("web", running=True)
    guest = bench.zone.find_guest("web")
    bench.zone.apply(f"guest/{guest_id}", GuestCrashed("crashed"), AT)
    bench.zone.apply(f"guest/{guest_id}", GuestMoved(cell="two", spec=guest.spec, since=0), AT)
    bench.do(RecordReport(cell="two", facts=(ReportedFact(guest_id, hd.DomainCreated(), 1),)))
    assert bench.zone.find_guest("web").power == "stopped"
