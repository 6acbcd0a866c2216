"""The three programs as processes: start, see, stop. Each is its own daemon; this only calls and watches them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import anyio

from nano.domain.errors import Failure
from nano.http.credentials import load_credentials
from nano.tools import processes
from nano.tools.state import node_folder
from nano.tools.up.configs import CREDENTIAL

STOP_ORDER: Final = ("frontend", "core", "cell")  # nobody is left asking one that is gone
STOP_PATIENCE_S: Final = 30.0
ENDPOINT_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.02
CANCEL_PATIENCE_S: Final = 3.0


def running(state: Path, node: str) -> processes.ProcessId | None:
    process = processes.read_record(node_folder(state, node) / "run" / f"nano-{node}.pid")
    return process if process and processes.is_alive(process) else None


async def start(state: Path, node: str) -> None:
    """Start one in the background; returns when it answers. Raises Failure(node_start_failed) with what it said."""
    program = Path(sys.executable).parent / f"nano-{node}"
    command = [str(program), "start", "--state", str(state)]
    # A session of its own: Ctrl-C in the terminal is for us alone to act upon.
    async with await anyio.open_process(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            said = b"".join([part async for part in process.stdout])
            code = await process.wait()
        except anyio.get_cancelled_exc_class():
            # Let it finish its fork, so that the node has left its pid for whoever stops it now.
            with anyio.move_on_after(CANCEL_PATIENCE_S, shield=True):
                await process.wait()
            raise
    if code != 0:
        text = said.decode(errors="replace").strip()
        raise Failure(text or f"nano-{node} ended with code {code}.", code="node_start_failed")


async def endpoint(state: Path, node: str) -> dict[str, str]:
    """What a started node wrote about itself: {"api"} of core, {"portal"} of frontend."""
    path = node_folder(state, node) / "run" / "endpoint.json"
    with anyio.move_on_after(ENDPOINT_TIMEOUT_S):
        while True:
            try:
                told: dict[str, str] = json.loads(path.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                await anyio.sleep(POLL_S)
            else:
                return told
    raise Failure(f"nano-{node} runs, but wrote no {path}.", code="node_start_failed")


def hand_credential(state: Path) -> None:
    """Give FrontEnd the one credential it needs, not all of Core's."""
    credential = load_credentials(node_folder(state, "core") / "config").get("frontend")
    if credential is None:
        raise Failure(
            "Core has no credential 'frontend'.", code="node_start_failed", hint="Look at core/config/credentials.toml."
        )
    path = node_folder(state, "frontend") / "config" / CREDENTIAL
    text = (
        "# Copied by scripts/up from Core's credentials.toml: what FrontEnd signs its requests with.\n"
        f"[[credential]]\nid = {json.dumps(credential.id)}\nkey = {json.dumps(credential.key)}\n"
        f"role = {json.dumps(credential.role)}\n"
    )
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    temporary.rename(path)


def stop_all(state: Path) -> list[str]:
    """Stop those that run, in order; which they were. One that does not go in time is killed: its journal bears that."""
    stopped = []
    for node in STOP_ORDER:
        if process := running(state, node):
            gracefully = processes.end(process, patience_s=STOP_PATIENCE_S)
            stopped.append(f"nano-{node}" + ("" if gracefully else " (killed)"))
    return stopped


async def all_gone(state: Path) -> None:
    """Returns when none of them runs any more."""
    while alive := [process for node in STOP_ORDER if (process := running(state, node))]:
        for process in alive:
            await _gone(process)


async def _gone(process: processes.ProcessId) -> None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if processes.is_alive(process):
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)
