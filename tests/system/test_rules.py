"""Security policies with real packets: a guest under emulation, and a neighbour of it on the same bridge.

The neighbour is a network namespace. What it could reach, and what came from the guest, is asked before there is a policy
too: so nothing is taken for filtered that never went through. Once by libvirt's filters, once by nftables.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import libvirt
import pytest

from nano.hypervisor import local_libvirtd
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.tools.guest_image.builder import cache_folder, ensure_image
from nano.tools.testbed.inside import Inside
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(200)

BRIDGE = "nano-rules"
GUEST, NEIGHBOUR, STOLEN = "10.99.7.5", "10.99.7.1", "10.99.7.66"
OTHER_MAC = "52:54:00:66:66:66"
TRY = """
import socket, sys
with socket.socket() as s:
    s.settimeout(2)
    try:
        s.connect((sys.argv[1], int(sys.argv[2])))
        print("open")
    except ConnectionRefusedError:
        print("refused")
    except OSError:
        print("nothing")
"""
HEAR = """
import json, socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
    s.bind(("eth0", 0))
    print("listening", flush=True)
    sys.stdin.readline()
    s.setblocking(False)
    heard = []
    try:
        while True:
            frame = s.recv(2048)
            kind = frame[12:14]
            source = frame[28:32] if kind == b"\\x08\\x06" else frame[26:30] if kind == b"\\x08\\x00" else b""
            heard.append([frame[6:12].hex(":"), ".".join(map(str, source))])
    except BlockingIOError:
        print(json.dumps(heard))
