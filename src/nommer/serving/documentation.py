"""The routes as OpenAPI tells them: bodies, responses, errors."""

from typing import Any

_SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}

_OPTIONS: dict[str, Any] = {
    "model": {"type": "string", "description": "Name of a model; by default the first."},
    "top": {"type": "integer", "minimum": 1, "maximum": 100_000, "description": "Classes named."},
    "threshold": {
        "anyOf": [
            _SHARE,
            {"type": "string", "enum": ["best"]},
            {"type": "object", "additionalProperties": _SHARE},
        ],
        "description": "Least score of an object, or of one of several classes: a number, best, "
        "or one per class by name; in forms a JSON text.",
    },
    "most": {"type": "integer", "minimum": 1, "maximum": 100_000, "description": "Objects named."},
    "refuse": {"type": "boolean", "description": "Answer none of these for unlike images."},
    "pixels": {"type": "boolean", "description": "Masks of objects, labels of pixels, too."},
}

_TOKEN: dict[str, Any] = {
    "token": {
        "type": "array",
        "items": {"type": "string", "pattern": "^[0-9]{1,7},[0-9]{1,7}$"},
        "maxItems": 24,
        "description": "X,Y of pixels of the image, whose tokens are followed.",
    },
    "force": {
        "type": "array",
        "maxItems": 24,
        "items": {
            "type": "object",
            "properties": {
                "context": {"type": "string"},
                "block": {"type": "string"},
                "region": {"type": "array", "items": {"type": "string", "pattern": "^[01]{1,64}$"}},
            },
            "required": ["context"],
            "additionalProperties": False,
        },
        "description": "Contexts forced in a block, or a region of the image; in forms JSON texts.",
    },
    "grids": {"type": "boolean", "description": "What the page draws, in base64, too."},
    "attribution": {"type": "boolean", "description": "Why: parts that speak for the answer."},
}

_BASE64: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}

_IMAGES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            _BASE64,
            {
                "type": "object",
                "properties": {"name": {"type": "string"}, "data": _BASE64},
                "required": ["data"],
                "additionalProperties": False,
            },
        ]
    },
}

_FILES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "format": "binary"},
}

_ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}

_RESULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "task": {"type": "string"},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"image": {"type": "string"}, "error": {"type": "string"}},
                "required": ["image"],
            },
        },
    },
    "required": ["model", "task", "results"],
}


def _json(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: _json("The request ended before it was whole.", _ERROR),
    401: _json("The token is missing or another.", _ERROR),
    404: _json("There is no such model.", _ERROR),
    408: _json("The request was sent too slowly.", _ERROR),
    413: _json("Too many bytes or images.", _ERROR),
    415: _json("A body of another kind.", _ERROR),
    422: _json("Something does not fit, or all images failed.", {"anyOf": [_ERROR, _RESULTS]}),
    429: _json("The queue is full; Retry-After says when to come again.", _ERROR),
    500: _json("The server failed.", _ERROR),
    504: _json("No answer in time.", _ERROR),
}


def _body(more: dict[str, Any]) -> dict[str, Any]:
    def schema(images: dict[str, Any]) -> dict[str, Any]:
        properties = {"images": images, **_OPTIONS, **more}
        told = {"type": "object", "properties": properties, "required": ["images"]}
        return {"schema": told | {"additionalProperties": False}}

    content = {"multipart/form-data": schema(_FILES), "application/json": schema(_IMAGES)}
    return {"requestBody": {"required": True, "content": content}}


PREDICT: dict[str, Any] = {
    "summary": "Answer images",
    "description": "One result per image, in their order; one that cannot be read has an error.",
    "responses": {200: _json("The answers.", _RESULTS), **_REFUSALS},
    "openapi_extra": _body({}),
}
"""Of `POST /predict`."""

EXPLAIN: dict[str, Any] = {
    "summary": "Show what every token nominates",
    "description": "Answers, with maps of contexts and their shares per block.",
    "responses": {200: _json("The explanations.", _RESULTS), **_REFUSALS},
    "openapi_extra": _body(_TOKEN),
}
"""Of `POST /explain`."""

MODELS: dict[str, Any] = {
    "summary": "The models, their tasks, classes and options",
    "responses": {
        200: _json("The models.", {"type": "object", "required": ["models"]}),
        401: _REFUSALS[401],
    },
}
"""Of `GET /models`."""

_STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}

STATE: dict[str, Any] = {
    "summary": "The state of the process",
    "responses": {200: _json("It is well.", _STATUS), 503: _json("It is not ready.", _STATUS)},
}
"""Of `GET /health` and `/ready`."""
