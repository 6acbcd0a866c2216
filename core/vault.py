"""Vault: secrets that people send are hashed or encrypted at Core's door, before anything is decided, journaled or told.

The key is a file of Core's own (``config/secrets.key``), outside the journal: a copy of the journal, or a backup of it, holds
nothing that opens without it. The same request sealed again gives the same text (nonce and salt come from key, command id
and content), so an idempotency key still recognises it; nobody without the key can guess at a password by comparing.
Encryption is AES-256-GCM; passwords become SHA-512-crypt, which every Linux takes (``sha_crypt``).
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nano.core.sha_crypt import ALPHABET, sha512_crypt
from nano.core.user_data import check_cloud_config
from nano.domain import cloud_init as ci
from nano.domain.errors import Failure, JournalError
from nano.domain.facts import Command
from nano.domain.guest_makeup import GuestMakeup
from nano.domain.guest_password import SetPassword, check

KEY_BYTES: Final = 32
SALT_LENGTH: Final = 16
NONCE_BYTES: Final = 12
FORM: Final = "v1:"
_PURPOSE: Final = b"nano cloud-init"
_PASSWORD: Final = b"nano guest password"
MADE_UP: Final = 16  # letters of a password that nobody gave: over 80 bits
LETTERS: Final = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that look alike
CLASSES: Final = ("abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKMNPQRSTUVWXYZ", "23456789")  # a system may want one of each


class Vault:
    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._key = key

    def seal(self, command: Command, command_id: str) -> Command:
        """The command without a secret in clear. Raises Invalid when what it asks for can't be used."""
        if isinstance(command, SetPassword):
            return self._seal_password(command, command_id)
        if not isinstance(command, GuestMakeup) or command.cloud_init is None:
            return command
        told = command.cloud_init
        ci.check(told)
        check_cloud_config(told.user_data)
        if not told.password and not told.user_data:
            return command
        passwd = sha512_crypt(told.password, self._salt(command_id, told.password)) if told.password else ""
        sealed = self._encrypt(msgspec.json.encode(ci.Secrets(passwd, told.user_data)), command_id, _PURPOSE)
        hidden = msgspec.structs.replace(told, password="", user_data="", sealed=sealed)
        return msgspec.structs.replace(command, cloud_init=hidden)

    def open(self, told: ci.CloudInit) -> ci.Secrets:
        """Raises Failure when they were sealed with another key."""
        if not told.sealed:
            return ci.Secrets()
        return msgspec.json.decode(self._decrypt(told.sealed, _PURPOSE), type=ci.Secrets)

    def open_password(self, sealed: str) -> str:
        """Raises Failure when it was sealed with another key."""
        return self._decrypt(sealed, _PASSWORD).decode()

    def _seal_password(self, command: SetPassword, command_id: str) -> SetPassword:
        check(command)
        password = command.password or self._made_up(command_id, command.guest)
        sealed = self._encrypt(password.encode(), command_id, _PASSWORD)
        return msgspec.structs.replace(command, password="", sealed=sealed)

    def _made_up(self, command_id: str, guest: str) -> str:
        """One letter of each class, the rest of any."""
        drawn = self._derived(b"password", command_id, guest.encode("utf-8", "surrogatepass"))
        sets = (*CLASSES, *[LETTERS] * (MADE_UP - len(CLASSES)))
        return "".join(
            letters[int.from_bytes(drawn[place * 2 : place * 2 + 2], "big") % len(letters)]
            for place, letters in enumerate(sets)
        )

    def _decrypt(self, sealed: str, purpose: bytes) -> bytes:
        raw = base64.b64decode(sealed.removeprefix(FORM))
        try:
            return AESGCM(self._key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose)
        except InvalidTag:
            raise Failure(
                "The guest's secrets were encrypted with another key.",
                code="secrets_key_changed",
                hint="Put config/secrets.key of this Core back, or give the guest new ones.",
            ) from None

    def _encrypt(self, plain: bytes, command_id: str, purpose: bytes) -> str:
        nonce = self._derived(b"nonce", command_id, plain)[:NONCE_BYTES]
        return FORM + base64.b64encode(nonce + AESGCM(self._key).encrypt(nonce, plain, purpose)).decode()

    def _salt(self, command_id: str, password: str) -> str:
        drawn = self._derived(b"salt", command_id, password.encode("utf-8", "surrogatepass"))
        return "".join(ALPHABET[byte & 63] for byte in drawn[:SALT_LENGTH])

    def _derived(self, what: bytes, command_id: str, content: bytes) -> bytes:
        name = command_id.encode()
        return hmac.new(self._key, what + len(name).to_bytes(4, "big") + name + content, hashlib.sha256).digest()


def open_vault(path: Path) -> Vault:
    """With the key in this file, which is made when it is absent. Raises JournalError when it is not a key."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = os.urandom(KEY_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    if len(key) != KEY_BYTES:
        raise JournalError(
            f"{path} is not a key of {KEY_BYTES} bytes.", code="secrets_key_damaged", hint="Put the right file back."
        )
    return Vault(key)
