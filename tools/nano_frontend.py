"""nano-frontend: the portal, as a program.

This is where FrontEnd meets the client that signs and the ways to find a Core: the node itself only knows that there are
some. Core is where the settings say; else where the Core of the same state folder says it is; else it is asked for in the
domain by multicast.
"""

import json
import random
import sys
import tomllib
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.errors import Invalid, Unreachable
from nano.http.client import AsyncSignedClient, Signer
from nano.http.credentials import Credential
from nano.tools.daemon import Ready, run_program
from nano.transports.discovery import DomainTriple, discover
from nano.ui.core_api import CoreClient, Find
from nano.ui.node import run_frontend
from nano.ui.settings import Settings, load_settings

ASK_S: Final = 2.0


class _Keys(msgspec.Struct):
    credential: list[Credential]


def main() -> int:
    return run_program("nano-frontend", "The Nano portal: pages, accounts, consoles.", serve)


async def serve(folder: Path, ready: Ready) -> None:
    settings = load_settings(folder)
    await run_frontend(folder, settings, core_finder(folder, settings), ready)


def core_finder(folder: Path, settings: Settings) -> Find:
    """How this FrontEnd finds its Core, asked again whenever the connection is lost."""

    async def find() -> CoreClient:
        address = settings.core.api or _beside(folder) or await _asked_for(settings)
        return AsyncSignedClient(address, Signer(settings.core.key_id, read_key(folder, settings)))

    return find


def read_key(folder: Path, settings: Settings) -> str:
    """The key that signs; read anew each time, because Core may make it after this node has started.

    Raises Unreachable(core_key_missing) while the file is not there, Invalid(unknown_credential, settings_invalid).
    """
    path = Path(settings.core.key_file) if settings.core.key_file else folder.parent / "core/config/credentials.toml"
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Keys).credential
    except OSError as error:
        raise Unreachable(
            f"The file with Core's keys can't be read: {path} ({error.strerror}).",
            code="core_key_missing",
            hint="Copy Core's config/credentials.toml to this node and name it as core.key_file in frontend.toml.",
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"{path}: {error}.", code="settings_invalid", hint="Copy it from Core again.") from error
    for entry in entries:
        if entry.id == settings.core.key_id:
            return entry.key
    raise Invalid(
        f"{path} has no key {settings.core.key_id!r}.", code="unknown_credential", hint="Look at core.key_id."
    )


def _beside(folder: Path) -> str:
    """Where the Core of the same state folder says it answers; "" when there is none."""
    try:
        found = json.loads((folder.parent / "core" / "run" / "endpoint.json").read_text(encoding="utf-8"))
        return str(found["api"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


async def _asked_for(settings: Settings) -> str:
    """The first Core of the domain that answers. Raises Unreachable, Failure(discovery_failed)."""
    domain = settings.domain
    host = "127.0.0.1" if settings.listen.host in ("0.0.0.0", "::") else settings.listen.host  # noqa: S104
    triple = DomainTriple(name=domain.name, group=domain.group, port=domain.port, interface=host)
    answers = discover(triple, timeout_s=ASK_S, random=random.SystemRandom(), addresses=domain.addresses)
    async with aclosing(answers):
        async for core in answers:
            if core.api:
                return core.api
    raise Unreachable(
        f"No Core of domain {domain.name!r} answers.",
        code="core_unreachable",
        hint="Is nano-core running? The portal goes on looking.",
    )


if __name__ == "__main__":
    sys.exit(main())
