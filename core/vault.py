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
from nano.domain import cloud_init as ci
from nano.domain.errors import Failure, JournalError
from nano.domain.facts import Command
from nano.domain.guest_makeup import GuestMakeup

KEY_BYTES: Final = 32
SALT_LENGTH: Final = 16
NONCE_BYTES: Final = 12
FORM: Final = "v1:"
_PURPOSE: Final = b"nano cloud-init"


class Vault:
    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._key = key

    def seal(self, command: Command, command_id: str) -> Command:
        """The command without a secret in clear. Raises Invalid when what it asks of cloud-init can't be used."""
        if not isinstance(command, GuestMakeup) or command.cloud_init is None:
            return command
        told = command.cloud_init
        ci.check(told)
        if not told.password and not told.user_data:
            return command
        passwd = sha512_crypt(told.password, self._salt(command_id, told.password)) if told.password else ""
        sealed = self._encrypt(msgspec.json.encode(ci.Secrets(passwd, told.user_data)), command_id)
        hidden = msgspec.structs.replace(told, password="", user_data="", sealed=sealed)
        return msgspec.structs.replace(command, cloud_init=hidden)

    def open(self, told: ci.CloudInit) -> ci.Secrets:
        """Raises Failure when they were sealed with another key."""
        if not told.sealed:
            return ci.Secrets()
        raw = base64.b64decode(told.sealed.removeprefix(FORM))
        try:
            plain = AESGCM(self._key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _PURPOSE)
        except InvalidTag:
            raise Failure(
                "The guest's password and user-data were encrypted with another key.",
                code="secrets_key_changed",
                hint="Put config/secrets.key of this Core back, or create the guest anew.",
            ) from None
        return msgspec.json.decode(plain, type=ci.Secrets)

    def _encrypt(self, plain: bytes, command_id: str) -> str:
        nonce = self._derived(b"nonce", command_id, plain)[:NONCE_BYTES]
        return FORM + base64.b64encode(nonce + AESGCM(self._key).encrypt(nonce, plain, _PURPOSE)).decode()

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
