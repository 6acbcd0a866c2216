"""Secrets at Core's door: hashed and encrypted before anything is decided, the same each time, and only for Core's key."""

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.core.sha_crypt import sha512_crypt
from nano.core.vault import Vault, open_vault
from nano.domain.batch import CreateBatch
from nano.domain.cloud_init import CloudInit
from nano.domain.errors import Failure, Invalid, JournalError
from nano.domain.guest_commands import CreateGuest, StartGuest
from nano.domain.guest_password import SetPassword
from nano.domain.guest_vnc import EnableVnc, ResetVnc
from nano.domain.machine import MEBI

VAULT = Vault(bytes(range(32)))
PASSWORD = "Correct-Horse-7!"


def create(**told: Any) -> CreateGuest:
    return CreateGuest(name="web", memory=64 * MEBI, disks=(16 * MEBI,), cloud_init=CloudInit(**told))


def sealed(command: CreateGuest, command_id: str = "k", vault: Vault = VAULT) -> CloudInit:
    made = vault.seal(command, command_id)
    assert isinstance(made, CreateGuest)
    assert made.cloud_init is not None
    return made.cloud_init


@pytest.mark.parametrize(
    ("password", "salt", "hashed"),
    [  # as "openssl passwd -6" has them
        (
            "Hello world!",
            "saltstring",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        ("x", "a", "$6$a$AvQLBHPFSbE4d9QOBrglBdXuv.jRoEFLHgWJlsZ6XhNHrxkMbotj9kAr0GGhdZ5XM6DM29/LJ9jZin3Aj8Tph0"),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "./0123456789ABCD",
            "$6$./0123456789ABCD$XZ4ZBn7eH1LsUOOUGL9zv.YfB8mVe2ttHR2BYn2vr8RykTH3Xmx6QHd50svg3QQPORDOgoQRy9IdQvfJX3AVm0",
        ),
        ("密码", "zz", "$6$zz$Afe06eKDEX0RsA5ZhsVK2Ypt9aadU9yfztpwIBSvDvOYv6L.hEjwvVkLSFphHs5AsnCZZcrr7TWRFKVImbofi/"),
    ],
)
def test_passwords_are_hashed_as_shadow_files_have_them(password: str, salt: str, hashed: str) -> None:
    assert sha512_crypt(password, salt) == hashed


def test_nothing_of_a_secret_is_left_in_clear_and_core_can_open_it() -> None:
    told = sealed(create(password=PASSWORD, user_data="#!/bin/sh\necho top-secret\n", user="ops"))
    text = msgspec.json.encode(told)
    assert PASSWORD.encode() not in text
    assert b"top-secret" not in text
    assert b"$6$" not in text
    assert told.user == "ops"
    secrets = VAULT.open(told)
    assert secrets.user_data == "#!/bin/sh\necho top-secret\n"
    salt = secrets.passwd.split("$")[2]
    assert secrets.passwd == sha512_crypt(PASSWORD, salt)


def test_the_same_request_is_sealed_the_same_and_no_other_is() -> None:
    one = sealed(create(password=PASSWORD))
    assert sealed(create(password=PASSWORD)) == one
    assert sealed(create(password=PASSWORD), "other") != one
    assert sealed(create(password=PASSWORD), vault=Vault(bytes(32))) != one


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Failure) as refused:
        Vault(bytes(32)).open(sealed(create(password=PASSWORD)))
    assert refused.value.code == "secrets_key_changed"


def test_batches_are_sealed_too_and_other_commands_left_alone() -> None:
    batch = CreateBatch(
        prefix="web", count=2, memory=64 * MEBI, disks=(16 * MEBI,), cloud_init=CloudInit(password=PASSWORD)
    )
    made = VAULT.seal(batch, "k")
    assert PASSWORD.encode() not in msgspec.json.encode(made)
    other = StartGuest(guest="web")
    assert VAULT.seal(other, "k") is other
    plain = create(ssh_keys=())
    assert VAULT.seal(plain, "k") is plain


def test_a_client_can_not_send_what_only_core_makes() -> None:
    with pytest.raises(Invalid) as refused:
        VAULT.seal(create(sealed="v1:AAAA"), "k")
    assert refused.value.code == "invalid_sealed"


def test_a_cloud_config_that_a_guest_could_not_read_is_refused_at_the_door() -> None:
    with pytest.raises(Invalid, match="Line 2 of user_data"):
        VAULT.seal(create(user_data="#cloud-config\n- not a mapping\n"), "k")


def test_the_key_is_made_once_and_is_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "config" / "secrets.key"
    told = sealed(create(password=PASSWORD), vault=open_vault(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_vault(path).open(told).passwd.startswith("$6$")
    path.write_bytes(b"short")
    with pytest.raises(JournalError) as refused:
        open_vault(path)
    assert refused.value.code == "secrets_key_damaged"


def test_a_password_that_nobody_gave_is_made_up_and_the_same_for_the_same_request() -> None:
    def made(command_id: str, guest: str = "web") -> str:
        command = VAULT.seal(SetPassword(guest=guest), command_id)
        assert isinstance(command, SetPassword)
        return VAULT.open_password(command.sealed)

    first = made("k")
    assert first == made("k")
    assert len({first, made("l"), made("k", "db")}) == 3
    assert len(first) == 16
    assert any(map(str.isdigit, first))
    assert any(map(str.isupper, first))
    assert any(map(str.islower, first))


def test_a_sealed_password_opens_with_its_key_and_for_its_purpose_alone() -> None:
    command = VAULT.seal(SetPassword(guest="web", password=PASSWORD), "k")
    assert isinstance(command, SetPassword)
    assert (command.password, VAULT.open_password(command.sealed)) == ("", PASSWORD)
    with pytest.raises(Failure):
        Vault(bytes(32)).open_password(command.sealed)
    with pytest.raises(Failure):
        VAULT.open(CloudInit(sealed=command.sealed))


def test_a_vnc_secret_is_made_up_for_each_request_and_opens_as_nothing_else() -> None:
    def sealed(command: EnableVnc | ResetVnc, command_id: str) -> str:
        made = VAULT.seal(command, command_id)
        assert isinstance(made, type(command))
        return made.sealed

    texts = [
        sealed(EnableVnc(guest="web"), "k"),
        sealed(ResetVnc(guest="web"), "l"),
        sealed(EnableVnc(guest="db"), "k"),
    ]
    assert sealed(EnableVnc(guest="web"), "k") == texts[0]
    secrets = [VAULT.open_vnc(text) for text in texts]
    assert len(set(secrets)) == 3
    for secret in secrets:
        assert len(secret) == 8
        assert all(any(map(kind, secret)) for kind in (str.isdigit, str.isupper, str.islower))
    with pytest.raises(Failure):
        VAULT.open_password(texts[0])
    with pytest.raises(Invalid) as refused:
        VAULT.seal(EnableVnc(guest="web", sealed="v1:AAAA"), "k")
    assert refused.value.code == "invalid_sealed"
