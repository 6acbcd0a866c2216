"""Decisions about a guest's password: who is refused and how, and what is known of it afterwards."""

from typing import Any

import msgspec
import pytest

from nano.core.vault import Vault
from nano.domain.errors import Invalid
from nano.domain.guest import GuestAgentChanged, GuestChanged
from nano.domain.guest_password import EndPassword, GuestPasswordSet, GuestPasswordTold, SetPassword, ShowPassword
from nano.domain.task import Task
from tests.unit.domain.test_guest_commands import AT, Bench
from tests.unit.domain.test_guest_devices import code_of

VAULT = Vault(bytes(32))


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.ready("web", running=True)
    return made


def agent(bench: Bench) -> None:
    guest = bench.zone.find_guest("web")
    bench.zone.apply(f"guest/{guest.id}", GuestAgentChanged(True, ("10.0.0.1",)), AT)


def asked(**changes: Any) -> SetPassword:
    command = VAULT.seal(SetPassword(**{"guest": "web", "password": "Geheim-1"} | changes), "k")
    assert isinstance(command, SetPassword)
    return command


def test_a_password_is_kept_when_it_was_set_and_telling_it_is_recorded(bench: Bench) -> None:
    agent(bench)
    assert code_of(bench, ShowPassword(guest="web")) == "password_unknown"
    bench.do(asked())
    (task,) = bench.zone.open_tasks.values()
    assert (task.plan, task.arguments["user"]) == (("set password",), "root")
    assert bench.zone.find_guest("web").password == ""
    assert isinstance(bench.do(EndPassword(task.id))[0].event, GuestPasswordSet)
    guest = bench.zone.find_guest("web")
    assert (guest.task, guest.admin, VAULT.open_password(guest.password)) == ("", "root", "Geheim-1")
    assert [told.event for told in bench.do(ShowPassword(guest="web"))] == [GuestPasswordTold(by="admin")]


def test_nothing_that_is_recorded_has_it_in_clear(bench: Bench) -> None:
    agent(bench)
    events = bench.do(asked())
    events += bench.do(EndPassword(next(iter(bench.zone.open_tasks))))
    assert b"Geheim-1" not in msgspec.json.encode([event for _, event in events])
    with pytest.raises(AssertionError):
        bench.do(SetPassword(guest="web", password="Geheim-1"))


def test_the_account_is_the_templates_unless_one_is_named(bench: Bench) -> None:
    agent(bench)
    bench.do(asked(user="ann"))
    (task,) = bench.zone.open_tasks.values()
    assert isinstance(task, Task)
    assert task.arguments["user"] == "ann"


def test_only_a_running_guest_with_an_agent_is_asked(bench: Bench) -> None:
    assert code_of(bench, asked()) == "agent_silent"
    bench.ready("off")
    assert code_of(bench, asked(guest="off")) == "guest_stopped"
    assert code_of(bench, asked(guest="nobody")) == "unknown_guest"
    agent(bench)
    bench.do(asked())
    assert code_of(bench, asked()) == "guest_busy"


def test_another_system_disk_has_other_passwords(bench: Bench) -> None:
    agent(bench)
    bench.do(asked())
    bench.do(EndPassword(next(iter(bench.zone.open_tasks))))
    guest = bench.zone.find_guest("web")
    for volumes, known in (((), "root"), ((7,), "")):
        spec = msgspec.structs.replace(guest.spec, volumes=volumes)
        bench.zone.apply(f"guest/{guest.id}", GuestChanged(spec=spec), AT)
        assert bench.zone.find_guest("web").admin == known


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sealed", "v1:AAAA"),
        *[("user", bad) for bad in ("../x", "a b", "a\n", "a;b", "-rf", "<b>", "a\0", "x" * 33, "x" * 10_000, "根")],
        *[("password", bad) for bad in ("a\nb", "a\0b", "x" * 129, "\x7f", "\ud800")],
    ],
)
def test_what_can_not_be_used_is_refused_at_the_door_and_never_shown(field: str, value: str) -> None:
    with pytest.raises(Invalid) as refusal:
        asked(**{field: value})
    assert refusal.value.code == f"invalid_{field}"
    assert field == "user" or value not in f"{refusal.value} {refusal.value.hint} {refusal.value.context}"
