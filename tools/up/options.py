"""What ``up`` and ``down`` are asked for, and becoming root when that is needed."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import msgspec

from nano.domain.errors import Failure, Invalid
from nano.tools.guest_image.builder import cache_folder
from nano.tools.state import default_state

PORT_BASE_MIN = 1024
PORTS_USED = 5


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """``started`` is when the script was called (seconds since the epoch), before it set up the machine."""

    verb: str
    state: Path
    cache: Path
    started: float
    port_base: int | None = None
    detach: bool = False
    demo: bool = True
    json: bool = False
    purge: bool = False


def parse(argv: list[str] | None = None) -> Options:
    """The options, or SystemExit with usage. Raises Invalid for a port base that can't be."""
    parser = argparse.ArgumentParser(prog="scripts/up", description="Run Nano on this machine, with one guest.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", prog="scripts/up", description="Start three nodes and a guest on this machine.")
    down = verbs.add_parser("down", prog="scripts/down", description="Stop what scripts/up started.")
    for verb in (up, down):
        verb.add_argument("--state", type=Path, default=default_state(), help="where everything is kept (%(default)s)")
        verb.add_argument(
            "--json", action="store_true", help="end stdout with one line of JSON; all else goes to stderr"
        )
        verb.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
        verb.add_argument("--cache", type=Path, default=cache_folder(), help=argparse.SUPPRESS)
    up.add_argument(
        "--port-base", type=int, metavar="N", help="API on N, portal N+1, images N+2, links N+3, discovery N+4"
    )
    up.add_argument("--detach", action="store_true", help="leave the nodes running and return")
    up.add_argument("--no-demo", action="store_true", help="make no guest")
    down.add_argument(
        "--purge", action="store_true", help="also remove guests, volumes and everything in the state folder"
    )
    given = parser.parse_args(argv)
    base = getattr(given, "port_base", None)
    if base is not None and not PORT_BASE_MIN <= base <= 65536 - PORTS_USED:
        raise Invalid(
            f"--port-base {base} leaves no room for {PORTS_USED} ports.",
            code="invalid_port",
            hint=f"Choose one from {PORT_BASE_MIN} to {65536 - PORTS_USED}.",
        )
    return Options(
        verb=given.verb,
        state=given.state.absolute(),
        cache=given.cache.absolute(),
        started=given.started,
        port_base=base,
        detach=getattr(given, "detach", False),
        demo=not getattr(given, "no_demo", False),
        json=given.json,
        purge=getattr(given, "purge", False),
    )


def become_root(options: Options, argv: list[str]) -> None:
    """Go on as root: the same program under sudo, with the user's own folders. Returns only when it is root already.

    The whole program, because almost all it does (bridge, libvirtd, the cell) needs root. Raises Failure(needs_root).
    """
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        raise Failure(
            "A bridge and a private libvirtd need root, and there is no sudo here.",
            code="needs_root",
            hint="Run it as root.",
        )
    options.state.mkdir(parents=True, exist_ok=True)  # so that it, and what is above it, is the user's
    options.cache.mkdir(parents=True, exist_ok=True)
    kept = ["--state", str(options.state), "--cache", str(options.cache), "--started", str(options.started)]
    # No byte code owned by root in the user's clone; the nodes inherit this.
    command = ["sudo", "--", "env", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-m", "nano.tools.up", *argv, *kept]
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - there is no shell to want


def give_to_user(state: Path) -> None:
    """Under sudo: let the user who called read what client programs need, Core's address and the credentials.

    Journals stay root's: they grow while the nodes run, so what is given now would not be all there is later.
    """
    if "SUDO_UID" not in os.environ or os.geteuid() != 0:
        return
    user, group = int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1"))
    for node in ("core", "cell", "frontend"):
        for path in (state / node / "config", *(state / node / "config").glob("*.toml")):
            os.chown(path, user, group)
