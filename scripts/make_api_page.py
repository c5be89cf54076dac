"""Writes docs/api.md, the sidecar's HTTP interface for people, from its OpenAPI document.

    python scripts/make_api_page.py [--check]

--check writes nothing and exits with 1 where the page is not up to date.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment()

from ex4d_server.app import create_app
from ex4d_server.sidecar import Settings, Sidecar

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
_HEAD = """# The sidecar's HTTP interface

*Written by `scripts/make_api_page.py` from the OpenAPI document that a running sidecar gives at `/v1/openapi.json`.
How to start and use a sidecar stands in [sidecar.md](sidecar.md).*

Every route but `GET /v1/health` wants `Authorization: Bearer TOKEN`. Every error is an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document with `detail` (one sentence), `code` (for
programs) and `remedy` (what to do). Any route may answer 400, 401 (no valid token), 413 (too large), 421 (wrong
Host) or 503 (not now).
"""
_EVERYWHERE = {"400", "401", "413", "421", "503"}


def page(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    parts = [_HEAD]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(method.upper(), path, operation))
    parts.append("# Documents\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_schema(name, schema))
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {method} {path}\n", operation.get("description") or operation["summary"], ""]
    for parameter in operation.get("parameters", []):
        if parameter["in"] != "path":
            need = "" if parameter.get("required") else ", optional"
            about = parameter.get("description", "")
            lines.append(
                f"- {parameter['in']} `{parameter['name']}`: {_type(parameter['schema'])}{need}. {about}".rstrip()
            )
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"- body: {_type(content['schema'])}" + ("" if kind == "application/json" else f" (`{kind}`)"))
    errors = [code for code in operation["responses"] if int(code) >= 400 and code not in _EVERYWHERE]
    for code, answer in operation["responses"].items():
        if int(code) < 400:
            schemas = [_type(c["schema"]) for c in answer.get("content", {}).values() if c.get("schema")]
            lines.append(f"- **{code}**: {', '.join(schemas) or answer['description']}")
    if errors:
        lines.append(f"- problems: {', '.join(errors)}")
    return "\n".join(lines) + "\n"


def _schema(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}\n", schema.get("description", "").split("\n\n")[0].replace("\n", " "), ""]
    required = set(schema.get("required", ()))
    for field, facts in schema.get("properties", {}).items():
        default = "" if field in required or facts.get("default") is None else f", default `{facts['default']}`"
        need = ", required" if field in required else default
        lines.append(f"- `{field}`: {_type(facts)}{need}. {facts.get('description', '')}".rstrip())
    return "\n".join(lines) + "\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("prefixItems")
        return f"[{', '.join(map(_type, items))}]" if items else f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(Settings(data=Path(folder), token="not-a-secret"))
        text = page(create_app(sidecar).openapi())
        sidecar.store.close()
    if arguments.check:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
