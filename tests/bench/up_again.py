"""scripts/up when everything is installed: until the portal answers, until the guest's agent answers

``fresh``: a state folder of its own, so a new zone and a new guest, booted under emulation where KVM does not work.
``again``: the same folder after ``scripts/down``; the guest ran on. Seconds from the start of the script, as its user waits.
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PORT = 17650


def run() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="nano-bench-"))
    try:
        fresh, fresh_s = _up(folder / "S")
        _down(folder / "S")
        again, again_s = _up(folder / "S")
    finally:
        _down(folder / "S", "--purge")
        shutil.rmtree(folder, ignore_errors=True)
    portal_s = again["setup"] + again["start"]
    agent_s = sum(fresh.values())
    return {
        "fresh state to the portal answering": {"value": round(fresh["setup"] + fresh["start"], 1), "unit": "s"},
        "fresh state to the agent's first answer": {
            "value": round(agent_s, 1),
            "unit": "s",
            "reach": "< 30",
            "ok": agent_s < 30,
        },
        "fresh state, whole script": {"value": round(fresh_s, 1), "unit": "s"},
        "second run to the portal answering": {
            "value": round(portal_s, 1),
            "unit": "s",
            "reach": "< 5",
            "ok": portal_s < 5,
        },
        "second run, whole script": {"value": round(again_s, 1), "unit": "s"},
    }


def _up(state: Path) -> tuple[dict[str, float], float]:
    """The script's own seconds, and those of the whole script."""
    began = time.monotonic()
    words = ["--state", str(state), "--port-base", str(PORT), "--detach", "--json"]
    done = subprocess.run(
        [ROOT / "scripts/up", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return told, time.monotonic() - began


def _down(state: Path, *words: str) -> None:
    subprocess.run([ROOT / "scripts/down", "--state", str(state), *words], capture_output=True, check=False)
