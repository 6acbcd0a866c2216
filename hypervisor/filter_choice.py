"""Which packet filter a host has: libvirt's where it works, else nftables, else none, found out by trying.

Why: libvirt takes a filter's definition whether or not this kernel and its programs can carry it out, and a guest that
refers to one then does not start. So the lines that libvirt would run (nwfilter_ebiptables_driver.c) are run once in a network
namespace of their own, which goes with the process. IP rules reach packets on a bridge only where the kernel hands those to
iptables, which is a setting of the host's and is read, never changed. Blocks for some tenths of a second.
"""

import subprocess
from pathlib import Path
from typing import Final, Literal

from nano.domain.ability import ANTI_SPOOFING, PACKET_FILTER, Ability
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.guard import Claim, guard_text
from nano.hypervisor.nftables import NftFilters
from nano.hypervisor.nwfilter import NwFilters, why_no_driver
from nano.hypervisor.packet_filter import PolicyFilters, Unable

LIMIT_S: Final = 10.0
DETAIL_MAX: Final = 300
SETTINGS: Final = Path("/proc/sys/net/bridge")
HANDED_OVER: Final = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")
_TRACKED: Final = "-w -A FORWARD -m physdev --physdev-is-bridged --physdev-out nt0"
LIBVIRTS: Final = (
    ("ebtables", "ebtables -t nat -A PREROUTING -s ! 52:54:00:00:00:01 -j DROP"),
    ("iptables", f"iptables {_TRACKED} -p tcp --dport 1 -m conntrack --ctstate NEW -j ACCEPT"),
    ("ip6tables", f"ip6tables {_TRACKED} -p tcp --dport 1 -m conntrack --ctstate NEW -j ACCEPT"),
)
TABLE: Final = """table bridge nano {
  set flows { type ipv4_addr . inet_service; size 16; flags dynamic,timeout; timeout 1m; }
  chain coming { type filter hook postrouting priority 200; oifname "nt0" tcp flags & (syn | ack) != syn accept; }
  chain sent { type filter hook prerouting priority -200; iifname "nt0" update @flows { ip daddr . udp dport }; }
}
"""


TRIED: Final = (Claim("nt0", "52:54:00:00:00:01", ("10.0.0.1", "2001:db8::1")),)


def packet_filter(wanted: Literal["auto", "nwfilter", "nftables"] = "auto") -> Ability:
    """``detail`` names what works here, what comes first is to be preferred."""
    tried = {}
    if wanted != "nftables":
        tried["nwfilter"] = why_no_nwfilter()
    if wanted != "nwfilter":
        tried["nftables"] = why_no_nftables()
    if works := [kind for kind, why in tried.items() if not why]:
        return Ability(PACKET_FILTER, True, detail=", ".join(works))
    return Ability(
        PACKET_FILTER, False, "told", "; ".join(f"{kind}: {why}" for kind, why in tried.items())[:DETAIL_MAX]
    )


def anti_spoofing(wanted: Literal["auto", "nwfilter", "nftables"] = "auto") -> Ability:
    """Of every guest, also without a policy: by nftables only, as libvirt's filters would cost half a second at each start."""
    alone = wanted == "nwfilter"
    why = "packets are filtered by nwfilter alone" if alone else _try(["nft", "-f", "-"], guard_text("nano", TRIED))
    return Ability(ANTI_SPOOFING, not why, "told" if why else "", why[:DETAIL_MAX] or "nftables")


def why_no_nwfilter(settings: Path = SETTINGS) -> str:
    """In words that continue "because"; empty when it can."""
    for name in HANDED_OVER:
        try:
            handed = (settings / name).read_text().strip()
        except OSError:
            return "the kernel lacks br_netfilter"
        if handed != "1":
            return f"net.bridge.{name} is {handed}"
    missing = [program for program, line in LIBVIRTS if _try(line.split())]
    return f"the kernel or the host lacks {', '.join(missing)}" if missing else ""


def why_no_nftables(program: str = "nft") -> str:
    return _try([program, "-f", "-"], TABLE)


async def filters_of(
    connection: LibvirtConnection, calls: BlockingCalls, folder: Path, found: tuple[Ability, ...]
) -> tuple[tuple[Ability, ...], PolicyFilters]:
    """The filters to use, and the abilities with that of these. ``folder``: where nftables' tables are kept. Of a host
    that nobody probed only libvirt is asked. Raises HostError."""
    probed = next((one for one in found if one.name == PACKET_FILTER), Ability(PACKET_FILTER, True, detail="nwfilter"))
    if not probed.can:
        return found, Unable(probed.why_not)
    kinds = probed.detail.split(", ")
    no_driver = await connection.run(why_no_driver, what="Looking for packet filters")
    if "nwfilter" in kinds and not no_driver:
        return _with(found, Ability(PACKET_FILTER, True, detail="nwfilter")), NwFilters(connection)
    if "nftables" in kinds:
        tables = NftFilters(calls, folder)
        await tables.restore()
        return _with(found, Ability(PACKET_FILTER, True, detail="nftables")), tables
    return _with(found, Ability(PACKET_FILTER, False, "told", f"nwfilter: {no_driver}")), Unable(no_driver)


def _with(found: tuple[Ability, ...], ability: Ability) -> tuple[Ability, ...]:
    return tuple(ability if one.name == ability.name else one for one in found)


def _try(command: list[str], text: str = "") -> str:
    """Empty when it worked in a network namespace of its own."""
    try:
        done = subprocess.run(
            ["unshare", "--net", *command], input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except OSError as error:
        return f"{error.filename} can't be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"{command[0]} does not answer"
    return "" if done.returncode == 0 else done.stderr.strip()[-200:] or f"{command[0]} failed"
