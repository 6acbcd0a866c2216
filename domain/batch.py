"""Batches: many guests made, started, stopped or deleted by one request (feature M21).

A batch is one task with an item for each guest. Each item is carried out by the guest's own task, as if it had been asked
for alone, so it succeeds whole or leaves nothing, and a guest that is in the way of one item is in the way of no other. What is
wrong with the request as a whole is refused at once and changes nothing; what is wrong with one guest is told with its item.
What a cancelled batch has done stays done; what it is doing is undone, and the rest is not begun.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain import guest_commands as gc
from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest
from nano.domain.guest_makeup import GuestMakeup, choose_cell, settle
from nano.domain.limits import LIMITS
from nano.domain.naming import require_name
from nano.domain.task import Item, Problem, Task, TaskEnded, TaskStarted, end_step, open_task
from nano.domain.task_items import ItemEnd, TaskItemsEnded, TaskItemsListed, TaskItemStarted

if TYPE_CHECKING:
    from nano.domain.zone import Zone

ACTIONS: Final = ("create", "start", "stop", "delete")
NUMBER_MAX: Final = 999_999
NAMED_MAX: Final = 5  # guests that a sentence names one by one
VERBS: Final = {"create": "made", "start": "started", "stop": "stopped", "delete": "deleted"}


class CreateBatch(GuestMakeup, frozen=True, kw_only=True, tag="batch.create"):
    """Create guests that are alike: PREFIX_0, PREFIX_1 and so on. Each is told for itself."""

    prefix: str
    count: int
    first: int = 0  # number of the first one


class StartBatch(Command, frozen=True, kw_only=True, tag="batch.start"):
    """Power guests on, by name or id. One that runs is left as it is."""

    guests: tuple[str, ...]


class StopBatch(Command, frozen=True, kw_only=True, tag="batch.stop"):
    """Press the power buttons of guests and wait until they are off, or switch them off at once with ``force``."""

    guests: tuple[str, ...]
    force: bool = False


class DeleteBatch(Command, frozen=True, kw_only=True, tag="batch.delete"):
    """Delete guests with their disks; running ones only with ``force``."""

    guests: tuple[str, ...]
    force: bool = False


class BeginItem(Command, frozen=True, kw_only=True, tag="batch.begin_item"):
    """``cell``: where Core has room among what it works on at once; empty = wherever the guest is."""

    task: str
    number: int
    cell: str = ""


class EndItems(Command, frozen=True, tag="batch.end_items"):
    task: str
    ended: tuple[ItemEnd, ...]


class EndBatch(Command, frozen=True, tag="batch.end"):
    """Every item has ended."""

    task: str


class AbandonBatch(Command, frozen=True, kw_only=True, tag="batch.abandon"):
    """What has not begun will not."""

    task: str
    error: Problem
    cancelled: bool = False


def decide_create(zone: "Zone", command: CreateBatch, context: Context) -> list[Emitted]:
    _check_count(command.count)
    if not 0 <= command.first <= NUMBER_MAX - command.count:
        raise Invalid(
            f"first is {command.first}.",
            code="invalid_first",
            hint=f"Use 0 to {NUMBER_MAX - command.count}.",
            field="first",
        )
    require_name(command.prefix, "prefix")
    if command.count > 1 and command.cloud_init and command.cloud_init.address:
        raise Invalid(
            f"{command.count} guests can't have one address.",
            code="invalid_address",
            hint="Leave it empty: each asks by DHCP.",
            field="cloud_init.address",
        )
    names = [f"{command.prefix}_{command.first + number}" for number in range(command.count)]
    require_name(names[-1], "guest name")
    if taken := [name for name in names if name in zone.guest_ids or zone.claims("name", name)]:
        raise Conflict(
            f"There are guests of these names already: {_some(taken)}.",
            code="duplicate_name",
            hint="Choose another prefix, or begin with a higher number.",
            names=taken[:NAMED_MAX],
        )
    settled = settle(zone, command)
    choose_cell(zone, settled.pool.name, settled.need, command.cell)
    own = ("type", "prefix", "count", "first")
    makeup = {name: value for name, value in msgspec.to_builtins(command).items() if name not in own}
    arguments = {"makeup": msgspec.json.encode(makeup).decode()}
    return _open(context, "create", command.prefix, arguments, TaskItemsListed(tuple(names)))


def decide_on_guests(zone: "Zone", command: StartBatch | StopBatch | DeleteBatch, context: Context) -> list[Emitted]:
    _check_count(len(command.guests))
    guests, unknown = dict[str, Guest](), list[str]()
    for reference in command.guests:
        try:
            guest = zone.find_guest(reference)
            guests[guest.id] = guest
        except Unknown:
            unknown.append(reference[:64])
    if unknown:
        raise Unknown(
            f"There are no guests {_some(unknown)}.",
            code="unknown_guest",
            hint="List guests to see their names.",
            names=unknown[:NAMED_MAX],
        )
    action = _ACTION_OF[type(command)]
    force = not isinstance(command, StartBatch) and command.force
    names = tuple([guest.name for guest in guests.values()])
    listed = TaskItemsListed(names, tuple(guests))
    return _open(context, action, _some(list(names)), {"force": "yes"} if force else {}, listed)


_ACTION_OF: Final[dict[type[Command], str]] = {StartBatch: "start", StopBatch: "stop", DeleteBatch: "delete"}


def _check_count(count: int) -> None:
    if not 1 <= count <= LIMITS.batch_items:
        raise Invalid(
            f"A batch of {count} guests was asked for.",
            code="invalid_count",
            hint=f"Use 1 to {LIMITS.batch_items}.",
            field="count",
        )


def _some(names: list[str]) -> str:
    """The first few of them, and how many more."""
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _open(
    context: Context, action: str, title: str, arguments: dict[str, str], listed: TaskItemsListed
) -> list[Emitted]:
    task_id = context.new_id()
    resource = f"task/{task_id}"
    started = TaskStarted(
        id=task_id,
        kind=f"batch.{action}",
        target=resource,
        target_name=title,
        actor=context.actor,
        command_id=context.command_id,
        plan=(f"{action} guests",),
        deadline_at=context.at + LIMITS.batch_deadline,
        arguments=arguments,
    )
    return [Emitted(resource, started), Emitted(resource, listed)]


def makeup_of(task: Task) -> GuestMakeup:
    """What the guests of an open ``batch.create`` are made of."""
    return msgspec.json.decode(task.arguments["makeup"], type=GuestMakeup)


def decide_begin_item(zone: "Zone", command: BeginItem, context: Context) -> list[Emitted]:
    """As the command for the one guest, from whoever asked for the batch. Raises what that raises."""
    task = open_task(zone, command.task)
    item = task.items[command.number]
    if item.state != "waiting":
        return []
    own = msgspec.structs.replace(context, actor=task.actor)
    emitted = _work_on(zone, task, item, command.cell, own)
    started = next((event for _, event in emitted if isinstance(event, TaskStarted)), None)
    if started is None:
        return [Emitted(f"task/{task.id}", TaskItemsEnded((ItemEnd(command.number, "done"),)))]
    guest = started.target.removeprefix("guest/")
    begun = TaskItemStarted(number=command.number, guest=guest, task=started.id)
    return [Emitted(f"task/{task.id}", begun), *emitted]


def _work_on(zone: "Zone", task: Task, item: Item, cell: str, context: Context) -> list[Emitted]:
    """Nothing when the guest is already as it is to be."""
    action, force = task.kind.removeprefix("batch."), "force" in task.arguments
    if action == "create":
        makeup = makeup_of(task)
        fields = {name: getattr(makeup, name) for name in makeup.__struct_fields__}
        fields["cell"] = cell or makeup.cell
        return gc.decide_create(zone, gc.CreateGuest(name=item.name, **fields), context)
    guest = zone.find_guest(item.guest)
    if guest.phase == "ready" and not guest.task and guest.power == _GOALS.get(action):
        return []
    if action == "start":
        return gc.decide_power(zone, gc.StartGuest(guest=guest.id), context)
    if action == "stop":
        stop = gc.ForceStopGuest(guest=guest.id) if force else gc.StopGuest(guest=guest.id)
        return gc.decide_power(zone, stop, context)
    return gc.decide_delete(zone, gc.DeleteGuest(guest=guest.id, force=force), context)


_GOALS: Final = {"start": "running", "stop": "stopped"}


def decide_end_items(zone: "Zone", command: EndItems, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    ended = tuple([end for end in command.ended if task.items[end.number].state in ("waiting", "running")])
    return [Emitted(f"task/{task.id}", TaskItemsEnded(ended))] if ended else []


def decide_end_batch(zone: "Zone", command: EndBatch, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    resource = f"task/{task.id}"
    missed = [item for item in task.items if item.state != "done"]
    if not missed:
        return [*end_step(task, task.plan[0]), Emitted(resource, TaskEnded("done"))]
    verb = VERBS[task.kind.removeprefix("batch.")]
    why = next((f" {item.name}: {item.error.message}" for item in missed if item.error is not None), "")
    names = _some([item.name for item in missed])
    problem = Problem(
        "batch_incomplete",
        f"{len(missed)} of {len(task.items)} guests were not {verb}: {names}.{why}",
        "Each item says why; the others are done.",
    )
    return [Emitted(resource, TaskEnded("failed", error=problem))]


def decide_abandon_batch(zone: "Zone", command: AbandonBatch, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    resource = f"task/{task.id}"
    left = [
        ItemEnd(number, "cancelled") for number, item in enumerate(task.items) if item.state in ("waiting", "running")
    ]
    events = [Emitted(resource, TaskItemsEnded(tuple(left)))] if left else []
    return [*events, Emitted(resource, TaskEnded("cancelled" if command.cancelled else "failed", error=command.error))]


RULES: Final = Rules(
    decide={
        CreateBatch: decide_create,
        **dict.fromkeys(_ACTION_OF, decide_on_guests),
        BeginItem: decide_begin_item,
        EndItems: decide_end_items,
        EndBatch: decide_end_batch,
        AbandonBatch: decide_abandon_batch,
    },
    evolve={},
)
