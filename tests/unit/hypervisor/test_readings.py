"""What guests and the host say of themselves: statistics, the agent's answers, libvirt's errors."""

import libvirt
import pytest

from nano.domain.errors import DiskFull, HostError
from nano.hypervisor.host_figures import guest_sample
from nano.hypervisor.libvirt_api import TEXT_MAX, Connection, host_error, translated
from nano.hypervisor.libvirt_host import ADDRESSES_MAX, agent_report

GUEST = "3f0c0000-0000-4000-8000-000000000001"


def test_counters_of_all_disks_and_interfaces_are_summed() -> None:
    stats = {
        "cpu.time": 5,
        "block.count": 2, "block.0.rd.bytes": 1, "block.1.rd.bytes": 2, "block.1.wr.bytes": 4,
        "net.count": 1, "net.0.rx.bytes": 8, "net.0.tx.bytes": 16,
    }  # fmt: skip
    sample = guest_sample(GUEST, stats)
    assert (sample.cpu_time_ns, sample.read_bytes, sample.write_bytes) == (5, 3, 4)
    assert (sample.receive_bytes, sample.send_bytes) == (8, 16)


@pytest.mark.parametrize(
    ("stats", "kib"),
    [
        ({"balloon.current": 100, "balloon.available": 90, "balloon.usable": 60, "balloon.rss": 99}, 30),
        ({"balloon.current": 100, "balloon.available": 90, "balloon.unused": 50}, 40),
        ({"balloon.current": 100, "balloon.rss": 40}, 40),
        ({"balloon.current": 100, "balloon.rss": 400}, 100),
        ({}, 0),
    ],
)
def test_memory_is_the_guests_own_word_or_what_its_process_holds(stats: dict[str, int], kib: int) -> None:
    assert guest_sample(GUEST, stats).memory_used == kib << 10


def test_what_a_guest_says_is_cut_and_cleaned() -> None:
    said = {"hostname": "<script>\x1b[2J" + "a" * 1000, "if.count": 1, "if.0.addr.0.addr": "not an address"}
    said |= {f"if.0.addr.{n}.addr": f"10.0.0.{n}" for n in range(1, 100)}
    report = agent_report(said)
    assert report.hostname.startswith("?script???2Ja")
    assert len(report.hostname) == 253
    assert len(report.addresses) == ADDRESSES_MAX


def test_addresses_of_use_come_first_and_once() -> None:
    said = {
        "if.0.addr.0.addr": "127.0.0.1", "if.1.addr.0.addr": "fe80::1", "if.1.addr.1.addr": "fd00::5",
        "if.1.addr.2.addr": "10.0.0.7", "if.2.addr.0.addr": "10.0.0.7", "if.3.addr.0.addr": "::1",
    }  # fmt: skip
    assert agent_report(said).addresses == ("10.0.0.7", "fd00::5")


def test_silence_is_an_empty_report() -> None:
    assert agent_report({}) == agent_report({"if.count": 0})


class Refusal(libvirt.libvirtError):  # type: ignore[misc]
    """A libvirtError as libvirt makes it, without a libvirt to make it."""

    def __init__(self, code: int, text: str, origin: int = 0) -> None:
        Exception.__init__(self, text)
        self.err = (code, origin, text, 2, None, None, None, 0, 0)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, "Domain not found", "domain_missing"),
        (libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running", "domain_wrong_state"),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "no", "domain_refused"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed", "hypervisor_unreachable"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "something else", "hypervisor_error"),
    ],
)
def test_errors_have_stable_codes_and_libvirts_words(code: int, text: str, expected: str) -> None:
    error = host_error(Refusal(code, text), "Trying")
    assert isinstance(error, HostError)
    assert error.code == expected
    assert error.message == f"Trying: {text}"


def test_no_space_is_disk_full() -> None:
    assert isinstance(host_error(Refusal(1, "cannot write: No space left on device"), "Saving"), DiskFull)


def test_a_long_complaint_is_cut() -> None:
    assert len(host_error(Refusal(1, "x" * 10_000), "Trying").message) < TEXT_MAX + 20


def test_nothing_of_libvirts_own_escapes() -> None:
    with pytest.raises(HostError), translated("Trying"):
        raise Refusal(libvirt.VIR_ERR_NO_SUPPORT, "not supported")


def test_a_libvirt_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(HostError) as refusal:
        Connection("qemu:///system?socket=/nonexistent/libvirt-sock")
    assert refusal.value.code == "hypervisor_unreachable"
