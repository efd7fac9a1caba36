"""Lists come in pages: every one that the API describes, but those that are short by nature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

# At most a hundred goals, and the newest looks of one test; a cycle keeps the first it left out.
SHORT = {
    "/agent",
    "/agent/status",
    "/agent/goals",
    "/agent/cycle",
    "/agent/actions/{action_id}",
    "/agent/actions/{action_id}/explain",
    "/agent/experiments/{experiment_id}",
}


def lists(spec: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """The routes that answer with a list, and their parameters."""
    for path, methods in spec["paths"].items():
        content = methods.get("get", {"responses": {}})["responses"].get("200", {}).get("content")
        schema = (content or {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        shape = spec["components"]["schemas"].get(name, schema)
        parts = [shape, *shape.get("properties", {}).values()]
        if any(part.get("type") == "array" for part in parts):
            yield path, {one["name"] for one in methods["get"].get("parameters", ())}


def test_every_list_comes_in_pages(app: FastAPI) -> None:
    found = dict(lists(app.openapi()))
    assert found.keys() >= SHORT
    for path in found.keys() - SHORT:
        assert "after" in found[path], path
        assert found[path] & {"limit", "count"}, path
    assert len(found) - len(SHORT) >= 12