"""


class Neighbour(NamedTuple):
    namespace: str

    def _program(self, text: str, *words: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace}", sys.executable, "-c", text, *words]

    def tries(self, port: int) -> str:
        """What a connection to the guest meets: open, refused, or nothing at all."""
        done = subprocess.run(self._program(TRY, GUEST, str(port)), capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @contextlib.contextmanager
    def hearing(self, heard: set[tuple[str, str]]) -> Iterator[None]:
        """(MAC, IPv4 address) of every sender that was heard meanwhile."""
        with subprocess.Popen(self._program(HEAR), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ear:
            assert ear.stdin is not None
            assert ear.stdout is not None
            assert ear.stdout.readline() == "listening\n"
            yield
            ear.stdin.write("\n")
            ear.stdin.flush()
            heard.update((mac, address) for mac, address in json.loads(ear.stdout.readline()))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Street(NamedTuple):
    zone: Zone
    neighbour: Neighbour
    kind: str


@pytest.fixture(params=["nwfilter", "nftables"])
def street(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Street]:
    """libvirt's rules stay behind in the network they were made in, so that is one of our own. nftables' go with their guest;
    they are put in place by the cell, which is in the machine's own network."""
    kind, ours = request.param, f"rules{os.getpid()}"
    netns = ours if kind == "nwfilter" else None
    neighbour = f"{ours}n"
    folder = Path(tempfile.mkdtemp(prefix="nano-rules-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for namespace in (ours, neighbour):
            ip("netns", "add", namespace)
            stack.callback(ip, "netns", "del", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ensure_bridge(BRIDGE, netns=netns)
        stack.callback(remove_bridge, BRIDGE, netns=netns)
        place = ("netns", ours) if netns else ()
        inside = ("-n", ours) if netns else ()
        ip("link", "add", "nano-rport", *place, "type", "veth", "peer", "name", "eth0", "netns", neighbour)
        stack.callback(subprocess.run, ["ip", *inside, "link", "del", "nano-rport"], check=False)
        ip(*inside, "link", "set", "nano-rport", "master", BRIDGE, "up")
        ip("-n", neighbour, "addr", "add", f"{NEIGHBOUR}/24", "dev", "eth0")
        ip("-n", neighbour, "link", "set", "eth0", "up")
        stack.callback(end, folder)
        uri = local_libvirtd.start(folder, netns=netns, hide_kvm=True)
        zone = Zone(tmp_path / "zone", uri, 17930, bridge=BRIDGE, packet_filter=kind)
        stack.callback(zone.stop)
        zone.up()
        yield Street(zone, Neighbour(neighbour), kind)


def end(folder: Path) -> None:
    local_libvirtd.stop(folder)
    for pid in local_libvirtd.guest_processes(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def filters_of(street: Street) -> set[str]:
    """Names of what carries out policies on the host."""
    if street.kind == "nftables":
        done = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, text=True, check=True)
        rows = [row["table"]["name"] for row in json.loads(done.stdout)["nftables"] if "table" in row]
        return {name for name in rows if name.startswith("nano-") and not name.startswith("nano-guard")}
    connection = libvirt.open(street.zone.uri)
    try:
        return {one.name() for one in connection.listAllNWFilters()}
    finally:
        connection.close()


def test_packets_that_a_policy_does_not_allow_do_not_pass(street: Street) -> None:
    """By libvirt a guest has its policy from its first start on; by nftables it has none at first, and is guarded without."""
    zone, neighbour, kind = street
    zone.ctl("image", "register", "tiny", str(ensure_image(cache_folder(), lambda *_: None)), "--wait")
    made = ["--policy", "drop"] if kind == "nwfilter" else ["--cloud-init", f"address={GUEST}/24"]
    size = ["--memory", "128MiB", "--disk", "256MiB", "--image", "tiny"]
    zone.ctl("guest", "create", "web", *size, *made, "--start", "--wait")
    until(lambda: zone.guest("web")["agent"], "the agent answers", 120)
    guest = zone.guest("web")
    inside = Inside(zone, guest["id"])
    card = inside.run("ip -o link | grep -o 'e[a-z0-9]*[0-9]' | head -1")
    inside.run(f"killall -9 udhcpc; ip addr flush dev {card}; ip addr add {GUEST}/24 dev {card}; ip link set {card} up")
    inside.run("for port in 80 81; do nc -ll -p $port -e /bin/true >/dev/null 2>&1 & done")

    def sent(script: str) -> set[tuple[str, str]]:
        """Who was heard while the guest ran this."""
        heard: set[tuple[str, str]] = set()
        with neighbour.hearing(heard):
            inside.run(script)
        return heard

    def as_another_machine() -> set[tuple[str, str]]:
        """With another MAC, then with the own one again."""
        change = f"ip link set {card} down; ip link set {card} address"
        back = f"ip link set {card} up"
        return sent(
            f"{change} {OTHER_MAC}; {back}; ping -c 1 -W 1 {NEIGHBOUR}; {change} {guest['mac']}; {back}; ping -c 1 {NEIGHBOUR}"
        )

    def with_a_stolen_address() -> set[tuple[str, str]]:
        add = f"ip addr add {STOLEN}/24 dev {card}; ping -c 1 -W 1 -I {STOLEN} {NEIGHBOUR}"
        return sent(f"{add}; ip addr del {STOLEN}/24 dev {card}; ping -c 1 {NEIGHBOUR}")

    if kind == "nwfilter":
        assert (neighbour.tries(80), neighbour.tries(81)) == ("nothing", "nothing")
        zone.ctl("guest", "rule", "default", "web", "accept", "--wait")
    else:
        assert filters_of(street) == set()
        heard = as_another_machine() | with_a_stolen_address()
        assert (guest["mac"], GUEST) in heard, "as itself it is heard"
        assert (OTHER_MAC in {mac for mac, _ in heard}, STOLEN in {address for _, address in heard}) == (False, False)
    until(lambda: neighbour.tries(80) == neighbour.tries(81) == "open", "both ports are open without rules")
    zone.ctl("guest", "rule", "guard", "web", "off", "--wait")
    assert OTHER_MAC in {mac for mac, _ in as_another_machine()}, "nothing else keeps it from posing as another"
    assert STOLEN in {address for _, address in with_a_stolen_address()}
    zone.ctl("guest", "rule", "guard", "web", "on", "--wait")
    assert zone.guest("web")["security"] is None or kind == "nwfilter"

    zone.ctl("guest", "rule", "default", "web", "drop", "--wait")
    assert zone.guest("web")["pending"] == []
    assert filters_of(street) == {f"nano-{guest['id']}"}
    assert (neighbour.tries(80), neighbour.tries(81)) == ("nothing", "nothing")
    assert "1 packets received" in inside.run(f"ping -c 1 {NEIGHBOUR}"), "answers to what it began pass"
    zone.ctl("guest", "rule", "add", "web", "accept", "--protocol", "tcp", "--port", "80", "--wait")
    assert (neighbour.tries(80), neighbour.tries(81)) == ("open", "nothing")
    zone.ctl("guest", "rule", "add", "web", "drop", "--source", NEIGHBOUR, "--before", "1", "--wait")
    assert neighbour.tries(80) == "nothing", "the first rule that fits decides"
    zone.ctl("guest", "rule", "move", "web", "1", "2", "--wait")
    assert neighbour.tries(80) == "open"

    heard = as_another_machine()
    assert guest["mac"] in {mac for mac, _ in heard}, "with its own MAC it is heard"
    assert OTHER_MAC not in {mac for mac, _ in heard}
    zone.ctl("guest", "rule", "addresses", "web", "--address", GUEST, "--wait")
    heard = with_a_stolen_address()
    assert GUEST in {address for _, address in heard}
    assert STOLEN not in {address for _, address in heard}
    assert (zone.ctl("drift"), zone.ctl("orphans")) == ([], [])

    zone.ctl("guest", "delete", "web", "--force", "--wait")
    assert filters_of(street) == set()
    zone.check()
