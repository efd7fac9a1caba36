"""The OpenAPI document of the data path, for people, generated clients and tests."""

from __future__ import annotations

import orjson

from config.settings import ServingSettings

_Json = dict[str, object]

_ANY_LIST: _Json = {"type": "array", "items": {}}
_PREDICT_BODY: _Json = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "inputs": {
            "description": "Rows as nested lists, or an object of them by input name.",
            "anyOf": [_ANY_LIST, {"type": "object", "additionalProperties": _ANY_LIST}],
        },
        "key": {
            "description": "Sticky key: the same key gets the same variant.",
            "anyOf": [{"type": "string", "maxLength": 512}, {"type": "integer"}],
        },
    },
}
_V2_TENSOR: _Json = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "data": _ANY_LIST,
    },
}
_V2_BODY: _Json = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _V2_TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
_LABEL: _Json = {"description": "The true class or number; a list for several rows."}
_FEEDBACK_ITEM: _Json = {
    "type": "object",
    "required": ["request_id"],
    "properties": {
        "request_id": {"type": "string"},
        "label": _LABEL,
        "score": {"type": "number"},
        "metric": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,63}$"},
    },
}


def document(settings: ServingSettings, models: list[str]) -> bytes:
    """Return the document as JSON; `models` are those served now."""
    limits = (
        f"Bodies up to {settings.max_body_bytes} bytes, {settings.max_rows} rows and "
        f"{settings.feedback_max_items} feedback items."
    )
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "components": {"parameters": {"model": _model(models)}},
            "info": {"title": "Prime Spark predictor", "version": "1", "description": limits},
            "paths": {**_predict_paths(settings), **_v2_paths(), **_pages()},
        }
    )


def _predict_paths(settings: ServingSettings) -> _Json:
    feedback: _Json = {
        "anyOf": [
            _FEEDBACK_ITEM,
            {
                "type": "object",
                "required": ["items"],
                "properties": {
                    "items": {
                        "type": "array",
                        "items": _FEEDBACK_ITEM,
                        "maxItems": settings.feedback_max_items,
                    }
                },
            },
        ]
    }
    octets: _Json = {"schema": {"type": "string", "format": "binary"}}
    return {
        "/predict/{model}": {
            "parameters": [_MODEL],
            "post": {
                "summary": "Answer by the version the split chooses for the key.",
                "parameters": [
                    _header("x-prime-spark-key", "Sticky key, where the body has none."),
                    _header("x-prime-spark-dtype", "Type of a raw tensor, such as float32."),
                    _header("x-prime-spark-shape", "Shape of a raw tensor, such as 1,64."),
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": _PREDICT_BODY},
                        "application/octet-stream": octets,
                    },
                },
                "responses": _answers(400, 404, 413, 415, 422, 500, 503, 504),
            },
        },
        "/feedback": {
            "post": {
                "summary": "Labels or scores for earlier answers; each counts once.",
                "requestBody": _json_body(feedback),
                "responses": _answers(400, 413, 415, 422, 503),
            }
        },
    }


def _v2_paths() -> _Json:
    health = {
        path: {"get": {"summary": text, "responses": _answers(503)}}
        for path, text in {
            "/v2": "Server metadata.",
            "/v2/health/live": "Whether the worker runs.",
            "/v2/health/ready": "Whether the worker knows what to serve.",
        }.items()
    }
    return {
        **health,
        "/v2/models/{model}": _model_page("Model metadata."),
        "/v2/models/{model}/ready": _model_page("Whether the model is served."),
        "/v2/models/{model}/infer": {
            "parameters": [_MODEL],
            "post": {
                "summary": "Open Inference Protocol, JSON tensors.",
                "requestBody": _json_body(_V2_BODY),
                "responses": _answers(400, 404, 413, 415, 422, 500, 503, 504),
            },
        },
    }


def _pages() -> _Json:
    return {
        "/models": {"get": {"summary": "What is served now.", "responses": _answers()}},
        "/metrics": {"get": {"summary": "Prometheus metrics.", "responses": _answers()}},
    }


_MODEL: _Json = {"$ref": "#/components/parameters/model"}
_STATUSES = {
    400: "The body is not JSON.",
    404: "No such model.",
    413: "Too large.",
    415: "Another media type is needed.",
    422: "The request does not fit; the error says what is expected.",
    500: "The model failed on this input.",
    503: "Not now; see Retry-After.",
    504: "The time limit is over.",
}


def _model(models: list[str]) -> _Json:
    schema: _Json = {"type": "string", "enum": models} if models else {"type": "string"}
    return {"name": "model", "in": "path", "required": True, "schema": schema}


def _model_page(summary: str) -> _Json:
    return {
        "parameters": [_MODEL],
        "get": {"summary": summary, "responses": _answers(404, 503)},
    }


def _answers(*errors: int) -> _Json:
    return {
        "200": {"description": "Done."},
        **{str(status): {"description": _STATUSES[status]} for status in errors},
    }


def _json_body(schema: _Json) -> _Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _header(name: str, description: str) -> _Json:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
