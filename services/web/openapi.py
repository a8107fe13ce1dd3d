"""OpenAPI 3.1 and a page to read, both made from the table of routes and the pydantic models."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel

from services.web.bodies import adapter
from services.web.problems import MEDIA_TYPE, ProblemDocument
from services.web.routes import JSON, KEY_HEADER, KEY_PATTERN, Route

Document: TypeAlias = dict[str, Any]
_Key: TypeAlias = tuple[int, Literal["request", "response", "problem"]]
_ID_SCHEMA: Final = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_CODE: Final = re.compile(r"`([^`]+)`")
_PROBLEM: Final[_Key] = (-1, "problem")
_ABOUT: Final = (
    "Every refusal is an RFC 9457 problem with a stable `code`. What belongs to another firm"
    " answers 404, like what does not exist. Reads carry a strong ETag; HEAD answers like GET,"
    " without a body."
)


_EVERY: Final[Document] = {
    "X-Request-ID": {
        "description": "Names this request in our logs.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    }
}
_ETAG: Final[Document] = {
    "description": "Send it as If-None-Match: an unchanged answer is 304.",
    "required": True,
    "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
}
_SECONDS: Final[Document] = {
    "description": "Seconds after which the same call may come again.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}
_TAGGED: Final[Document] = {"ETag": _ETAG}
_ALONG: Final[dict[int, Document]] = {
    304: _EVERY | _TAGGED,
    400: {},  # what is no HTTP is refused before it is a request, and has no name
    417: {},  # likewise
    401: _EVERY
    | {
        "WWW-Authenticate": {
            "description": "How to say who calls.",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    429: _EVERY | {"Retry-After": _SECONDS},
    503: {"Retry-After": _SECONDS},  # a process that takes no more connections says so too
}


def describe(service: str, routes: Sequence[Route]) -> Document:
    """Write the OpenAPI 3.1 document of a service from its table of routes."""
    schemas, definitions = _schemas(routes)
    paths: dict[str, Document] = {}
    for number, route in enumerate(routes):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, schemas.get((number, "request")), schemas.get((number, "response")), schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"turnsheet {service}",
            "version": version("turnsheet"),
            "description": _ABOUT,
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "tns_…"}
            },
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[Mapping[_Key, Document], Document]:
    """Make all schemas at once, so that equal names never mean two things."""
    inputs: list[tuple[_Key, Literal["validation", "serialization"], Any]] = [
        (_PROBLEM, "serialization", adapter(ProblemDocument))
    ]
    for number, route in enumerate(routes):
        if route.request is not None:
            inputs.append(((number, "request"), "validation", adapter(route.request)))
        if route.response is not None:
            inputs.append(((number, "response"), "serialization", adapter(route.response)))
    found, shared = type(adapter(ProblemDocument)).json_schemas(
        inputs, ref_template="#/components/schemas/{model}"
    )
    return {key: schema for (key, _), schema in found.items()}, shared.get("$defs", {})


def _operation(
    route: Route,
    request: Document | None,
    response: Document | None,
    schemas: Mapping[_Key, Document],
) -> Document:
    operation: Document = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": [*_variables(route), *_queries(route), *_headers(route)],
        "responses": _responses(route, response, schemas[_PROBLEM]),
    }
    if route.description:
        operation["description"] = route.description
    if route.tags:
        operation["tags"] = list(route.tags)
    if route.scope is not None:
        operation["security"] = [{"token": []}]
        operation["x-scope"] = route.scope
    if route.office:
        operation["x-firms"] = "*"
    if route.accepts:
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": request or {}} for media in route.accepts},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = "".join(c if c.isalnum() else "_" for c in route.path).strip("_")
    return f"{route.method.lower()}_" + "_".join(word for word in words.split("_") if word)


def _variables(route: Route) -> list[Document]:
    schemas = _properties(route.variables)
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": schemas[name][0] if name in schemas else _ID_SCHEMA,
        }
        for name in route.names
    ]


def _queries(route: Route) -> list[Document]:
    return [
        {"name": name, "in": "query", "required": required, "schema": schema}
        for name, (schema, required) in _properties(route.query).items()
    ]


def _headers(route: Route) -> list[Document]:
    if not route.keyed:
        return []
    return [
        {
            "name": KEY_HEADER,
            "in": "header",
            "required": True,
            "description": "A key of your own making: the same call under it is safe to repeat.",
            "schema": {"type": "string", "pattern": KEY_PATTERN},
        }
    ]


def _properties(model: type[BaseModel] | None) -> dict[str, tuple[Document, bool]]:
    """List a flat model's fields by their outer names, with schema and whether they must be."""
    if model is None:
        return {}
    schema = model.model_json_schema()
    shared = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    return {
        name: (_inlined(found, shared), name in required)
        for name, found in schema.get("properties", {}).items()
    }


