"""What a guest's agent says is cut to what may be shown, whatever it says: lies, noise, and far too much."""

from typing import Any

import msgspec
import pytest

from nano.hypervisor.insider import inside_of, refused, silent


def test_an_honest_answer() -> None:
    said = {
        "hostname": "web-1",
        "os.pretty-name": "Debian GNU/Linux 12 (bookworm)",
        "os.kernel-release": "6.1.0",
        "if.count": 1,
        "if.0.name": "ens3",
        "if.0.hwaddr": "52:54:00:AA:BB:CC",
        "if.0.addr.count": 2,
        "if.0.addr.0.addr": "10.0.0.21",
        "if.0.addr.0.prefix": 24,
        "if.0.addr.1.addr": "fe80::1",
        "fs.count": 1,
        "fs.0.mountpoint": "/",
        "fs.0.name": "sda1",
        "fs.0.fstype": "ext4",
        "fs.0.total-bytes": 1000,
        "fs.0.used-bytes": 400,
    }
    told = inside_of(said, {"available": 1024, "usable": 256})
    assert (told.host_name, told.system, told.kernel) == ("web-1", "Debian GNU/Linux 12 (bookworm)", "6.1.0")
    assert (told.memory, told.memory_used) == (1 << 20, 768 << 10)
    (interface,), (disk,) = told.interfaces, told.file_systems
    assert (interface.name, interface.mac, interface.addresses) == (
        "ens3",
        "52:54:00:aa:bb:cc",
        ("10.0.0.21/24", "fe80::1"),
    )
    assert (disk.mount, disk.device, disk.type, disk.size, disk.used) == ("/", "sda1", "ext4", 1000, 400)


@pytest.mark.parametrize(
    "lie",
    ["x" * 10_000_000, "a\nb", "a\x1b[2Jb", "\u202egnp.exe", "\0", "\ud800", -1, 1 << 80, 3.5, None, [], {}, True],
)
def test_a_lie_is_bounded_and_can_be_shown(lie: Any) -> None:
    names = ("addr.count", "addr.0.addr", "addr.0.prefix", "name", "hwaddr")
    said: dict[str, Any] = dict.fromkeys(("hostname", "os.pretty-name", "os.name", "os.kernel-release"), lie)
    said |= {f"if.0.{name}": lie for name in names} | {"if.count": lie if isinstance(lie, int) else 1}
    said |= {f"fs.0.{name}": lie for name in ("mountpoint", "name", "fstype", "total-bytes", "used-bytes")}
    said |= {"fs.count": 1 << 60}
    told = inside_of(said, {"available": lie, "usable": lie, "unused": lie})
    text = msgspec.json.encode(told)
    assert len(text) < 40_000
    assert not any(byte < 32 for byte in text)
    assert "\u202e" not in text.decode()
    assert len(told.file_systems) <= 32
    assert all(0 <= one.used <= one.size <= 1 << 60 for one in told.file_systems)
    assert 0 <= told.memory_used <= told.memory


def test_nothing_of_the_guest_is_in_what_goes_wrong() -> None:
    assert {silent().code, refused().code} == {"agent_silent", "agent_refused"}
    assert silent().hint
    assert refused().hint
