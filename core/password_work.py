"""The saga of a guest's password: opened for one order to its cell, kept sealed with the guest when its agent has set it."""

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.vault import Vault
from nano.core.work import Run, Saga
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest_password import SET, EndPassword
from nano.transports.messages import SetGuestPassword


class PasswordWork:
    def __init__(self, steps: GuestSteps, vault: Vault) -> None:
        self._steps = steps
        self._vault = vault

    def sagas(self) -> dict[str, Saga]:
        return {"guest.password": self.set}

    async def set(self, run: Run) -> None:
        guest = self._steps.guest(run)
        told = run.task.arguments

        async def have_it_set() -> None:
            password = self._vault.open_password(told["sealed"])
            order = SetGuestPassword(order_id(run), guest.id, told["user"], password)
            await self._steps.do(run, guest.cell, SET, order)

        try:
            await run.within_deadline(have_it_set)
            await run.record(EndPassword(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._steps.abandon(run, guest.cell, error)
