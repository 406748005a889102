"""--phase=serve: a page in the browser to draw on, with the nearest photos. Nothing leaves the machine."""

import argparse
import errno
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image, ImageDraw

from phases.search.searcher import Searcher, build_searcher
from phases.serve.answers import MAX_PHOTOS, Answers, choose_examples
from phases.serve.folder import page_folder, trim_folder
from run.config import config_from_options
from utils.errors import UserError
from utils.memory import limit_malloc_arenas
from utils.optional import import_optional
from utils.signals import catch_stop_signals

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.5  # a search that takes less follows every stroke
CONNECTIONS = 200  # an open page holds up to seven
ARENAS = 2  # of memory, for all threads
# Read when Gradio is imported: no telemetry, and no proxy. A page on this machine needs none, and with a kind
# of proxy that is not installed (SOCKS) the import would fail.
GRADIO_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_PROXY": "*",
    "no_proxy": "*",
}


def run(options: argparse.Namespace) -> int:
    """Serve the page until SIGINT or SIGTERM, and return 130 or 143.

    Raises UserError before anything is computed if Gradio is missing or the port cannot be bound.
    """
    config = config_from_options(options)
    if config.search.top > MAX_PHOTOS:
        raise UserError(f"--top {config.search.top} is more than the page shows: {MAX_PHOTOS}")
    os.environ.update(GRADIO_SETTINGS)
    limit_malloc_arenas(ARENAS)  # every visit starts threads
    import_optional("gradio", "serve", "--phase=serve")
    with bind(config.serve.host, config.serve.port) as listener:
        searcher = build_searcher(config)
        with catch_stop_signals() as stop, page_folder() as folder:
            with serve_page(searcher, folder, listener) as server:
                report_address(searcher, listener)
                if config.serve.open and not webbrowser.open(page_url(listener)):
                    log.warning("warning: no browser can be opened here; open the address yourself")
                while not stop and server.is_alive():
                    server.join(0.2)
            log.info("the page is closed")
        return stop.exit_code


@contextmanager
def bind(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address. Raises UserError if it cannot be bound."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"--host {host} is no address: {error.strerror}") from None
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # also right after the last serve
        try:
            listener.bind(address)
        except OSError as error:
            raise explain_bind_error(host, port, error) from None
        yield listener


def explain_bind_error(host: str, port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError(
            f"--host {host} is no address of this machine; use 127.0.0.1, or 0.0.0.0 for all its addresses"
        )
    return UserError(f"cannot bind to {host}:{port} ({error.strerror}); choose another port with --port")


@contextmanager
def serve_page(searcher: Searcher, folder: Path, listener: socket.socket) -> Iterator[threading.Thread]:
    """Serve the page in a thread of its own, with its files in `folder`, while the block runs."""
    import uvicorn

    address, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        build_application(searcher, folder, local=ip_address(address).is_loopback),
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    try:
        listener.listen(CONNECTIONS)
    except OSError as error:  # another process was faster
        raise explain_bind_error(address, port, error) from None
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.05)
        yield thread
    finally:
        # open pages hold connections that never end; cutting them is no error
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        server.should_exit = True
        thread.join(10)


def build_application(searcher: Searcher, folder: Path, *, local: bool) -> Any:
    """The page behind its gate, as an ASGI application."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    import gradio as gr
    from fastapi import FastAPI

    from phases.serve import page
    from phases.serve.guard import Gate

    answers = Answers(searcher, folder, local=local)
    follow = time_search(searcher) < FOLLOW_SECONDS
    blocks = page.build_page(answers, choose_examples(searcher), follow=follow)
    blocks.state_session_capacity = CONNECTIONS
    blocks.has_launched = True  # else Gradio does not check which files a call names
    upload_bytes = searcher.config.serve.upload_mib << 20
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        blocks,
        "/",
        root_path="",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=upload_bytes,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        theme=page.build_theme(),
        css=page.read_style(),
    )
    icons = frozenset(folder.rglob("*"))
    make_room = partial(trim_folder, folder, spare=icons)
    # an upload has a few lines of its form beside the file
    return Gate(app, folder, upload_bytes=upload_bytes + 4096, local=local, make_room=make_room)


def time_search(searcher: Searcher) -> float:
    """Seconds of a search, without the first one, which is slower."""
    drawing = Image.new("L", (256, 256), "white")
    ImageDraw.Draw(drawing).ellipse((20, 20, 236, 236), outline="black", width=3)
    searcher.search(drawing)
    start = perf_counter()
    searcher.search(drawing)
    return perf_counter() - start


def report_address(searcher: Searcher, listener: socket.socket) -> None:
    """Log where the page is, and who can see it."""
    config, (address, port) = searcher.config, listener.getsockname()[:2]
    log.info("%s", searcher.describe_network())
    if searcher.warning:
        log.warning("warning: %s", searcher.warning)
    if not ip_address(address).is_loopback:
        log.warning(
            "warning: whoever can reach port %d of this machine can search and see the photos: --host %s",
            port,
            config.serve.host,
        )
    log.info(
        "serving %d photos of %s with step %d on %s - Ctrl-C ends",
        len(searcher.gallery.names),
        searcher.gallery.root,
        searcher.checkpoint.step,
        page_url(listener),
    )


def page_url(listener: socket.socket) -> str:
    """The address to type into a browser."""
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
