"""Inside: a running guest of a test, asked through its agent for what its own system sees."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

from nano.hypervisor import local_libvirtd
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.tools.guest_image.builder import cache_folder, ensure_image
from nano.tools.testbed.zone import Zone, until


@contextmanager
def tiny_zone(folder: Path, libvirtd: Path, port: int, bridge: str) -> Iterator[Zone]:
    """A zone on that private libvirtd with a bridge of its own and the image ``tiny``: a real Linux with an agent."""
    ensure_bridge(bridge)
    zone = Zone(folder, local_libvirtd.uri_of(libvirtd), port, bridge=bridge)
    try:
        zone.up()
        zone.ctl("image", "register", "tiny", str(ensure_image(cache_folder(), lambda *_: None)), "--wait")
        yield zone
    finally:
        zone.stop()
        remove_bridge(bridge)


class Inside:
    def __init__(self, zone: Zone, guest_id: str) -> None:
        self._connection = libvirt.open(zone.uri)
        self.domain = self._connection.lookupByUUIDString(guest_id)

    def ask(self, execute: str, **arguments: Any) -> Any:
        command = json.dumps({"execute": execute, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(self.domain, command, 20, 0))["return"]

    def run(self, script: str) -> str:
        """What a shell inside says to this."""
        pid = self.ask("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
        ended: dict[str, Any] = {}

        def over() -> bool:
            ended.update(self.ask("guest-exec-status", pid=pid))
            return bool(ended["exited"])

        until(over, script)
        return base64.b64decode(ended.get("out-data", "")).decode().strip()