def _inlined(schema: Any, shared: Document) -> Any:
    """Put definitions in place of references: a parameter stands alone."""
    if isinstance(schema, list):
        return [_inlined(item, shared) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined(shared[schema["$ref"].rpartition("/")[2]], shared) | rest
    return {key: _inlined(value, shared) for key, value in schema.items()}


def _responses(route: Route, schema: Document | None, problem: Document) -> Document:
    answer: Document = {"description": HTTPStatus(route.status).phrase}
    answer["headers"] = {name: _header(says) for name, says in route.headers} | _EVERY
    if route.method == "GET":
        answer["headers"] |= _TAGGED
    if schema is not None or route.media != JSON:
        answer["content"] = {route.media: {"schema": schema or {"type": "string"}}}
    found = {str(route.status): answer}
    for status in sorted(_statuses(route)):
        refusal: Document = {"description": HTTPStatus(status).phrase}
        found[str(status)] = refusal
        refusal["headers"] = _ALONG.get(status, _EVERY)
        if status != 304:
            refusal["content"] = {MEDIA_TYPE: {"schema": problem}}
    return found


def _statuses(route: Route) -> set[int]:
    """List the statuses of a call's refusals. What is no HTTP request answers 400 everywhere."""
    statuses = {400, 422, 500, 503, *route.refusals}
    if route.scope is not None:
        statuses |= {401, 403}
    if route.method == "GET":
        statuses.add(304)
    if route.names:
        statuses.add(404)
    if route.accepts:
        statuses |= {408, 413, 415, 417}
    return statuses


def _header(says: str) -> Document:
    return {"description": says, "required": False, "schema": {"type": "string"}}


def page(document: Document) -> str:
    """Write the document as one plain page that loads nothing from elsewhere."""
    rows = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            rows.append(_section(path, method, operation))
    title = escape(document["info"]["title"])
    schemas = "".join(
        f"<details id='{escape(name)}'><summary>{escape(name)}</summary>"
        f"<pre>{escape(_fields(schema))}</pre></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style><main><h1>{title}</h1>"
        f"<p>{_prose(document['info']['description'])}</p>"
        f"{''.join(rows)}<h2>Models</h2>{schemas}</main></html>"
    )


def _needs(operation: Document) -> str:
    reach = " of all firms" if operation.get("x-firms") == "*" else ""
    return f"{operation.get('x-scope', 'no token')}{reach}"


def _section(path: str, method: str, operation: Document) -> str:
    answers = [f"{status}{_models(told)}" for status, told in operation["responses"].items()]
    facts = [
        ("needs", escape(_needs(operation))),
        *((p["in"], escape(_parameter(p))) for p in operation["parameters"]),
        ("answers", ", ".join(answers)),
    ]
    if "requestBody" in operation:
        body = operation["requestBody"]
        facts.insert(1, ("takes", f"{escape(', '.join(body['content']))}{_models(body)}"))
    lines = "".join(f"<dt>{escape(term)}</dt><dd>{text}</dd>" for term, text in facts)
    return (
        f"<section><h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])}</p><p>{_prose(operation.get('description', ''))}</p>"
        f"<dl>{lines}</dl></section>"
    )


def _prose(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _models(told: Document) -> str:
    """Link to the models of a body, whichever media type it comes in; problems need no link."""
    names = {
        _kind(media["schema"]): None
        for kind, media in told.get("content", {}).items()
        if kind != MEDIA_TYPE and "$ref" in media["schema"]
    }
    return "".join(f" <a href='#{escape(name)}'>{escape(name)}</a>" for name in names)


def _parameter(parameter: Document) -> str:
    told = f"{parameter['name']} {_kind(parameter['schema'])}"
    return told if parameter["required"] else f"{told}, optional"


def _fields(schema: Document) -> str:
    required = schema.get("required", ())
    return "\n".join(
        f"{name}: {_kind(field)}{'' if name in required else ', optional'}"
        for name, field in schema.get("properties", {}).items()
    )


def _kind(schema: Document) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c2733;background:#fbfaf7}"
    "main{max-width:56rem;margin:0 auto;padding:2rem 1rem}h1{font-weight:600}"
    "h2{font-size:1.05rem;font-weight:500;margin:0}h2 b{color:#0b6b5d}"
    "section{border-top:1px solid #d9d5cc;padding:1rem 0}p{margin:.25rem 0}"
    "dl{display:grid;grid-template-columns:6rem 1fr;margin:.5rem 0;font-size:.9rem}"
    "dt{color:#6a6f76}dd{margin:0}a{color:#0b6b5d}pre{overflow:auto}details{padding:.25rem 0}"
)
