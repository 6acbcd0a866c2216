"""One isolated bridge for a cell's guests: made when absent, removed when the cell is purged.

Why ``ip`` and not pyroute2: it is four calls in a cell's life, iproute2 is on every host that has libvirt, and its
``-json`` output is stable; a netlink library would cost every cell 20 MB of memory for that.

Invariants: the bridge has no port of the host's and no address, not even a link-local one, so no address or route of the
host changes; a bridge that existed before is used as it is and never altered or removed (ours carry an alias).
Blocking: call from a thread where a loop runs. Needs CAP_NET_ADMIN.
"""

import json
import re
import subprocess
from typing import Any, Final

from nano.domain.errors import HostError

ALIAS: Final = "nano-isolated-bridge"
LIMIT_S: Final = 10.0
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,15}")  # IFNAMSIZ less its end mark


def ensure_bridge(name: str, *, netns: str | None = None) -> bool:
    """Have bridge ``name`` up (in network namespace ``netns``); True when this call made it.

    Raises HostError(code="bridge_failed").
    """
    if not _NAME.fullmatch(name):
        raise HostError(
            f"{name!r} is not a bridge name.", code="bridge_failed", hint="Use 1 to 15 letters, digits, _ and -."
        )
    link = _show(name, netns)
    if link is not None:
        if link.get("linkinfo", {}).get("info_kind") != "bridge":
            raise HostError(f"{name} exists and is not a bridge.", code="bridge_failed", hint="Configure another name.")
        return False
    _ip(netns, "link", "add", "name", name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    try:
        _ip(netns, "link", "set", "dev", name, "alias", ALIAS, "addrgenmode", "none")
        _ip(netns, "link", "set", "dev", name, "up")
    except HostError:
        _ip(netns, "link", "del", "dev", name)
        raise
    return True


def remove_bridge(name: str, *, netns: str | None = None) -> bool:
    """Remove the bridge when it is one we made and nothing is plugged into it any more; True when removed."""
    link = _show(name, netns)
    if link is None or link.get("ifalias") != ALIAS:
        return False
    if any(json.loads(_ip(netns, "-json", "link", "show", "master", name) or "[]")):  # iproute2 may list {} for others
        return False
    _ip(netns, "link", "del", "dev", name)
    return True


def _show(name: str, netns: str | None) -> dict[str, Any] | None:
    links = json.loads(_ip(netns, "-json", "-details", "link", "show") or "[]")
    return next((link for link in links if link.get("ifname") == name), None)


def _ip(netns: str | None, *arguments: str) -> str:
    command = ["ip", *(["-netns", netns] if netns else []), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{' '.join(command)}: {error}", code="bridge_failed", hint="Install iproute2.") from None
    if done.returncode != 0:
        raise HostError(
            f"{' '.join(command)}: {done.stderr.strip()[-300:]}",
            code="bridge_failed",
            hint="The cell needs CAP_NET_ADMIN.",
        )
    return done.stdout
