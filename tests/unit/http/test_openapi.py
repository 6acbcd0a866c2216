"""The description is whole: every route, every reference, every argument, and nothing that is not served."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nano.domain.catalogue import COMMANDS, QUERIES
from nano.http.openapi import describe

DOCUMENT: dict[str, Any] = json.loads(describe("1.2.3"))
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = [
    (path, method, item[method]) for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item
]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_frame() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert set(DOCUMENT) == {"openapi", "info", "servers", "security", "paths", "components"}
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert all(set(requirement) <= set(schemes) for requirement in DOCUMENT["security"])


def test_every_entry_of_the_catalogue_and_nothing_else() -> None:
    wanted = {(f"/api/v2{entry.path}", entry.method.lower(), entry.name) for entry in COMMANDS}
    wanted |= {(f"/api/v2{entry.path}", "get", entry.name) for entry in QUERIES}
    wanted |= {("/api/v2/metrics", "get", "metrics.show")}
    wanted |= {("/api/v2/openapi.json", "get", "openapi.show"), ("/api/v2/health", "get", "health.show")}
    for kind, path in (("image", "/api/v2/images/{image}"), ("media", "/api/v2/media/{media}")):
        wanted |= {(f"{path}/content", method, f"{kind}.content.{method}") for method in ("get", "put")}
        wanted |= {(f"{path}/received", "get", f"{kind}.received")}
    assert {(path, method, operation["operationId"]) for path, method, operation in OPERATIONS} == wanted


def test_every_reference_leads_somewhere() -> None:
    references = {item["$ref"] for item in walk(DOCUMENT) if "$ref" in item}
    assert len(references) > 10
    for reference in references:
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_no_schema_is_left_over() -> None:
    used = {item["$ref"].rpartition("/")[2] for item in walk(DOCUMENT) if "$ref" in item}
    assert set(DOCUMENT["components"]["schemas"]) == used


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[item[2]["operationId"] for item in OPERATIONS]
)
def test_operations(path: str, method: str, operation: dict[str, Any]) -> None:
    named = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
    assert named == [part[1:-1] for part in path.split("/") if part.startswith("{")]
    assert all(parameter["required"] for parameter in operation["parameters"] if parameter["in"] == "path")
    assert len({(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}) == len(
        operation["parameters"]
    )
    assert operation["summary"].endswith(".")
    assert any(status.startswith("2") for status in operation["responses"])
    for status, response in operation["responses"].items():
        assert status.isdigit()
        assert "$ref" in response or response["description"]
    if method == "get":
        assert "requestBody" not in operation
    body = operation.get("requestBody")
    if body is not None and "application/json" in body["content"]:
        (schema,) = [media["schema"] for media in body["content"].values()]
        fields = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        assert fields
        assert not set(named) & set(fields), "what the path says is not in the body"
        assert "type" not in fields


def test_schemas_are_json_schema() -> None:
    """The few words that matter have the shape JSON Schema 2020-12 gives them."""
    kinds = {"object", "array", "string", "integer", "number", "boolean", "null"}
    for schema in walk(DOCUMENT["components"]["schemas"]):
        kind = schema.get("type")
        if isinstance(kind, str) and not isinstance(schema.get("properties"), dict):
            assert kind in kinds
        if isinstance(schema.get("required"), list) and isinstance(schema.get("properties"), dict):
            assert set(schema["required"]) <= set(schema["properties"])


def test_work_is_answered_with_a_task() -> None:
    for entry in COMMANDS:
        operation = DOCUMENT["paths"][f"/api/v2{entry.path}"][entry.method.lower()]
        assert ("202" in operation["responses"]) == entry.work
