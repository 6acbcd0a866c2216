"""Redaction: what must go is gone, what tells of structure stays, and the same is always the same."""

import ipaddress
import re
from typing import Any

import msgspec
import pytest

from nano.domain.office import Office
from nano.domain.zone import Zone
from nano.tools.replay.redaction import Redactor

UUID = "3f0c9d2e-1111-4222-8333-123456789abc"


@pytest.fixture
def redactor() -> Redactor:
    found = Redactor(b"k" * 32)
    found.learn(
        "guest/" + UUID, {"type": "guest.requested", "spec": {"name": "payroll"}, "owner": "eve.smith", "pool": "hq"}
    )
    found.learn("cell/Cell_0a1b2c3d4e5f", {"type": "cell.connected", "address": "10.1.2.3:5601"})
    found.learn_actor("mallory")
    return found


def say(redactor: Redactor, text: str) -> str:
    event = redactor.value({"type": "guest.stopped", "reason": text})
    assert event["type"] == "guest.stopped"
    return str(event["reason"])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("guest payroll.", "payroll"),
        ("'payroll' is off", "payroll"),
        ("asked by eve.smith, then mallory", "eve"),
        ("asked by mallory", "mallory"),
        ("connect to 192.168.7.9:22 failed", "192.168.7.9"),
        ("from fe80::1:2ff:fe03:4 it came", "fe80"),
        ("card 52:54:00:12:34:56 is taken", "52:54"),
        ("open /srv/hq/payroll-disk.qcow2: no room", "payroll-disk"),
        ("see https://wiki.example.com/payroll?x=1", "example"),
        ("host kvm7.example.com is away", "example"),
        ("write to ops@example.com", "ops"),
        ("Cell_0a1b2c3d4e5f and Core_aabbccddeeff", "0a1b2c3d4e5f"),
        ("volume payroll in hq", "payroll"),
    ],
)
def test_texts(redactor: Redactor, text: str, secret: str) -> None:
    told = say(redactor, text)
    assert secret not in told
    assert told == say(redactor, text), "always the same"
    assert told != say(Redactor(b"x" * 32), text)
    words = [word for word in text.split() if word.isalpha() and word not in ("payroll", "mallory", "hq")]
    assert [word for word in told.split() if word in words] == words, "the other words stay"


@pytest.mark.parametrize(
    "text",
    ["start on order", "/dev/kvm exists, but a guest under it executes nothing", "libvirt 9.0.0, QEMU 7.2.22",
     "guest.create broke", "at 03:10:53", "1.5 MiB/s and/or more", "", UUID, f"{UUID}.make", "0.0.0.0"],
)  # fmt: skip
def test_words_that_name_nobody_stay(redactor: Redactor, text: str) -> None:
    assert say(redactor, text) == text


def test_an_address_stays_one(redactor: Redactor) -> None:
    four = ipaddress.ip_address(say(redactor, "192.168.7.9"))
    assert four.version == 4
    assert ipaddress.ip_address(say(redactor, "127.0.0.1")).is_loopback
    assert ipaddress.ip_address(say(redactor, "2001:db8::7")).version == 6
    assert say(redactor, "192.168.7.9:22").endswith(":22")
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", say(redactor, "52:54:00:12:34:56"))


def test_paths_keep_their_depth_and_ending(redactor: Redactor) -> None:
    told = say(redactor, "/srv/images/deb.qcow2")
    assert (told.count("/"), told.rpartition(".")[2]) == (3, "qcow2")
    assert told.rpartition("/")[0] == say(redactor, "/srv/images/other.raw").rpartition("/")[0]


def test_names_of_resources_actors_and_commands(redactor: Redactor) -> None:
    cell = redactor.resource("cell/Cell_0a1b2c3d4e5f")
    assert re.fullmatch(r"cell/Cell_[0-9a-f]{12}", cell)
    assert redactor.name("cell/Cell_0a1b2c3d4e5f") == cell
    assert redactor.cause("cell/Cell_0a1b2c3d4e5f@44") == f"{cell}@44"
    for kept in (f"guest/{UUID}", "zone/zone", "login/failures", "compute_pool/default", f"order/debt.{UUID}"):
        assert redactor.resource(kept) == kept
    assert redactor.cause(f"order/{UUID}.make") == f"order/{UUID}.make"
    assert [redactor.name(name) for name in ("core", "hypervisor", "")] == ["core", "hypervisor", ""]
    assert redactor.command(f"{UUID}/step/start") == f"{UUID}/step/start"
    command = redactor.command("frontend/eve.smith:~0123")
    assert re.fullmatch(r"frontend/name-[0-9a-f]{8}:~[0-9a-f]{32}", command)
    assert redactor.name("eve.smith") in command
    assert "mine" not in redactor.command("nanoctl:mine")


def test_steps_and_choices_are_nanos_own_words(redactor: Redactor) -> None:
    redactor.learn("guest/x", {"type": "guest.requested", "spec": {"name": "running"}, "owner": "make domain"})
    state = {"state": "running", "plan": ["make domain"], "steps": [{"name": "make domain", "detail": "10.1.2.3"}],
             "hardware": {"network": "virtio"}}  # fmt: skip
    told = redactor.value(state)
    assert (told["state"], told["plan"], told["hardware"]) == ("running", ["make domain"], {"network": "virtio"})
    assert told["steps"][0]["name"] == "make domain"
    assert "10.1.2.3" not in told["steps"][0]["detail"]
    step = {"type": "task.step_started", "name": "make domain"}
    assert redactor.value(step) == step


def test_secrets_of_a_frontend(redactor: Redactor) -> None:
    event = {"type": "account.created", "name": "mallory", "role": "administrator", "password_hash": "$argon2id$v=19$x"}
    told = redactor.value(event)
    assert told["role"] == "administrator"
    assert "argon2" not in str(told)
    assert "mallory" not in str(told)
    assert redactor.value({"type": "session.closed", "reason": "idle"})["reason"] == "idle"


def _example(schema: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(schema))


@pytest.mark.parametrize("rules", [Zone.rules, Office.rules])
def test_every_event_can_still_be_decoded(redactor: Redactor, rules: Any) -> None:
    """Each type with texts that look like names, and choices as they are allowed."""
    for kind in rules.event_types():
        event = {"type": kind.__struct_config__.tag, **_filled(kind)}
        msgspec.convert(redactor.value(_example(event)), kind)


def _filled(kind: Any) -> dict[str, Any]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.encode_name: _value(field.type) for field in info.fields}


def _value(kind: Any) -> Any:
    inspect = msgspec.inspect
    match kind:
        case inspect.StrType():
            return "payroll"
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 1
        case inspect.DateTimeType():
            return "2026-11-21T03:00:00Z"
        case inspect.VarTupleType():
            return [_value(kind.item_type)]
        case inspect.DictType():
            return {"name": "payroll"}
        case inspect.StructType():
            return _filled(kind.cls)
        case inspect.UnionType():
            return _value(kind.types[0])
        case _:
            return None
