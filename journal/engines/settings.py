"""Which engine keeps a node's journal, and where: the section ``[journal]`` of a node's settings.

It never holds a password: that is in a file of its own, or in the environment (``NANO_POSTGRES_PASSWORD``), and is read
when a connection is made. So these settings may be written beside the journal (``opening``) and into logs.
"""

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from nano.domain.errors import Invalid

PASSWORD_VARIABLE: Final = "NANO_POSTGRES_PASSWORD"  # noqa: S105 (its name)
_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"

JOURNAL_DEFAULTS: Final = """\
[journal]
# What keeps the journal: "json" (files, the default), "sqlite", or "postgres" (pip install nano-cloud[postgres]). It is not
# changed here alone: see docs/guides/journals.md, "Other engines".
engine = "json"
# sqlite: its file; "" = journal.db in the journal's folder.
file = ""
# postgres: a name, an address, or the folder of its socket.
host = "/run/postgresql"
port = 5432
database = "nano"
user = "nano"
schema = "public"
# A file that holds the password; "" = the environment (NANO_POSTGRES_PASSWORD), or none.
password_file = ""
"""

Engine = Literal["json", "sqlite", "postgres"]


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``file`` is SQLite's, "" = ``journal.db`` in the journal's folder. The rest is for PostgreSQL: ``host`` is a name, an
    address, or the folder of its socket; ``password_file`` "" = the environment, and without that no password."""

    engine: Engine = "json"
    file: str = ""
    host: str = "/run/postgresql"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 5432
    database: str = "nano"
    user: str = "nano"
    schema: Annotated[str, msgspec.Meta(pattern=_NAME)] = "public"
    password_file: str = ""

    def password(self) -> str:
        """Raises Invalid(password_unreadable)."""
        if not self.password_file:
            return os.environ.get(PASSWORD_VARIABLE, "")
        try:
            return Path(self.password_file).read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(
                f"The password file {self.password_file} can't be read ({type(error).__name__}).",
                code="password_unreadable",
                hint="Name a file with one line that the node's user may read.",
            ) from error
