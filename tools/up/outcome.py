"""What a finished ``up`` is able to say: where things are, and the line of JSON for programs."""

import json
from pathlib import Path
from typing import Any

import msgspec


class Outcome(msgspec.Struct, kw_only=True):
    """``guest`` is the guest's row, None without a demo. Seconds of wall time: ``setup`` until everything needed was there
    (packages, requirements, image), ``start`` from there until portal and API answered, ``first_guest`` from there until
    the guest's agent answered (None when there is no running guest)."""

    state: Path
    portal: str
    api: str
    guest: dict[str, Any] | None = None
    setup_s: float = 0.0
    start_s: float = 0.0
    first_guest_s: float | None = None

    def line(self) -> str:
        guest = self.guest
        return json.dumps(
            {
                "portal": self.portal,
                "api": self.api,
                "guest": {key: guest[key] for key in ("id", "name", "state", "cell")} if guest else None,
                "seconds": {
                    "setup": round(self.setup_s, 2),
                    "start": round(self.start_s, 2),
                    "first_guest": None if self.first_guest_s is None else round(self.first_guest_s, 2),
                },
            }
        )
