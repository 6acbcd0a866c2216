"""The sagas of VNC access to a guest: one order to its cell, whose journal says what came of it. The secret is opened for the
order and is nowhere else in clear."""

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.vault import Vault
from nano.core.work import Run, Saga
from nano.domain.errors import NanoError
from nano.transports.messages import CloseVnc, OpenVnc


class VncWork:
    def __init__(self, steps: GuestSteps, vault: Vault) -> None:
        self._steps = steps
        self._vault = vault

    def sagas(self) -> dict[str, Saga]:
        return {"guest.vnc.enable": self.open, "guest.vnc.reset": self.open, "guest.vnc.disable": self.close}

    async def open(self, run: Run) -> None:
        guest, sealed = self._steps.guest(run), run.task.arguments["sealed"]
        try:
            secret = self._vault.open_vnc(sealed)
        except NanoError as error:
            await self._steps.abandon(run, guest.cell, error)
            return
        await self._steps.plain(run, OpenVnc(order_id(run), guest.id, secret, sealed))

    async def close(self, run: Run) -> None:
        await self._steps.plain(run, CloseVnc(order_id(run), self._steps.guest(run).id))
