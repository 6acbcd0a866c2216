"""``up``, from a machine with all packages to a running guest, in an order that lets independent things run together.

Invariant: unless it ends with everything up, the nodes it started are stopped again, also at Ctrl-C at any moment.
Guests are never stopped here.
"""

import signal
import time
from pathlib import Path

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread
from rich.console import Console

from nano.http.client import AsyncSignedClient, load_async_client
from nano.tools.up import machine, nodes, options, show, zone
from nano.tools.up.configs import Ports, configured_cell_name, configured_ports, write_configs
from nano.tools.up.outcome import Outcome
from nano.tools.up.steps import Step, Steps

INTERRUPTED = 130  # what a shell gives for a program that Ctrl-C ended


async def run(given: options.Options, console: Console) -> int:
    """The exit code of ``up``. Raises NanoError (in a group) for everything that people can do something about."""
    if all(nodes.running(given.state, node) for node in nodes.STOP_ORDER):
        return await _show_what_is_there(given, console)
    up = False
    try:
        async with anyio.create_task_group() as group:
            await group.start(_cancel_on_signal, group.cancel_scope)
            with Steps(console) as steps:
                outcome = await bring_up(given, steps)
            up = True
            options.give_to_user(given.state)
            _tell(outcome, console, steps.seconds, as_json=given.json)
            if not given.detach:
                async with load_async_client(given.state) as client:
                    await show.LiveView(console, given.state, client).run()
            group.cancel_scope.cancel()
    finally:
        if not (up and given.detach):
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_stop, given.state, console)
    return 0 if up else INTERRUPTED


async def bring_up(given: options.Options, steps: Steps) -> Outcome:
    """Everything in order; where it all is and how long it took."""
    state = given.state
    uri = await _prepare(given, steps)
    image = await _image(given, steps) if given.demo else None
    ready = time.time()
    with steps.step("Nodes") as step:
        await _start_nodes(state, step)
        core, frontend = await nodes.endpoint(state, "core"), await nodes.endpoint(state, "frontend")
    started = time.time()
    outcome = Outcome(state=state, portal=frontend["portal"], api=core["api"])
    outcome.setup_s, outcome.start_s = ready - given.started, started - ready
    async with load_async_client(state) as client:
        with steps.step("Cell") as step:
            cell = await zone.take_in_cell(client, configured_cell_name(state))
            step.note = f"{cell['name']} in pool {cell['pool']}, {uri}"
        if image:
            outcome.guest = await _demo(client, image, steps)
            if outcome.guest["agent"]:
                outcome.first_guest_s = time.time() - started
    return outcome


async def _prepare(given: options.Options, steps: Steps) -> str:
    """State folder, settings, bridge and libvirtd; its URI."""
    state = given.state
    with steps.step("Machine") as step:
        asked = Ports.from_base(given.port_base) if given.port_base is not None else None
        machine.require_ports(  # before anything is made: a refusal leaves nothing
            asked or configured_ports(state),
            core=not nodes.running(state, "core"),
            frontend=not nodes.running(state, "frontend"),
        )
        record = machine.prepare_state(state)
        probed = await anyio.to_thread.run_sync(machine.probe_virtualisation, state, given.cache)
        step.note = probed.note
        uri = await anyio.to_thread.run_sync(machine.start_libvirtd, state, record.bridge, probed)
        write_configs(state, uri, record.bridge, asked)
    return uri


async def _image(given: options.Options, steps: Steps) -> Path:
    with steps.step("Guest image") as step:

        def progress(text: str, done: int, of: int) -> None:
            anyio.from_thread.check_cancelled()  # Ctrl-C ends the build between two packages
            anyio.from_thread.run_sync(step.advance, done, of, text)

        return await anyio.to_thread.run_sync(machine.image_for, given.state, given.cache, progress)


async def _start_nodes(state: Path, step: Step) -> None:
    """Cell beside Core: they find each other whoever is first. FrontEnd needs the credential that Core made."""
    done = 0

    async def start(node: str) -> None:
        nonlocal done
        if not nodes.running(state, node):
            await nodes.start(state, node)
        done += 1
        step.advance(done, len(nodes.STOP_ORDER), f"nano-{node} answers")

    async with anyio.create_task_group() as group:
        group.start_soon(start, "cell")
        await start("core")
        nodes.hand_credential(state)
        group.start_soon(start, "frontend")


async def _demo(client: AsyncSignedClient, image: Path, steps: Steps) -> zone.Row:
    with steps.step("Image in Core") as step:
        row = await zone.know_image(client, image, step.percent)
    with steps.step("Guest demo") as step:
        guest = await zone.have_demo(client, row, step.percent)
    with steps.step("Guest agent") as step:
        guest = await zone.settled_guest(client, guest["id"])
        step.note = "answers" if guest["agent"] else f"the guest is {guest['state']} and stays so"
    return guest


async def _show_what_is_there(given: options.Options, console: Console) -> int:
    """Everything runs already, by another ``up`` or ``--detach``: say where, change nothing."""
    now = time.time()
    core, frontend = await nodes.endpoint(given.state, "core"), await nodes.endpoint(given.state, "frontend")
    outcome = Outcome(state=given.state, portal=frontend["portal"], api=core["api"], setup_s=now - given.started)
    async with load_async_client(given.state) as client:
        guest = await zone.find(client, "guest", zone.DEMO)
        if guest and given.demo:
            outcome.start_s = time.time() - now
            outcome.guest = await zone.settled_guest(client, guest["id"])
            outcome.first_guest_s = time.time() - now if outcome.guest["agent"] else None
    console.print("It is up already; scripts/down stops it.")
    _tell(outcome, console, {}, as_json=given.json)
    return 0


def _tell(outcome: Outcome, console: Console, seconds: dict[str, float], *, as_json: bool) -> None:
    console.print(show.summary(outcome, seconds))
    if as_json:
        print(outcome.line(), flush=True)


def _stop(state: Path, console: Console) -> None:
    stopped = nodes.stop_all(state)
    guests = machine.stop_idle_libvirtd(state)
    if stopped:
        console.print(f"Stopped {', '.join(stopped)}." + (" Guests run on." if guests else ""))


async def _cancel_on_signal(
    scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return
