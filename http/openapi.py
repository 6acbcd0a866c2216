"""The API described by itself: OpenAPI 3.1, made from the catalogue and the types that are really decoded and encoded.

Nothing here is written twice: summaries are docstrings, fields are struct fields, rights are the catalogue's.
"""

import functools
from http import HTTPStatus
from typing import Any, Final

import msgspec

from nano.domain.catalogue import AT, COLLECTIONS, COMMANDS, QUERIES, RIGHTS_OF_ROLE, CommandEntry, QueryEntry, Right
from nano.domain.image import WORDS, Collection
from nano.domain.inside import Inside
from nano.domain.placement import Verdict
from nano.http.console import ConsoleToken
from nano.http.events import ChangeEvent
from nano.http.lists import ROWS
from nano.http.overview import DriftList, Health, OrphanList, ZoneRow
from nano.http.problems import CONTENT_TYPE, ProblemDocument
from nano.http.routing import PREFIX
from nano.http.telling import Credential, VncCredential
from nano.http.transfers import UPLOADABLE, Received
from nano.projections.snapshot_rows import SnapshotRow
from nano.projections.table import PAGE_DEFAULT, PAGE_MAX

_REF: Final = "#/components/schemas/{name}"
_OBJECT: Final[dict[str, Any]] = {"type": "object"}
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_POSITION: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_INTEGERS: Final = ("limit", "cores", "memory", "disk")
TOLD: Final[dict[str, type]] = {
    "guest.open_console": ConsoleToken,
    "guest.open_serial": ConsoleToken,
    "guest.show_password": Credential,
    "guest.vnc.show": VncCredential,
}
_ERRORS: Final = (400, 401, 403, 404, 405, 409, 412, 413, 422, 503)


@functools.cache
def describe(version: str) -> bytes:
    """The document as JSON."""
    told = (ZoneRow, DriftList, OrphanList, Health)
    others = (Verdict, Received, Inside, *dict.fromkeys(TOLD.values()), *told, ProblemDocument, ChangeEvent)
    types = [*ROWS.values(), *others, *(entry.command for entry in COMMANDS)]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    for entry in COMMANDS:
        schemas[entry.command.__name__] = _body_schema(schemas[entry.command.__name__], entry)
    paths: dict[str, dict[str, Any]] = {}
    for query in QUERIES:
        paths.setdefault(PREFIX + query.path, {})["get"] = _query(query)
    for entry in COMMANDS:
        paths.setdefault(PREFIX + entry.path, {})[entry.method.lower()] = _command(entry, schemas)
    bodiless = {entry.command.__name__ for entry in COMMANDS if not schemas[entry.command.__name__]["properties"]}
    paths[f"{PREFIX}/openapi.json"] = {"get": _plain("openapi.show", "Show this document.", _OBJECT, "read")}
    metrics = _plain("metrics.show", "Show counts and states for Prometheus.", _TEXT, "read", "text/plain")
    paths[f"{PREFIX}/metrics"] = {"get": metrics}
    health = _plain("health.show", "Say whether Core is well.", _ref(Health), "read")
    paths[f"{PREFIX}/health"] = {"get": {**health, "security": []}}
    for collection in UPLOADABLE:
        _add_transfers(paths, collection)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Nano",
            "version": version,
            "summary": "A small, replayable private cloud.",
            "description": "Sizes are bytes, times RFC 3339 in UTC, rates bytes per second, percent 0 to 100. "
            "Every request is signed (Nano-HMAC-SHA256), each signature is good once.",
        },
        "servers": [{"url": "/"}],
        "security": [{"signature": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {name: schema for name, schema in sorted(schemas.items()) if name not in bodiless},
            "responses": {"Problem": _content("What went wrong.", _ref(ProblemDocument), CONTENT_TYPE.decode())},
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Nano-Authorization",
                    "description": "Nano-HMAC-SHA256 Credential=<id>/<scope>, SignedHeaders=<names>, Signature=<hex>",
                }
            },
        },
    }
    return msgspec.json.encode(document)


