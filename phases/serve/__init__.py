"""--phase=serve: a page in the browser to draw on, with the nearest photos. Nothing leaves the machine."""

import argparse
import errno
import logging
import os
import shutil
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from time import perf_counter
from typing import Any

from PIL import Image, ImageDraw

from phases.search.searcher import Searcher, build_searcher
from phases.serve.answers import MOST, Answers, examples_of
from phases.serve.guard import guarded
from run.config import config_from_options
from utils.errors import UserError
from utils.locks import Locked, folder_lock
from utils.memory import share_arenas
from utils.optional import import_optional
from utils.signals import stop_requests

log = logging.getLogger(__name__)

AT_ONCE = 0.5  # seconds: a search that takes no longer follows every stroke
CONNECTIONS = 200  # an open page holds up to seven
DRAWINGS = "drawings-"  # how the folder of open pages is called, in the folder for temporary files
ARENAS = 2  # of memory, for all threads
FOLDER_BYTES, FOLDER_FILES = 256 << 20, 4000  # of what is kept for open pages
# Read when Gradio is imported: no telemetry, and no proxy, which a page on this machine does not need and
# which ends the import where it is of a kind that is not installed (SOCKS).
GRADIO_SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
GRADIO_SETTINGS |= {"NO_PROXY": "*", "no_proxy": "*"}


def run(options: argparse.Namespace) -> int:
    """Serve the page until SIGINT or SIGTERM; returns 130 or 143.

    Raises UserError without Gradio and where the port cannot be had, before anything is computed.
    """
    config = config_from_options(options)
    if config.search.top > MOST:
        raise UserError(f"--top {config.search.top} is more than the page shows: {MOST}")
    os.environ.update(GRADIO_SETTINGS)
    share_arenas(ARENAS)  # every visit takes threads of its own
    import_optional("gradio", "serve", "--phase=serve")
    with bound(config.serve.host, config.serve.port) as listening:
        searcher = build_searcher(config)
        with stop_requests() as stop, drawings() as folder:
            with serving(searcher, folder, listening) as server:
                report_address(searcher, listening)
                if config.serve.open and not webbrowser.open(address_of(listening)):
                    log.warning("warning: no browser can be opened here; open the address yourself")
                while not stop and server.is_alive():
                    server.join(0.2)
            log.info("the page is closed")
        return stop.exit_code


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at the address. Raises UserError if that cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"--host {host} is no address: {error.strerror}") from None
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # also right after the last serve
        try:
            listening.bind(address)
        except OSError as error:
            raise refusal(host, port, error) from None
        yield listening


def refusal(host: str, port: int, error: OSError) -> UserError:
    """What to do about an address that cannot be had."""
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError(f"--host {host} is no address of this machine; 127.0.0.1 is, 0.0.0.0 stands for all")
    return UserError(f"port {port} of {host} cannot be had ({error.strerror}); choose another with --port")


@contextmanager
def drawings() -> Iterator[Path]:
    """A folder for the files of the page, gone in the end; those of processes that were killed go as well.

    A lock beside the files tells who is at work. Nothing is opened in what other users put there.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{DRAWINGS}*"):
        with suppress(Locked, OSError):
            status = left.lstat()
            if S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and (left / ".lock").exists():
                with folder_lock(left):
                    shutil.rmtree(left, ignore_errors=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=DRAWINGS))).resolve()
        stack.enter_context(folder_lock(folder))
        (folder / "files").mkdir()
        yield folder / "files"


@contextmanager
def serving(searcher: Searcher, folder: Path, listening: socket.socket) -> Iterator[threading.Thread]:
    """The page, served by a thread of its own while the block runs; `folder` is for its files."""
    import uvicorn

    address, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        application(searcher, folder, local=ip_address(address).is_loopback),
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
        listening.listen(CONNECTIONS)
    except OSError as error:  # another process was faster
        raise refusal(address, port, error) from None
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.05)
        yield thread
    finally:
        # open pages hold connections that never end: to cut them is no error
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        server.should_exit = True
        thread.join(10)


def application(searcher: Searcher, folder: Path, *, local: bool) -> Any:
    """The page behind its gate, as an ASGI application."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    import gradio as gr
    from fastapi import FastAPI

    from phases.serve import page

    answers = Answers(searcher, folder, local=local)
    follow = seconds_of_a_search(searcher) < AT_ONCE
    blocks = page.page(answers, examples_of(searcher), follow=follow)
    blocks.state_session_capacity = CONNECTIONS
    blocks.has_launched = True  # else Gradio does not look at which files a call names
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
        theme=page.theme(),
        css=page.CSS,
    )
    trim = partial(trimmed, folder, frozenset(folder.rglob("*")))
    # an upload has a few lines of its form beside the file
    return guarded(app, folder, upload_bytes=upload_bytes + 4096, local=local, trim=trim)


def trimmed(folder: Path, spared: frozenset[Path]) -> None:
    """Remove the files of `folder` that were not used for longest, until the others keep to their bounds."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            if S_ISREG(status.st_mode) and path not in spared:
                files.append((status.st_mtime_ns, status.st_size, path))
    room = FOLDER_BYTES
    for place, (_, size, path) in enumerate(sorted(files, reverse=True)):
        room -= size
        if room < 0 or place >= FOLDER_FILES:
            path.unlink(missing_ok=True)
            if path.parent != folder:
                with suppress(OSError):  # it may have others
                    path.parent.rmdir()


def seconds_of_a_search(searcher: Searcher) -> float:
    """How long one takes: the second, since the first is slower."""
    drawing = Image.new("L", (256, 256), "white")
    ImageDraw.Draw(drawing).ellipse((20, 20, 236, 236), outline="black", width=3)
    searcher.search(drawing)
    start = perf_counter()
    searcher.search(drawing)
    return perf_counter() - start


def report_address(searcher: Searcher, listening: socket.socket) -> None:
    """Say where the page is, and who can see it."""
    config, (address, port) = searcher.config, listening.getsockname()[:2]
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
        address_of(listening),
    )


def address_of(listening: socket.socket) -> str:
    """What to type into a browser."""
    address, port = listening.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
