"""Keys that requests are signed with: ``credentials.toml`` of a Core, readable by its owner only.

Core makes the file at its first start with random keys for ``nanoctl`` (administrator) and ``frontend`` (acts for the
users it has logged in). More entries may be added by hand; they count from the next start. A key is never logged or
shown: ``repr`` leaves it out.
"""

import logging
import os
import re
import secrets
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.catalogue import RIGHTS_OF_ROLE
from nano.domain.errors import Invalid

log = logging.getLogger("nano.http")

FILE_NAME: Final = "credentials.toml"
FRONTEND: Final = "frontend"  # the role that acts for others; it has no rights of its own
ROLES: Final = (*RIGHTS_OF_ROLE, FRONTEND)
CREDENTIALS_MAX: Final = 1000
_KEY_BYTES: Final = 32
_ID: Final = re.compile(r"[0-9A-Za-z_.-]{1,64}")

_HEAD: Final = """\
# Keys that requests to this Core are signed with. Whoever can read this file can command the Core.
# role: administrator (everything), operator (guests and tasks), reader (look only),
#       frontend (nothing by itself: acts for the user named in a signed header).
# Changes count from Core's next start.
"""


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    key: str
    role: str

    @property
    def secret(self) -> bytes:
        return self.key.encode()

    def __repr__(self) -> str:
        return f"Credential(id={self.id!r}, role={self.role!r})"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    credential: list[Credential]


class Credentials:
    """Raises Invalid(invalid_credentials) for a double id, an empty key or an unknown role."""

    def __init__(self, entries: list[Credential]) -> None:
        self._by_id: dict[str, Credential] = {}
        for entry in entries:
            problem = (
                f"id {entry.id[:80]!r} is misspelt" if not _ID.fullmatch(entry.id)
                else f"id {entry.id!r} is there twice" if entry.id in self._by_id
                else f"the key of {entry.id!r} is shorter than 16 characters" if len(entry.key) < 16
                else f"role {entry.role[:80]!r} of {entry.id!r} does not exist" if entry.role not in ROLES
                else "there are too many" if len(self._by_id) >= CREDENTIALS_MAX
                else ""
            )  # fmt: skip
            if problem:
                raise Invalid(
                    f"The credentials can't be used: {problem}.",
                    code="invalid_credentials",
                    hint=f"Mend {FILE_NAME}; roles are {', '.join(ROLES)}.",
                )
            self._by_id[entry.id] = entry

    def get(self, credential_id: str) -> Credential | None:
        return self._by_id.get(credential_id)

    def ids(self) -> list[str]:
        return list(self._by_id)


def load_credentials(config: Path) -> Credentials:
    """Of the node whose ``config`` folder this is. Raises FileNotFoundError, Invalid(invalid_credentials)."""
    path = config / FILE_NAME
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = msgspec.convert(table, _File).credential
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Invalid(
            f"{path} can't be read as credentials: {error}.",
            code="invalid_credentials",
            hint="Each entry is [[credential]] with id, key and role.",
        ) from error
    if path.stat().st_mode & 0o077:
        log.warning("credentials.open_to_others path=%s hint=chmod 600", path)
    return Credentials(entries)


def load_or_make_credentials(config: Path) -> Credentials:
    """As above; makes the file with fresh keys when there is none."""
    path = config / FILE_NAME
    if not path.exists():
        entries = [("nanoctl", "administrator"), (FRONTEND, FRONTEND)]
        _write(path, [Credential(name, secrets.token_urlsafe(_KEY_BYTES), role) for name, role in entries])
        log.info("credentials.made path=%s", path)
    return load_credentials(config)


def _write(path: Path, entries: list[Credential]) -> None:
    blocks = [f'\n[[credential]]\nid = "{e.id}"\nkey = "{e.key}"\nrole = "{e.role}"\n' for e in entries]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_HEAD + "".join(blocks))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
