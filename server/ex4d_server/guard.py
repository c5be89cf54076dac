"""Who may talk to the sidecar, and how much: checked before anything else looks at a request."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ex4d_server.problems import TOO_LARGE_REMEDY, RequestError, problem_of, response
from ex4d_server.uploads import PIECE_BYTES

OPEN_PATHS = ("/v1/health",)
"""What needs no token."""
_BODY_BYTES = 32 * 2**20
_UPLOADS = "/v1/uploads/"


class Guard:
    """ASGI middleware: Host header, token, size of the body."""

    def __init__(self, app: ASGIApp, token: str, host: str, on_request: Callable[[], None]) -> None:
        """Wrap an app.

        Args:
            app: what to guard.
            token: what clients must know.
            host: the address that the server listens on.
            on_request: told about each request that may pass.
        """
        self._app, self._token, self._on_request = app, token.encode(), on_request
        self._loopback_only = is_loopback(host)
        self._own_names = {"localhost"} if self._loopback_only else _own_names(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_host(headers.get("host", ""))
            if scope["path"] not in OPEN_PATHS:
                self._check_token(headers.get("authorization", ""))
                self._on_request()
            limit = PIECE_BYTES if scope["path"].startswith(_UPLOADS) else _BODY_BYTES
            await self._app(scope, _limited(receive, headers, limit), send)
        except RequestError as error:
            await response(problem_of(error), error.headers)(scope, receive, send)

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._token) or scheme.lower() != "bearer":
            raise RequestError(
                "This request has no valid token: send the token of this sidecar as an Authorization header, "
                "Bearer TOKEN.",
                "bad-token",
                401,
                {"WWW-Authenticate": "Bearer"},
            )

    def _check_host(self, host: str) -> None:
        """A web page that lets its name point here (DNS rebinding) still calls us by its name."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").rstrip(".").lower()
        if name in self._own_names or (is_loopback(name) if self._loopback_only else _is_address(name)):
            return
        raise RequestError(
            f"This sidecar is not called {name[:100]!r}: use its address, or this machine's own name.", "bad-host", 421
        )


def _limited(receive: Receive, headers: Headers, limit: int) -> Receive:
    """Refuse a body that is announced or turns out larger than the limit."""
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise _too_large(limit)
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > limit:
                # FastAPI calls any other error while it reads a body a malformed body.
                raise HTTPException(413, f"A request may carry {limit // 2**20} MiB")
        return message

    return limited


def _too_large(limit: int) -> RequestError:
    return RequestError(f"A request may carry {limit // 2**20} MiB: {TOO_LARGE_REMEDY}.", "body-too-large", 413)


def is_loopback(host: str) -> bool:
    """Whether an address or name means this very machine and nobody else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names(host: str) -> set[str]:
    own = socket.gethostname().lower()
    return {"localhost", host.lower(), own, f"{own}.local", socket.getfqdn().lower()}
