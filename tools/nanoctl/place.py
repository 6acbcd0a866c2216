"""Where the API is and which key to sign with: from the state folder of this machine, or named for a remote one.

Order: ``--api`` with ``--key-id`` and ``--key-file`` ($NANO_API, $NANO_KEY_ID, $NANO_KEY_FILE), else ``--state``
($NANO_STATE), else the user's own state folder. It only reads; a missing file is told with what would make it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.errors import Invalid, Unreachable
from nano.http.credentials import FILE_NAME, load_credentials
from nano.tools.nanoctl.connection import Connection, Key
from nano.tools.state import default_state, node_folder

KEY_ID: Final = "nanoctl"


class _Endpoint(msgspec.Struct):
    api: str


def connect(
    *,
    state: Path | None,
    api: str = "",
    key_id: str = "",
    key_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float | None = None,
) -> Connection:
    """Raises Invalid, Unreachable(api_not_found), Unreachable(credentials_not_found)."""
    url = api or environment.get("NANO_API", "")
    if not url:
        folder = node_folder((state or default_state()).absolute(), "core")
        url, key = _url_of(folder), _key_of(folder, key_id or KEY_ID)
    else:
        named = key_file or (Path(text) if (text := environment.get("NANO_KEY_FILE")) else None)
        if named is None and state is not None:
            key = _key_of(node_folder(state.absolute(), "core"), key_id or KEY_ID)
        else:
            key = Key(key_id or environment.get("NANO_KEY_ID") or KEY_ID, _secret_in(named))
    return Connection(url, key) if timeout_s is None else Connection(url, key, timeout_s=timeout_s)


def _url_of(core: Path) -> str:
    path = core / "run" / "endpoint.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Endpoint).api
    except FileNotFoundError as error:
        raise Unreachable(
            f"No Core has said its address in {path}.",
            code="api_not_found",
            hint="Start it with scripts/up or nano-core start; name its state folder with --state, or a remote API with --api.",
        ) from error
    except (msgspec.MsgspecError, OSError) as error:
        raise Unreachable(
            f"The address of the API in {path} can't be read: {error}.",
            code="api_not_found",
            hint="Restart nano-core: it writes the file anew.",
        ) from error


def _key_of(core: Path, key_id: str) -> Key:
    config = core / "config"
    try:
        credential = load_credentials(config).get(key_id)
    except OSError as error:
        raise Unreachable(
            f"The key of {key_id!r} can't be read from {config / FILE_NAME}: {error.strerror}.",
            code="credentials_not_found",
            hint="Run as the user who owns the state folder, or give --key-id and --key-file.",
        ) from error
    if credential is None:
        raise Invalid(
            f"{config / FILE_NAME} has no key with id {key_id!r}.",
            code="unknown_credential",
            hint="Choose one of its ids with --key-id.",
        )
    return Key(credential.id, credential.secret)


def _secret_in(path: Path | None) -> bytes:
    if path is None:
        raise Invalid(
            "A remote API needs a key.",
            code="key_missing",
            hint="Give --key-id ID and --key-file FILE; the file holds the key and nothing else.",
        )
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise Invalid(
            f"The key file {path} can't be read: {error.strerror}.", code="key_missing", hint="Name a readable file."
        ) from error
