"""The gate in front of Gradio: only what the page itself asks for gets through.

Gradio has routes to fetch addresses of the client's choice, to copy files into its cache and to edit
programs. Here files are served from the page's own folder alone, bodies have limits, and the browser is told
to load nothing from elsewhere (Content-Security-Policy).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders  # comes with Gradio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse

from phases.serve.folder import is_inside

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/gradio_api"
FILE = f"{API}/file="
UPLOAD, CALL = f"{API}/upload", f"{API}/queue/join"
GET = re.compile(
    rf"/|/theme\.css|/favicon\.ico|/(assets|static)/.*|{API}/(queue/data|upload_progress|heartbeat/\w+)"
)
POST = re.compile(rf"({UPLOAD}|{CALL}|{API}/(cancel|reset))/?")
CALL_BYTES = 64 * 1024
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    # parts of Gradio's own scripts are inline, and its canvas makes functions of text
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
LIGHT = "/?__theme=light"  # the paper is white and the pen black, also on a dark screen


class Gate:
    """An ASGI application that passes on to `app` what the page needs, and refuses everything else.

    folder: the only one that files are served from. local: only this machine is served; then requests must
    name this machine, so that no site can pretend to be it (DNS rebinding). make_room: called before every
    upload.
    """

    def __init__(
        self, app: App, folder: Path, *, upload_bytes: int, local: bool, make_room: Callable[[], None]
    ) -> None:
        self.app, self.folder, self.local = app, folder, local
        self.upload_bytes, self.make_room = upload_bytes, make_room

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":  # a web socket is closed without an answer
            return
        request = Request(scope, receive)
        with suppress(ClientDisconnect):  # a client that has gone needs no answer, and the log no traceback
            try:
                self.check_origin(request)
                self.check_route(request.method, scope["path"])
                if request.method == "POST":
                    receive = await self.check_body(request, scope["path"])
            except HTTPException as refusal:
                answer = PlainTextResponse(refusal.detail, refusal.status_code, {"connection": "close"})
                await answer(scope, receive, add_headers(send))
                return
            app = self.app
            if scope["path"] == "/" and b"__theme=" not in scope["query_string"]:
                app = RedirectResponse(LIGHT)
            await app(scope, receive, add_headers(send))

    def check_origin(self, request: Request) -> None:
        """Refuse a name that is not this machine's, and requests from the page of another site."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if self.local and re.sub(r":\d+$", "", host) not in LOCAL_NAMES:
            raise HTTPException(403, "not a name of this machine")
        if origin is not None and re.sub(r"^https?://", "", origin) != host:
            raise HTTPException(403, "not from another page")

    def check_route(self, method: str, path: str) -> None:
        """Refuse what the page does not need."""
        if method in ("GET", "HEAD") and path.startswith(FILE):
            if not is_inside(path.removeprefix(FILE), self.folder):
                raise HTTPException(403, "not a file of this page")
            return
        routes = {"GET": GET, "HEAD": GET, "POST": POST}
        if method not in routes or not routes[method].fullmatch(path):
            raise HTTPException(404, "not here")

    async def check_body(self, request: Request, path: str) -> Receive:
        """Refuse a body that is too long, does not say its length, or names files that are not the page's.

        Returns what gives the body to the application.
        """
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or "transfer-encoding" in request.headers:
            raise HTTPException(411, "the length must be given")
        # the server lets no more through than this length
        if int(length) > (self.upload_bytes if path.startswith(UPLOAD) else CALL_BYTES):
            raise HTTPException(413, "too large")
        if path.startswith(UPLOAD):
            await asyncio.to_thread(self.make_room)
        if not path.startswith(CALL):
            return request.receive
        body = await request.body()
        try:
            files = list(find_paths(json.loads(body)))
        except (ValueError, RecursionError):
            raise HTTPException(400, "not JSON") from None
        # Gradio would copy such a file into its cache, or fetch it if it is an address
        if not all(isinstance(file, str) and is_inside(file, self.folder) for file in files):
            raise HTTPException(403, "not a file of this page")
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return messages.pop() if messages else await request.receive()

        return receive_again


def find_paths(value: Any) -> Iterator[Any]:
    """Every value of a key "path" anywhere in JSON, except null."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from find_paths(item)


def add_headers(send: Send) -> Send:
    """A `send` that adds HEADERS to every answer."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_with_headers
