"""One seed from beginning to end: trouble for a while, then calm, then everything must be in its place."""

import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from nano.core.core import Core
from nano.tools.simulator.chaos import Chaos
from nano.tools.simulator.disk import DEAD, DIED
from nano.tools.simulator.invariants import digest_of, look, mirror_differs, unrest, views_differ
from nano.tools.simulator.upkeep import drill
from nano.tools.simulator.users import Users
from nano.tools.simulator.virtual_time import run_virtual
from nano.tools.simulator.world import World
from nano.ui.frontend import FrontEnd

CALM_MAX_S: Final = 2 * 3600.0  # longer than any deadline of a task
CALM_STEP_S: Final = 20.0
CALM_STEPS: Final = 4  # so many looks in a row must find nothing
LOG_KEPT: Final = 20_000

KEPT: Final = {  # what nodes tell of the upkeep of their journals
    "journal.segment_archived": "segment archived",
    "journal.archive_failed": "archiving failed",
    "journal.horizon_moved": "horizon moved",
    "journal.snapshot_written": "snapshot",
    "journal.snapshot_failed": "snapshot failed",
    "journal.backup_made": "backup",
    "journal.backup_failed": "backup failed",
}

Prepare = Callable[[World], None]


class Outcome(NamedTuple):
    seed: int
    violations: list[str]
    faults: Counter[str]
    upkeep: Counter[str]
    commands: Counter[str]
    refusals: Counter[str]
    positions: dict[str, int]
    digest: str
    virtual_s: float
    cpu_s: float


def broken(seed: int, error: Exception) -> Outcome:
    """Of a seed at which the simulation itself broke: a failed one, that tells where."""
    text = "the simulation broke: " + "".join(traceback.format_exception(error)).strip()
    none: Counter[str] = Counter()
    return Outcome(seed, [text], none, none, none, none, {}, "", 0.0, 0.0)


class _Story(logging.Handler):
    """The last log lines of all nodes, for a seed that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[tuple[float, logging.LogRecord]] = deque(maxlen=LOG_KEPT)
        self.kept: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            at = anyio.current_time()
        except RuntimeError:
            at = -1.0
        self.lines.append((at, record))
        deed = KEPT.get(record.msg.partition(" ")[0])
        if deed is not None and not record.getMessage().endswith((DEAD, DIED)):  # what a dead process does is void
            self.kept[deed] += 1

    def text(self) -> str:
        return "".join(f"{at:.6f} {record.levelname} {record.getMessage()}\n" for at, record in self.lines)


def run_seed(
    seed: int, *, minutes: float = 20.0, cells: int = 3, keep: Path | None = None, prepare: Prepare | None = None
) -> Outcome:
    """Simulate ``minutes`` of trouble and the calm after them. A failing seed leaves its journals in ``keep/seed-N``.

    ``prepare`` may change the world before anything runs (a test breaks something on purpose).
    """
    story = _Story()
    logger = logging.getLogger("nano")
    former = (logger.level, logger.propagate)
    logger.addHandler(story)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    began = time.process_time()
    try:
        (world, users), virtual_s = run_virtual(lambda: _simulate(str(seed), minutes, cells, prepare))
    finally:
        logger.removeHandler(story)
        logger.level, logger.propagate = former
    faults = world.faults.copy()
    for machine in world.machines.values():
        faults.update(machine.disk.failures)
        faults.update(machine.trouble.counts)
    outcome = Outcome(
        seed=seed,
        violations=world.violations,
        faults=faults,
        upkeep=story.kept + sum((machine.kept for machine in world.machines.values()), Counter()),
        commands=users.sent + users.browsers.answers,
        refusals=users.refused,
        positions={name: len(machine.audit.facts) for name, machine in world.machines.items()},
        digest=digest_of({name: machine.disk for name, machine in world.machines.items()}),
        virtual_s=virtual_s,
        cpu_s=time.process_time() - began,
    )
    if outcome.violations and keep is not None:
        leave(world, outcome, story.text(), keep / f"seed-{seed}")
    return outcome


async def _simulate(seed: str, minutes: float, cells: int, prepare: Prepare | None) -> tuple[World, Users]:
    async with anyio.create_task_group() as tasks:
        world = World(seed, cells, tasks)
        chaos, users = Chaos(world, seed), Users(world, seed)
        if prepare is not None:
            prepare(world)
        world.start()
        tasks.start_soon(users.administer)
        tasks.start_soon(users.run)
        tasks.start_soon(users.watcher.run)
        tasks.start_soon(users.browsers.run)
        tasks.start_soon(chaos.run)
        with anyio.move_on_after(minutes * 60):
            await world.violated.wait()
        world.trouble = False
        chaos.heal()
        if not world.violations:
            await _calm_down(world, users)
        for machine in world.machines.values():
            machine.kill(power=False)
        tasks.cancel_scope.cancel()
    return world, users


async def _calm_down(world: World, users: Users) -> None:
    quiet, left, known = 0, ["nothing was looked at"], 0
    with anyio.move_on_after(CALM_MAX_S):
        while quiet < CALM_STEPS and not world.violations:
            await anyio.sleep(CALM_STEP_S)
            zone, sites = world.zone, world.sites
            left = (
                ["a node is down"] if zone is None or sites is None else unrest(zone, sites, world.hosts, world.disks)
            )
            before, known = known, len(world.core.audit.facts)
            if known > before:  # a request from the time of trouble may have arrived just now
                left.append(f"core has recorded {known - before} facts in {CALM_STEP_S:.0f} s")
            quiet = 0 if left else quiet + 1
    if quiet < CALM_STEPS:
        for text in left:
            world.report(f"after {CALM_MAX_S / 3600:.0f} h of calm: {text}")
        return
    look(world.zone, world.hosts, world.report)
    if users.watcher.position != len(world.core.audit.facts):
        seen, published = users.watcher.position, len(world.core.audit.facts)
        world.report(f"core: at rest, a follower of events has seen {seen} of {published}")
    await users.browsers.look()
    for name, machine in world.machines.items():
        node = machine.node
        if node is not None and not machine.audit.compare(node.ledger):
            world.report(f"{name}: at rest, replay is not the live state")
        if damage := machine.audit.damage():
            world.report(f"{name}: at rest, {damage}")
        drill(machine, world.random)
        if isinstance(node, FrontEnd):
            for kind in mirror_differs(node.mirror, world.core.node):
                world.report(f"frontend: at rest, its rows of {kind} are not Core's")
        if isinstance(node, Core):
            for kind in views_differ(node.zone, node.ledger, node.views):
                world.report(f"core: at rest, the rows of {kind} are not what a restart would show")


def leave(world: World, outcome: Outcome, story: str, folder: Path) -> None:
    """Put the machines' files and the story into the folder."""
    for machine in world.machines.values():
        for path, inode in machine.disk.names.items():
            target = folder / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(inode.data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "violations.txt").write_text("".join(f"{text}\n" for text in outcome.violations))
    (folder / "story.log").write_text(story)
