"""Commands over HTTP: one handler for every entry of the catalogue.

Decode strictly, give the command its id, let Core carry it out, answer with the task (202) or the changed row. The
command id is ``<who>:<Idempotency-Key>``, or made from the request's signature when there is no key: so a request that
is sent twice byte for byte is carried out once, even across a restart of Core.
"""

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nano.domain.catalogue import COLLECTIONS, CommandEntry
from nano.domain.errors import Invalid, Stale
from nano.domain.facts import Command, Fact, id_of, kind_of
from nano.domain.guest_commands import CreateGuest
from nano.domain.guest_makeup import settle
from nano.domain.placement import Verdict
from nano.domain.task import TaskStarted
from nano.http.answers import Answer, HeaderList, Request, json_answer
from nano.http.decoding import decode_command, decode_object, decode_query, truth
from nano.http.lists import find_row, position_header, row_etag
from nano.http.routing import PREFIX, Handler

if TYPE_CHECKING:
    from nano.core.core import Core
    from nano.journal.ledger import Receipt

KEY_MAX: Final = 128
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_MAX}}}")
_MATCH: Final = re.compile(r'(?:W/)?"v(\d{1,18})(?:-[0-9a-f]{8})?"')


class DryRun(msgspec.Struct, frozen=True):
    """What a command would record, and for a new guest where it would go."""

    events: list[dict[str, Any]]
    explanation: Verdict | None


def make_command(core: "Core", entry: CommandEntry) -> Handler:
    """The handler of one entry; those that tell a secret have their own (``console.py``, ``telling.py``)."""

    async def handle(request: Request) -> Answer:
        command, dry = read_command(entry, request)
        if dry:
            return _dry_run(core, command, request)
        receipt = await execute(core, entry, command, request)
        return _answer(core, entry, request, receipt)

    return handle


def read_command(entry: CommandEntry, request: Request) -> tuple[Command, bool]:
    """The command and whether it is only to be tried. DELETE takes its fields as query parameters too."""
    fields = set(entry.command.__struct_fields__) - request.arguments.keys()
    in_query = sorted(fields) if entry.method == "DELETE" else []
    values = decode_query(request.query, ("dry_run", *in_query))
    dry = truth(values.pop("dry_run"), "dry_run") if "dry_run" in values else False
    body = decode_object(request.body)
    if twice := sorted(values.keys() & body.keys()):
        raise Invalid(
            f"{twice[0]} is in the query and in the body.",
            code="repeated_parameter",
            hint="Give it once.",
            field=twice[0],
        )
    command = decode_command(entry.command, {**body, **values}, request.arguments, lax=bool(values))
    return command, dry


async def execute(core: "Core", entry: CommandEntry, command: Command, request: Request) -> "Receipt":
    expect = _expected(core, entry, request)
    return await core.execute(command, actor=request.principal.actor, command_id=command_id(request), expect=expect)


def command_id(request: Request) -> str:
    """Raises Invalid(invalid_idempotency_key)."""
    if b"idempotency-key" not in request.headers:
        return f"{request.principal.scope}:~{request.signature[:32]}"
    key = request.header(b"idempotency-key")
    if not _KEY.fullmatch(key) or key.startswith("~"):
        raise Invalid(
            "The Idempotency-Key is not one that can be kept.",
            code="invalid_idempotency_key",
            hint=f"Use 1 to {KEY_MAX} visible ASCII characters, the first not '~'; a UUID is good.",
            field="Idempotency-Key",
        )
    return f"{request.principal.scope}:{key}"


def _expected(core: "Core", entry: CommandEntry, request: Request) -> tuple[str, int] | None:
    """Resource and version that If-Match names. Raises Stale, Invalid(invalid_if_match), Unknown."""
    wanted = request.header(b"if-match")
    if not wanted:
        return None
    if not request.arguments:
        raise Invalid(
            "There is nothing yet that If-Match could speak of.", code="invalid_if_match", hint="Leave it out."
        )
    (reference,) = request.arguments.values()
    row_id = find_row(core.views, entry.target, reference)
    resource = f"{entry.target}/{row_id}"
    if wanted == "*":
        return None
    match = _MATCH.fullmatch(wanted)
    if match is None:
        raise Stale(
            "If-Match names no version of this resource.", hint='Use the ETag of the resource, or "v<version>".'
        )
    return resource, int(match[1])


def _dry_run(core: "Core", command: Command, request: Request) -> Answer:
    emitted = core.dry_run(command, actor=request.principal.actor)
    verdict = None
    if isinstance(command, CreateGuest):
        verdict = core.placement(
            command.pool, settle(core.zone, msgspec.structs.replace(command, cloud_init=None)).need
        )
    events = [{"resource": resource, "event": event} for resource, event in emitted]
    return json_answer(msgspec.json.encode(DryRun(events, verdict)), 200, position_header(core.views.position))


def _answer(core: "Core", entry: CommandEntry, request: Request, receipt: "Receipt") -> Answer:
    views = core.views
    headers: HeaderList = [position_header(views.position)]
    if receipt.repeated:
        headers.append((b"x-nano-repeated", b"true"))
    started = next((fact for fact in receipt.facts if isinstance(fact.event, TaskStarted)), None)
    if entry.work and started is not None and isinstance(started.event, TaskStarted):
        task_id = id_of(started.resource)
        row = views.tables["task"].fragment(task_id) or b"null"
        body = b'{"task":%b,"resource":"%b","position":%d}' % (row, started.event.target.encode(), receipt.position)
        return json_answer(body, 202, (b"location", f"{PREFIX}/tasks/{task_id}".encode()), *headers)
    resource = _resource(core, entry, request, receipt.facts)
    kind, row_id = kind_of(resource), id_of(resource)
    fragment = views.tables[kind].fragment(row_id) if kind in views.tables else None
    if fragment is not None:
        headers.append((b"etag", row_etag(fragment, views.versions[resource])))
    if entry.success == 201:
        headers.append((b"location", f"{PREFIX}/{COLLECTIONS[kind]}/{row_id}".encode()))
    told = msgspec.json.encode(resource)
    body = b'{"resource":%b,"position":%d,"row":%b}' % (told, receipt.position, fragment or b"null")
    return json_answer(body, entry.success, *headers)


def _resource(core: "Core", entry: CommandEntry, request: Request, facts: tuple[Fact, ...]) -> str:
    """What the command was about: of the target's kind, else as the path names it."""
    for fact in facts:
        if kind_of(fact.resource) == entry.target:
            return fact.resource
    reference = next(iter(request.arguments.values()), "")
    return f"{entry.target}/{core.views.find(entry.target, reference) or reference}"