def _ref(kind: type) -> dict[str, Any]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _content(description: str, schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _path_arguments(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _body_schema(schema: dict[str, Any], entry: CommandEntry) -> dict[str, Any]:
    """What the body holds: the command without its tag and without what the path says."""
    away = {"type", *_path_arguments(entry.path)}
    properties = {name: value for name, value in schema.get("properties", {}).items() if name not in away}
    required = [name for name in schema.get("required", []) if name not in away]
    return {**schema, "properties": properties, "required": required}


def _parameters(path: str, query: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT, "description": "Id or name."}
        for name in _path_arguments(path)
    ]
    return in_path + [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]


def _operation(name: str, summary: str, right: Right, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    roles = [role for role, rights in RIGHTS_OF_ROLE.items() if right in rights]
    return {
        "operationId": name,
        "summary": summary,
        "description": f"Needs the right to {right}: {', '.join(roles)}.",
        "tags": [name.partition(".")[0]],
        "parameters": parameters,
    }


def _responses(*good: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    answers: dict[str, Any] = {str(status): answer for status, answer in good}
    return answers | {str(status): {"$ref": "#/components/responses/Problem"} for status in _ERRORS}


def _plain(
    name: str, summary: str, schema: dict[str, Any], right: Right, media: str = "application/json"
) -> dict[str, Any]:
    return _operation(name, summary, right, []) | {"responses": _responses((200, _content(summary, schema, media)))}


def _query(entry: QueryEntry) -> dict[str, Any]:
    texts = {name: dict(_TEXT) for name in entry.parameters}
    for name in entry.parameters:
        if name == "limit":
            texts[name] = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT}
        elif name in _INTEGERS:
            texts[name] = {"type": "integer", "minimum": 1}
        elif name == AT:
            texts[name] = {"type": "string", "description": "As it was at this position, or at this time."}
    good = [(200, _content(entry.summary, _query_schema(entry), _media(entry)))]
    if (entry.name.endswith((".list", ".show")) and entry.kind) or entry.name == "guest.screenshot":
        good.append((304, {"description": "It is as If-None-Match names it."}))
    operation = _operation(entry.name, entry.summary, entry.right, _parameters(entry.path, texts))
    return operation | {"responses": _responses(*good)}


def _add_transfers(paths: dict[str, dict[str, Any]], collection: Collection) -> None:
    """The bytes of images: no commands, so not in the catalogue."""
    what, path = WORDS[collection], f"{PREFIX}/{COLLECTIONS[collection]}/{{{collection}}}"
    file = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    got = _content("How much is there.", _ref(Received))
    offset = {"offset": {"type": "integer", "minimum": 0, "description": "Where in the file these bytes begin."}}
    put = _operation(f"{collection}.content.put", f"Send bytes of a {what}.", "operate", _parameters(path, offset))
    get = _operation(f"{collection}.content.get", f"Fetch the file of a {what}.", "operate", _parameters(path, {}))
    told = _operation(f"{collection}.received", f"Say how much of a {what} was sent.", "operate", _parameters(path, {}))
    whole, part = ((status, {"description": HTTPStatus(status).phrase, **file}) for status in (200, 206))
    paths[f"{path}/content"] = {
        "put": put | {"requestBody": {"required": True, **file}, "responses": _responses((200, got))},
        "get": get | {"responses": _responses(whole, part, (416, {"description": "No such range."}))},
    }
    paths[f"{path}/received"] = {"get": told | {"responses": _responses((200, got))}}


def _media(entry: QueryEntry) -> str:
    return {"event.follow": "text/event-stream", "guest.screenshot": "image/png"}.get(entry.name, "application/json")


def _query_schema(entry: QueryEntry) -> dict[str, Any]:
    verb = entry.name.rpartition(".")[2]
    if entry.name == "zone.show":
        return _ref(ZoneRow)
    if entry.name == "placement.explain":
        return _ref(Verdict)
    if entry.name == "guest.inside":
        return _ref(Inside)
    if entry.name == "guest.screenshot":
        return {"type": "string", "format": "binary"}
    if entry.name in ("drift.list", "orphans.list"):
        return _ref(DriftList if entry.name == "drift.list" else OrphanList)
    if verb == "show" and entry.kind:
        return _ref(ROWS[entry.kind])
    if verb == "list" and entry.kind:
        total = {"total": {"type": "integer", "minimum": 0}}
        return _page(_ref(ROWS[entry.kind]), total)
    if entry.name == "guest.snapshot.list":
        return _page(_ref(SnapshotRow), {"total": {"type": "integer", "minimum": 0}})
    if verb in ("history", "list"):
        return _page(_OBJECT, {})
    return _ref(ChangeEvent) if entry.name == "event.follow" else _OBJECT


def _page(item: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    properties = {
        "items": {"type": "array", "items": item},
        "next": {"type": ["string", "null"]},
        "position": _POSITION,
    }
    return {"type": "object", "properties": properties | more, "required": [*properties, *more]}


def _command(entry: CommandEntry, schemas: dict[str, Any]) -> dict[str, Any]:
    body = schemas[entry.command.__name__]
    query: dict[str, dict[str, Any]] = {"dry_run": {"type": "boolean", "default": False}}
    if entry.method == "DELETE":
        query |= body["properties"]
    operation = _operation(entry.name, entry.summary, entry.right, _parameters(entry.path, query))
    for header in ("Idempotency-Key", "If-Match"):
        if header == "Idempotency-Key" or _path_arguments(entry.path):
            operation["parameters"].append({"name": header, "in": "header", "schema": _TEXT})
    if body["properties"]:
        content = {"application/json": {"schema": _ref(entry.command)}}
        operation["requestBody"] = {"required": bool(body["required"]), "content": content}
    status = 202 if entry.work else entry.success
    answer = _content(HTTPStatus(status).phrase, _command_schema(entry))
    dry = {"events": {"type": "array", "items": _OBJECT}, "explanation": {"anyOf": [_ref(Verdict), {"type": "null"}]}}
    dry_schema = {"type": "object", "properties": dry, "required": list(dry)}
    if status == 200:
        answer["content"]["application/json"]["schema"] = {"anyOf": [_command_schema(entry), dry_schema]}
        return operation | {"responses": _responses((200, answer))}
    return operation | {"responses": _responses((status, answer), (200, _content("What a dry run tells.", dry_schema)))}


def _command_schema(entry: CommandEntry) -> dict[str, Any]:
    if entry.name in TOLD:
        return _ref(TOLD[entry.name])
    properties: dict[str, Any] = {"resource": _TEXT, "position": _POSITION}
    if entry.work:
        properties["task"] = _ref(ROWS["task"])
    else:
        properties["row"] = {"anyOf": [_ref(ROWS[entry.target]), {"type": "null"}]}
    return {"type": "object", "properties": properties, "required": list(properties)}
