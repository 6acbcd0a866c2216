"""The sagas of changing a guest: one order to its cell, which makes it what the task's spec says or leaves it as it was."""

from typing import Final

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.guest_work import Serve
from nano.core.work import Run, Saga
from nano.domain.guest_change import spec_of
from nano.domain.image import Image
from nano.transports.messages import ChangeDomain

ACTIONS: Final = ("set", "disk.add", "disk.grow", "disk.shrink", "disk.remove", "nic.add", "nic.remove", "reset")


class ChangeWork:
    def __init__(self, steps: GuestSteps, source: Serve) -> None:
        self._steps = steps
        self._zone = steps.zone
        self._source = source

    def sagas(self) -> dict[str, Saga]:
        return {f"guest.{action}": self.change for action in ACTIONS}

    async def change(self, run: Run) -> None:
        image = self._zone.get(f"image/{run.task.arguments.get('image', '')}")
        source = self._source(image) if isinstance(image, Image) else None
        guest = self._steps.guest(run)
        await self._steps.plain(run, ChangeDomain(order_id(run), guest.id, spec_of(run.task), source))
