"""Who may ask the page's server for what: a gate in front of Gradio, which can do far more than is needed.

Gradio has routes to fetch addresses of the client's choice, to copy files into its cache, to edit programs.
Here only what the page itself asks for gets through, files only from the page's own folder, bodies only up to
their limits; and the browser is told to load nothing from elsewhere (Content-Security-Policy).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

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
HEADERS = {
    # Gradio's own scripts are inline in part, and its canvas makes functions of text
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
LIGHT = "/?__theme=light"  # the paper is white and the pen black, also where the screen is set to dark


class Refused(Exception):
    """An answer by its HTTP status, with a short text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def guarded(app: App, folder: Path, *, upload_bytes: int, local: bool, trim: Callable[[], None]) -> App:
    """`app`, an ASGI application, behind the gate.

    folder: the only one that files are served from. local: whether it listens to this machine alone; then
    it answers to this machine's names alone, so that no site can pass for it (DNS rebinding). trim: called
    before every upload, to make room in the folder.
    """
    from starlette.requests import ClientDisconnect  # comes with Gradio

    async def gate(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if scope["type"] != "http":
            return None  # a web socket: closed
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            check_names(headers, local=local)
            check_route(scope["method"], scope["path"], folder)
            if scope["method"] == "POST":
                check_length(headers, scope["path"], upload_bytes)
                if scope["path"].startswith(UPLOAD):
                    await asyncio.to_thread(trim)
                if scope["path"].startswith(CALL):
                    receive = await checked_call(receive, folder)
        except Refused as refused:
            return await answer(send, refused.status, str(refused))
        if scope["path"] == "/" and b"__theme=" not in scope["query_string"]:
            return await answer(send, 307, "", location=LIGHT)
        with suppress(ClientDisconnect):  # who breaks off is owed no answer, and the log no traceback
            await app(scope, receive, with_headers(send))
        return None

    return gate


def check_names(headers: dict[str, str], *, local: bool) -> None:
    """Raise Refused for a name that is not this machine's, and for calls that another site's page makes."""
    host = headers.get("host", "")
    if local and re.sub(r":\d+$", "", host) not in ("localhost", "127.0.0.1", "[::1]"):
        raise Refused(403, "not a name of this machine")
    if "origin" in headers and re.sub(r"^https?://", "", headers["origin"]) != host:
        raise Refused(403, "not from another page")


def check_route(method: str, path: str, folder: Path) -> None:
    """Raise Refused for what the page does not need."""
    if method in ("GET", "HEAD") and path.startswith(FILE):
        if not inside(path.removeprefix(FILE), folder):
            raise Refused(403, "not a file of this page")
    elif not {"GET": GET, "HEAD": GET, "POST": POST}.get(method, re.compile("(?!)")).fullmatch(path):
        raise Refused(404, "not here")


def check_length(headers: dict[str, str], path: str, upload_bytes: int) -> None:
    """Raise Refused for a body that is too long, or does not say its length: the server holds it to that."""
    length = headers.get("content-length", "")
    if not length.isdecimal() or "transfer-encoding" in headers:
        raise Refused(411, "the length must be given")
    if int(length) > (upload_bytes if path.startswith(UPLOAD) else CALL_BYTES):
        raise Refused(413, "too large")


async def checked_call(receive: Receive, folder: Path) -> Receive:
    """Read a call and give it again. Raises Refused if it names files that are not in `folder`.

    Gradio would copy such a file into its cache, or fetch it if it is an address.
    """
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "broken off")
        body, more = body + message.get("body", b""), message.get("more_body", False)
    try:
        named = list(paths_in(json.loads(body)))
    except (ValueError, RecursionError):
        raise Refused(400, "not JSON") from None
    if not all(isinstance(each, str) and inside(each, folder) for each in named):
        raise Refused(403, "not a file of this page")
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def paths_in(value: Any) -> list[Any]:
    """All that stands under "path" anywhere in JSON, but for null."""
    if isinstance(value, list):
        return [path for each in value for path in paths_in(each)]
    if not isinstance(value, dict):
        return []
    own = [value["path"]] if value.get("path") is not None else []
    return own + paths_in(list(value.values()))


def inside(path: str, folder: Path) -> bool:
    """Whether `path` leads to something in `folder`, links and dots followed."""
    try:
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


async def answer(send: Send, status: int, text: str, **headers: str) -> None:
    """A short plain answer."""
    headers = {"content-type": "text/plain; charset=utf-8", "connection": "close", **HEADERS, **headers}
    await send({"type": "http.response.start", "status": status, "headers": encoded(headers)})
    await send({"type": "http.response.body", "body": text.encode()})


def with_headers(send: Send) -> Send:
    """`send`, with HEADERS in every answer."""

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *encoded(HEADERS)]
        await send(message)

    return send_more


def encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
