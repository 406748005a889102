"""The page with many visitors at once, and with others who send what they should not."""

import json
import math
import random
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.phases.serve.test_serve import BOUNDARY, FEATURES, PATIENCE, Server, png, server  # noqa: F401

CANVAS = 640
GROWTH = 1.1  # of memory, after the first seconds
SEARCHES_A_PAGE = 15  # then a visitor opens the page anew, as another session
FORM = f"multipart/form-data; boundary={BOUNDARY}"
UPLOAD, JOIN = "/gradio_api/upload", "/gradio_api/queue/join"


def drawing(draw: random.Random) -> bytes:
    """A canvas with a few strokes, another one every time."""
    paper = Image.new("RGB", (CANVAS, CANVAS), "white")
    pen = ImageDraw.Draw(paper)
    for _ in range(draw.randrange(1, 8)):
        pen.line([draw.randrange(CANVAS) for _ in range(8)], fill="black", width=8)
    return png(paper)


@contextmanager
def opened(server: Server, session: str) -> Iterator[None]:  # noqa: F811
    """A page that is open: it is loaded, and holds a connection by which it says that it is there."""
    status, _, page = server.ask("GET", "/?__theme=light")
    assert status == 200 and b"gradio_config" in page
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as kept:
        kept.sendall(f"GET /gradio_api/heartbeat/{session} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert b"200 OK" in kept.recv(1000)
        yield


class Watch:
    """The memory of a process, while so many clients are at work with it.

    The first seconds last until every client had an answer, on a machine that is busy too; the later ones,
    as many as are left of `seconds`, come after that.
    """

    def __init__(self, process: int, clients: int, first: float, seconds: float) -> None:
        self.process, self.clients, self.first, self.seconds = process, clients, first, seconds
        self.start = time.monotonic()
        self.noted: list[tuple[float, float]] = []  # seconds since the start, MiB
        self.answers: dict[str, float] = {}  # client -> seconds to the first one

    def now(self) -> float:
        return time.monotonic() - self.start

    def note(self) -> None:
        self.noted.append((self.now(), memory_now(self.process)))

    def answered(self, client: str) -> None:
        if client not in self.answers:
            self.note()
            self.answers[client] = self.now()

    def settled(self) -> float:
        """When the first seconds are over, infinity while nobody knows."""
        return max(self.first, *self.answers.values()) if len(self.answers) == self.clients else math.inf

    def over(self) -> bool:
        return self.now() > self.settled() + self.seconds - self.first


def visit(server: Server, number: int, watch: Watch) -> list[float]:  # noqa: F811
    """Draw and search until it is over; returns how long each search took, from the upload to the photos."""
    draw, seconds, page = random.Random(number), [], 0
    while not watch.over():
        session, page = f"visitor{number}page{page}", page + 1
        with opened(server, session):
            for _ in range(SEARCHES_A_PAGE):
                content = drawing(draw)
                start = time.monotonic()
                photos, line = server.search(content, session=session)
                seconds.append(time.monotonic() - start)
                watch.answered(f"visit {number}")
                assert len(photos) == 9 and "The nearest 9 of 9 photos" in line, line
                path = re.sub(r"^http://[^/]+", "", draw.choice(photos)["url"])
                status, headers, _ = server.ask("GET", path)
                assert status == 200 and headers["content-type"] == "image/jpeg"
                if watch.over():
                    break
    return seconds


def misuse(server: Server, number: int, watch: Watch) -> int:  # noqa: F811
    """Send what is too large, damaged or not allowed until it is over; returns how often. All is answered."""
    draw, count, function = random.Random(1000 + number), 0, server.upload_function
    whole = drawing(draw)
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'.encode()
    passwords = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    asked: list[tuple[int, str, bytes, str]] = [
        (413, UPLOAD, b" " * (2 << 20), FORM),
        (413, JOIN, b" " * 100_000, "application/json"),
        (400, JOIN, b"[" * 50_000, "application/json"),
        (403, JOIN, json.dumps({"data": [passwords], "fn_index": function}).encode(), "application/json"),
        (404, "/gradio_api/run/predict", b"{}", "application/json"),
        (200, UPLOAD, head + whole[:100], FORM),  # without an end: nothing came
        (400, UPLOAD, whole, FORM),
        (400, UPLOAD, whole, "multipart/form-data"),
    ]
    bomb = png(Image.new("1", (10_000, 6_100), 1))
    damaged = {"damaged or incomplete": whole[: len(whole) // 2], "no picture": b"no picture", "50": bomb}
    while not watch.over():
        for wanted, path, body, kind in asked:
            status, _, answer = server.ask("POST", path, body, content_type=kind)
            assert status == wanted, (path, body[:80], kind, status, answer[:200])
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as broken:  # off in the middle
            broken.sendall(b"POST " + UPLOAD.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            broken.sendall(f"Content-Type: {FORM}\r\nContent-Length: 9999\r\n\r\n".encode() + head)
        for message, content in damaged.items():
            photos, line = server.search(content, session=f"misuse{number}")
            assert not photos and message in line, line
        watch.answered(f"misuse {number}")
        count += len(asked) + 1 + len(damaged)
    return count


def memory_now(process: int) -> float:
    """MiB that a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) / 1024


@contextmanager
def noting(watch: Watch) -> Iterator[None]:
    """Notes the memory while the block runs, at its start and its end in any case."""
    over = threading.Event()

    def note() -> None:
        while not over.wait(0.2):
            watch.note()

    watch.note()
    thread = threading.Thread(target=note)
    thread.start()
    try:
        yield
        watch.note()
    finally:
        over.set()
        thread.join()


def at_work(client: Callable[..., Any], server: Server, number: int, watch: Watch) -> Any:  # noqa: F811
    """What a client comes to; the others do not wait for one that failed."""
    try:
        return client(server, number, watch)
    finally:
        watch.answers.setdefault(f"{client.__name__} {number}", watch.now())


@pytest.mark.long
@pytest.mark.parametrize(("clients", "seconds", "first"), [(20, 120, 10)])
def test_many_visitors_are_answered_within_the_memory_of_the_first_seconds(
    server: Server,  # noqa: F811
    clients: int,
    seconds: int,
    first: int,
    ledger: Callable[..., None],
) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc to read the memory of a process from")
    watch = Watch(server.process.pid, clients + 2, first, seconds)
    with noting(watch), ThreadPoolExecutor(clients + 2) as pool:
        visits = [pool.submit(at_work, visit, server, each, watch) for each in range(clients)]
        misuses = [pool.submit(at_work, misuse, server, each, watch) for each in range(2)]
        took = sorted(each for visit in visits for each in visit.result())
        refused = sum(each.result() for each in misuses)
    assert server.process.poll() is None
    said = (server.home / "output.txt").read_text()
    assert "Traceback" not in said, said[-3000:]
    settled = watch.settled()
    early = max(memory for when, memory in watch.noted if when <= settled)
    late = max(memory for when, memory in watch.noted if when > settled)
    assert late <= GROWTH * early, f"{late:.0f} MiB, after {early:.0f} in {settled:.1f} s: {watch.noted}"
    median, p95 = statistics.median(took), took[int(0.95 * len(took))]
    assert server.search((server.home / "datasets/data/tiny/sketches/cat/3.png").read_bytes(), FEATURES)[0]
    ledger(
        7,
        f"the page with {clients} visitors at once for {seconds} s, and two that send rubbish",
        times=len(took),
        outcome=f"no error; a search in {median:.2f} s (median), {p95:.2f} s (95 %), {took[-1]:.2f} s at "
        f"most; {late:.0f} MiB, {early:.0f} in the first {settled:.0f} s; {refused:,} bad requests refused",
    )
