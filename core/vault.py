"""Vault: secrets that people send are hashed or encrypted at Core's door, before anything is decided, journaled or told.

They are sealed with Core's own key (``journal/sealing.py``), the same way for the same request, so an idempotency key still
recognises it; nobody without the key can guess at a password by comparing. Passwords of cloud-init become SHA-512-crypt, which
every Linux takes (``sha_crypt``). Secrets that nobody gave are made up here.
"""

from pathlib import Path
from typing import Final

import msgspec

from nano.core.sha_crypt import ALPHABET, sha512_crypt
from nano.core.user_data import check_cloud_config
from nano.domain import cloud_init as ci
from nano.domain.facts import Command
from nano.domain.guest_makeup import GuestMakeup
from nano.domain.guest_password import SetPassword, check
from nano.domain.guest_vnc import EnableVnc, ResetVnc, refuse_sealed
from nano.journal.sealing import SealingKey, open_key

SALT_LENGTH: Final = 16
MADE_UP: Final = 16  # letters of a password that nobody gave: over 80 bits
VNC_SECRET: Final = 8  # letters of a VNC secret: the protocol takes no more (RFC 6143, 7.2.2); 46 bits
LETTERS: Final = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that look alike
CLASSES: Final = ("abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKMNPQRSTUVWXYZ", "23456789")  # a system may want one of each
_PURPOSE: Final = b"nano cloud-init"
_PASSWORD: Final = b"nano guest password"
_VNC: Final = b"nano vnc secret"


class Vault:
    def __init__(self, key: bytes | SealingKey) -> None:
        self._key = key if isinstance(key, SealingKey) else SealingKey(key)

    def seal(self, command: Command, command_id: str) -> Command:
        """The command without a secret in clear. Raises Invalid when what it asks for can't be used."""
        if isinstance(command, SetPassword):
            return self._seal_password(command, command_id)
        if isinstance(command, (EnableVnc, ResetVnc)):
            return self._seal_vnc(command, command_id)
        if not isinstance(command, GuestMakeup) or command.cloud_init is None:
            return command
        told = command.cloud_init
        ci.check(told)
        check_cloud_config(told.user_data)
        if not told.password and not told.user_data:
            return command
        passwd = sha512_crypt(told.password, self._salt(command_id, told.password)) if told.password else ""
        sealed = self._key.seal(msgspec.json.encode(ci.Secrets(passwd, told.user_data)), command_id, _PURPOSE)
        hidden = msgspec.structs.replace(told, password="", user_data="", sealed=sealed)
        return msgspec.structs.replace(command, cloud_init=hidden)

    def open(self, told: ci.CloudInit) -> ci.Secrets:
        """Raises Failure when they were sealed with another key."""
        if not told.sealed:
            return ci.Secrets()
        return msgspec.json.decode(self._key.open(told.sealed, _PURPOSE), type=ci.Secrets)

    def open_password(self, sealed: str) -> str:
        """Raises Failure when it was sealed with another key."""
        return self._key.open(sealed, _PASSWORD).decode()

    def open_vnc(self, sealed: str) -> str:
        """Raises Failure when it was sealed with another key."""
        return self._key.open(sealed, _VNC).decode()

    def _seal_password(self, command: SetPassword, command_id: str) -> SetPassword:
        check(command)
        password = command.password or self._made_up(MADE_UP, b"password", command_id, command.guest)
        sealed = self._key.seal(password.encode(), command_id, _PASSWORD)
        return msgspec.structs.replace(command, password="", sealed=sealed)

    def _seal_vnc(self, command: EnableVnc | ResetVnc, command_id: str) -> EnableVnc | ResetVnc:
        refuse_sealed(command)
        secret = self._made_up(VNC_SECRET, b"vnc secret", command_id, command.guest)
        return msgspec.structs.replace(command, sealed=self._key.seal(secret.encode(), command_id, _VNC))

    def _made_up(self, length: int, what: bytes, command_id: str, guest: str) -> str:
        """One letter of each class, the rest of any."""
        drawn = self._key.derived(what, command_id, guest.encode("utf-8", "surrogatepass"))
        sets = (*CLASSES, *[LETTERS] * (length - len(CLASSES)))
        return "".join(
            letters[int.from_bytes(drawn[place * 2 : place * 2 + 2], "big") % len(letters)]
            for place, letters in enumerate(sets)
        )

    def _salt(self, command_id: str, password: str) -> str:
        drawn = self._key.derived(b"salt", command_id, password.encode("utf-8", "surrogatepass"))
        return "".join(ALPHABET[byte & 63] for byte in drawn[:SALT_LENGTH])


def open_vault(path: Path) -> Vault:
    """With the key in this file, which is made when it is absent. Raises JournalError when it is not a key."""
    return Vault(open_key(path))
