"""The HTTP application of a sidecar."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from ex4d_server import API_VERSION, __version__
from ex4d_server.documents import EventData
from ex4d_server.guard import Guard
from ex4d_server.handlers import add_handlers
from ex4d_server.problems import Problem
from ex4d_server.routes import control, events, jobs, scenes, uploads
from ex4d_server.sidecar import Sidecar

_MODULES = (control, uploads, scenes, jobs, events)
_PREFIX = "/v1"
_REF = "#/components/schemas/{model}"


def create_app(sidecar: Sidecar) -> FastAPI:
    """The application; the sidecar starts and stops with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            sidecar.start()
        except Exception as error:
            app.state.failure = error  # uvicorn only says that something failed
            raise
        yield
        sidecar.stop()

    app = FastAPI(
        title="EX-4D sidecar",
        version=f"{API_VERSION}",
        description=f"EX-4D {__version__}. Every route but health wants `Authorization: Bearer TOKEN`.",
        openapi_url=f"{_PREFIX}/openapi.json",
        docs_url=None,  # loads scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.sidecar, app.state.failure = sidecar, None
    for module in _MODULES:
        app.include_router(module.router, prefix=_PREFIX)
    add_handlers(app, _methods_of)
    app.add_middleware(Guard, token=sidecar.settings.token, host=sidecar.settings.host, on_request=sidecar.note_request)
    app.openapi = lambda: _openapi(app)
    return app


def _methods_of(path: str) -> list[str]:
    """The methods that some route of this path knows."""
    inside = path.removeprefix(_PREFIX)
    routes = [route for module in _MODULES for route in module.router.routes if isinstance(route, APIRoute)]
    return sorted({method for route in routes if route.path_regex.match(inside) for method in route.methods or ()})


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = document.setdefault("components", {})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for model in (Problem, EventData):
            schema = model.model_json_schema(ref_template=_REF)
            components["schemas"] |= schema.pop("$defs", {}) | {model.__name__: schema}
        document["security"] = [{"token": []}]
        for methods in document["paths"].values():
            for operation in methods.values():
                # FastAPI describes its own validation error; ours is a problem document
                refused = operation["responses"].get("422", {})
                refused.get("content", {}).pop("application/json", None)
        app.openapi_schema = document
    return app.openapi_schema
