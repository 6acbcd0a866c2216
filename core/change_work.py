"""The sagas of changing a guest: one order to its cell, which makes it what the task's spec says or leaves it as it was."""

from collections.abc import Callable
from typing import Final

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.work import Run, Saga
from nano.domain.guest_change import spec_of
from nano.domain.image import Image
from nano.domain.zone import Zone
from nano.transports.messages import ChangeDomain, ImageSource

Serve = Callable[[Image], ImageSource]

ACTIONS: Final = (
    *("set", "disk.add", "disk.grow", "disk.shrink", "disk.remove", "nic.add", "nic.remove", "reset"),
    *("media.insert", "media.eject"),
    *("rule.add", "rule.modify", "rule.remove", "rule.move", "rule.default", "rule.addresses", "rule.guard"),
)


class ChangeWork:
    def __init__(self, steps: GuestSteps, source: Serve) -> None:
        self._steps = steps
        self._zone = steps.zone
        self._source = source

    def sagas(self) -> dict[str, Saga]:
        return {f"guest.{action}": self.change for action in ACTIONS}

    async def change(self, run: Run) -> None:
        await self._steps.plain(run, change_order(run, order_id(run), self._zone, self._source))


def change_order(run: Run, command_id: str, zone: Zone, source: Serve) -> ChangeDomain:
    """What the task's cell is asked to make of the guest, with where to get what it needs for that."""

    def needed(collection: str) -> ImageSource | None:
        image = zone.get(f"{collection}/{run.task.arguments.get(collection, '')}")
        return source(image) if isinstance(image, Image) else None

    guest_id = run.task.resource.removeprefix("guest/")
    return ChangeDomain(command_id, guest_id, spec_of(run.task), needed("image"), needed("media"))
