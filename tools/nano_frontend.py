"""nano-frontend: the portal, as a program.

This is where FrontEnd meets the client that signs: the node itself only knows that there is one. Core is where the
settings say; else where the Core of the same state folder says; else it is asked for in the domain.
"""

import sys
from pathlib import Path

from nano.domain.errors import Invalid, Unreachable
from nano.http.client import AsyncSignedClient, find_core
from nano.http.credentials import load_credentials
from nano.tools.daemon import Ready, run_program
from nano.ui.core_api import CoreClient, Find
from nano.ui.node import run_frontend
from nano.ui.settings import Settings, load_settings


def main() -> int:
    return run_program("nano-frontend", "The Nano portal: pages, accounts, consoles.", serve)


async def serve(folder: Path, ready: Ready) -> None:
    settings = load_settings(folder)
    await run_frontend(folder, settings, core_finder(folder, settings), ready)


def core_finder(folder: Path, settings: Settings) -> Find:
    """How this FrontEnd finds its Core, asked again whenever the connection is lost."""

    async def find() -> CoreClient:
        key_id = settings.core.key_id
        if not settings.core.api:
            address, key = find_core(folder.parent, key_id)
        else:
            address, key = settings.core.api, _key(folder, settings)
        return AsyncSignedClient(address, key_id, key)

    return find


def _key(folder: Path, settings: Settings) -> str:
    path = Path(settings.core.key_file) if settings.core.key_file else folder.parent / "core/config/credentials.toml"
    if not path.exists():
        raise Unreachable(
            f"The file with Core's keys is not there: {path}.",
            code="core_key_missing",
            hint="Copy Core's config/credentials.toml to this node and name it as core.key_file in frontend.toml.",
        )
    credential = load_credentials(path.parent if path.name == "credentials.toml" else path).get(settings.core.key_id)
    if credential is None:
        raise Invalid(
            f"{path} has no key {settings.core.key_id!r}.", code="unknown_credential", hint="Look at core.key_id."
        )
    return credential.key


if __name__ == "__main__":
    sys.exit(main())
