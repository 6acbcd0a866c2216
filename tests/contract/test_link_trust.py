"""Who may talk over a link, of every kind: approval, waiting, pins, and all that is refused."""

import logging
from pathlib import Path

import anyio
import msgspec
import pytest

from nano.domain.errors import Forbidden, Unreachable
from nano.transports.identity import load_or_create
from nano.transports.messages import FollowLog, OpenConsole, Ping
from nano.transports.testing import LINK_KINDS, FixedTrust, Nodes, linked, make_nodes
from nano.transports.trust import WAITING, MemoryPinStore, Pin, PinnedCore, refused

pytestmark = pytest.mark.anyio


@pytest.fixture(params=LINK_KINDS)
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Nodes:
    return make_nodes(request.param, tmp_path)


async def test_a_waiting_node_can_only_say_hello_until_it_is_approved(nodes: Nodes) -> None:
    nodes.core_trust = FixedTrust(WAITING)
    trust = nodes.cell_trust = FixedTrust()
    async with linked(nodes) as (cell_end, core_end):
        assert not cell_end.approved
        assert not core_end.approved
        for end in (cell_end, core_end):
            with pytest.raises(Forbidden) as caught:
                await end.request(Ping(1), timeout_s=5)
            assert caught.value.code == "node_not_approved"
            with pytest.raises(Forbidden):
                await end.pipe(OpenConsole("g"), timeout_s=5)
            async with end.follow(FollowLog(0)) as items:
                with pytest.raises(Forbidden):
                    await anext(items)
        assert trust.welcomes == []

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cell_end.wait_approved)
            await core_end.approve()
        await core_end.approve()  # twice is once
        assert cell_end.approved
        assert [welcome.approved for welcome in trust.welcomes] == [True]
        assert await cell_end.request(Ping(1), timeout_s=5) == Ping(1)
        assert await core_end.request(Ping(1), timeout_s=5) == Ping(1)


async def test_wait_approved_raises_when_the_link_is_lost(nodes: Nodes) -> None:
    nodes.core_trust = FixedTrust(WAITING)
    async with linked(nodes) as (cell_end, core_end), anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(Unreachable):
                await cell_end.wait_approved()

        tasks.start_soon(wait)
        await core_end.aclose("stop")


async def test_approval_brings_a_certificate_of_the_domain(nodes: Nodes) -> None:
    store = MemoryPinStore()
    nodes.cell_trust = PinnedCore("nano", store, nodes.cell)
    before = nodes.cell.fingerprint
    async with linked(nodes):
        authority = nodes.core.authority
        assert authority is not None
        assert nodes.cell.certificate.issuer == authority.certificate.subject
        assert nodes.cell.authority_path.read_text() == authority.pem
        assert store.pin == Pin("nano", nodes.welcome.name, nodes.core.fingerprint, 1)
    again = load_or_create(nodes.cell.key_path.parent, "Cell")
    assert again.fingerprint == before
    assert again.certificate == nodes.cell.certificate


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hello": {"domain": "other"}}, "wrong_domain"),
        ({"hello": {"name": "../../Cell\nforged=line"}}, "invalid_name"),
        ({"hello": {"name": ""}}, "invalid_name"),
        ({"hello": {"kind": "x" * 100}}, "invalid_name"),
        ({"hello": {"epoch": 9}}, "epoch_old"),
        ({"core_trust": FixedTrust(refused("fingerprint_banned", "Not you."))}, "fingerprint_banned"),
        ({"cell_trust": FixedTrust(refused("core_not_pinned", "Not this one."))}, "core_not_pinned"),
    ],
)
async def test_a_refusal_is_raised_and_logged(
    nodes: Nodes, change: dict[str, object], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in change.items():
        held = getattr(nodes, name)
        setattr(nodes, name, msgspec.structs.replace(held, **value) if isinstance(value, dict) else value)
    with caplog.at_level(logging.INFO), pytest.raises(Forbidden) as caught:
        async with linked(nodes):
            pass
    assert caught.value.code == code
    assert f"code={code}" in caplog.text
    assert "\nforged" not in caplog.text


async def test_a_domain_that_differs_only_in_the_answer_is_refused(nodes: Nodes) -> None:
    """A Core that takes any hello, and a cell that takes any Core: the domain still has to be the same."""
    nodes.welcome = msgspec.structs.replace(nodes.welcome, domain="other")
    with pytest.raises(Forbidden) as caught:
        async with linked(nodes):
            pass
    assert caught.value.code == "wrong_domain"


@pytest.mark.parametrize(
    ("pin", "code"),
    [
        (Pin("nano", "Core_old", "ab" * 32, 1), "core_not_pinned"),
        (Pin("nano", "Core_old", "", 7), "epoch_old"),
    ],
)
async def test_a_cell_obeys_only_the_core_it_has_pinned(nodes: Nodes, pin: Pin, code: str) -> None:
    pin = msgspec.structs.replace(pin, fingerprint=pin.fingerprint or nodes.core.fingerprint)
    store = MemoryPinStore(pin)
    nodes.cell_trust = PinnedCore("nano", store)
    core = nodes.core_trust = FixedTrust()
    with pytest.raises(Forbidden) as caught:
        async with linked(nodes):
            pass
    assert caught.value.code == code
    assert store.pin == pin
    if code == "core_not_pinned":
        assert core.asked == []  # it did not even say hello, nor show its join token


async def test_a_waiting_cell_is_not_pinned_and_a_higher_epoch_is_followed(nodes: Nodes) -> None:
    store = MemoryPinStore()
    nodes.cell_trust = PinnedCore("nano", store)
    nodes.core_trust = FixedTrust(WAITING)
    async with linked(nodes) as (_, core_end):
        assert store.pin is None
        await core_end.approve()
        assert store.pin is not None
    nodes.welcome = msgspec.structs.replace(nodes.welcome, epoch=5)
    async with linked(nodes) as (_, core_end):
        await core_end.approve()
    assert store.pin.epoch == 5


async def test_approve_fails_when_the_cell_belongs_to_another_core_meanwhile(nodes: Nodes) -> None:
    nodes.core_trust = FixedTrust(WAITING)
    trust = nodes.cell_trust = FixedTrust()
    async with linked(nodes) as (_, core_end):
        trust.judgement = refused("core_not_pinned", "I belong to another.")
        with pytest.raises(Forbidden, match="belong to another"):
            await core_end.approve()
        assert core_end.closed.is_set()
