"""The page to draw on: its answers, its refusals, and that nothing leaves the machine.

One server process gets requests by HTTP and from a Chromium, if there is one. It records every address it
connects to, except this machine's.
"""

import html
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import main
from phases.search.searcher import open_searcher
from phases.serve import folder as page_files
from phases.serve.answers import CODES, FEATURES
from tests.conftest import CATEGORIES
from tests.phases.search.test_gallery import COMMON

PROJECT = Path(main.__file__).parent
CAT = Path("datasets/data/tiny/sketches/cat/3.png")  # a test sketch
BOUNDARY = "----drawing"
PATIENCE = 60  # seconds: other tests may run on the same cores
WATCHED = """
import socket, sys, threading
home = ("127.0.0.1", "::1", "localhost", "", None)
def watched(call):
    def watching(*arguments, **named):
        address = arguments[1] if isinstance(arguments[0], socket.socket) else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        if host not in home:
            with open("foreign.txt", "a") as file:
                file.write(f"{call.__name__} {address}\\n")
            raise OSError("not from here")
        return call(*arguments, **named)
    return watching
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, watched(getattr(socket.socket, name)))
socket.getaddrinfo = watched(socket.getaddrinfo)
try:
    socket.create_connection(("192.0.2.1", 9))
except OSError:
    pass
from phases import serve
from retrieval import hashing
hashing.FIT_STEPS, serve.FOLLOW_SECONDS = 100, 60
from tests.tiny_main import main
sys.exit(main.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Server:
    """A running page: its port, its process, and the folder it was started in."""

    port: int
    process: subprocess.Popen[str]
    home: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer; `path` is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with suppress(BrokenPipeError):  # the server may refuse a body before all of it is sent
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        result = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return result

    def upload(self, content: bytes, name: str = "drawing.png") -> str:
        """Where an uploaded file lies on the server."""
        form = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = form.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        status, _, answer = self.ask("POST", "/gradio_api/upload", body, content_type=kind)
        assert status == 200, answer
        return json.loads(answer)[0]

    def call(self, function: int, *data: Any, session: str = "here") -> tuple[int, bytes]:
        body = {"data": data, "fn_index": function, "session_hash": session}
        content = json.dumps(body).encode()
        status, _, answer = self.ask(
            "POST", "/gradio_api/queue/join", content, content_type="application/json"
        )
        return status, answer

    def search(
        self, content: bytes, by: str = FEATURES, top: Any = 10, *, session: str = "here"
    ) -> tuple[list[dict], str]:
        """The gallery and the line for an uploaded picture."""
        file = {"path": self.upload(content), "meta": {"_type": "gradio.FileData"}}
        status, answer = self.call(self.upload_function, file, by, top, session=session)
        assert status == 200, answer
        _, _, stream = self.ask("GET", f"/gradio_api/queue/data?session_hash={session}")
        messages = [json.loads(part.removeprefix(b"data: ")) for part in stream.split(b"\n\n") if part]
        (done,) = [each for each in messages if each["msg"] == "process_completed"]
        assert done["success"], done
        _, photos, line = done["output"]["data"]
        return photos_in(photos if isinstance(photos, str) else ""), line

    @cached_property
    def upload_function(self) -> int:
        """Which of the page's functions answers an upload."""
        page = self.ask("GET", "/?__theme=light")[2].decode()
        config = json.JSONDecoder().raw_decode(page.split("window.gradio_config = ")[1])[0]
        kinds = {each["id"]: each["type"] for each in config["components"]}
        (number,) = [
            each["id"]
            for each in config["dependencies"]
            if [kinds[one] for one in each["inputs"]][:1] == ["uploadbutton"]
        ]
        return number


def photos_in(page: str) -> list[dict]:
    """Address, caption and distance of the photos in a list of results."""
    pattern = r'<img src="([^"]+)" alt=""><span>(.*?)</span><span>(.*?)</span>'
    return [
        {"url": html.unescape(url), "caption": html.unescape(caption), "distance": distance}
        for url, caption, distance in re.findall(pattern, page)
    ]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def is_listening(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio", reason="no Gradio: pip install -r requirements/serve.txt")
    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(trained_once, home)
    port = free_port()
    arguments = [f"--{name}={value}" for name, value in COMMON.items()] + [f"--port={port}"]
    arguments += ["--phase=serve", "--save_path=run", "--dataset=tiny", "--hash_bits=4", "--upload_mib=1"]
    paths = {"PYTHONPATH": str(PROJECT), "TMPDIR": str(home)}
    with (home / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, *arguments],
            cwd=home,
            env={**os.environ, **paths, "ALL_PROXY": "socks5://127.0.0.1:9", "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        end = time.monotonic() + 2 * PATIENCE
        while not is_listening(port):
            assert process.poll() is None and time.monotonic() < end, (home / "output.txt").read_text()
            time.sleep(0.1)
        yield Server(port, process, home)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def captions(photos: list[dict]) -> list[str]:
    return [photo["caption"] for photo in photos]


def test_a_sketch_finds_what_a_search_finds(server: Server, trained: Path) -> None:
    searcher = open_searcher("run", hash_bits=[4], **COMMON)
    for by, index, unit in (
        (FEATURES, "flat", "squared Euclidean"),
        (CODES, "binary", "bits that differ, of 4"),
    ):
        photos, line = server.search(CAT.read_bytes(), by, top=9)
        hits = searcher.search(CAT, 9, index=index)
        assert captions(photos) == [f"{hit.rank}. {hit.category}" for hit in hits]
        numbers = [re.search(r"[\d.]+", photo["distance"])[0] for photo in photos]
        assert len({len(number.partition(".")[2]) for number in numbers}) == 1  # equal digits
        assert [float(number) for number in numbers] == pytest.approx(
            [hit.distance for hit in hits], abs=0.51 * 10 ** -len(numbers[0].partition(".")[2])
        )
        assert all(("bit" if by == CODES else "distance") in photo["distance"] for photo in photos)
        assert "nearest 9 of 9 photos" in line and unit in line
        for photo, hit in zip(photos, hits, strict=True):
            status, headers, content = server.ask("GET", photo["url"])
            assert status == 200 and headers["content-type"] == "image/jpeg"
            with Image.open(BytesIO(content)) as small, Image.open(hit.file) as original:
                assert small.size == original.size  # of 40 pixels


def test_the_cleaning_of_a_drawing_is_reported(server: Server) -> None:
    board = Image.new("RGB", (300, 300), "black")
    ImageDraw.Draw(board).ellipse((40, 40, 260, 260), outline="white", width=6)
    photos, line = server.search(png(board), top=2)
    assert len(photos) == 2 and "inverted" in line


def test_a_bad_picture_gets_an_explanation_and_the_next_search_works(server: Server) -> None:
    sketch = (server.home / CAT).read_bytes()
    large = png(Image.new("1", (30_000, 30_000), 1))
    assert len(large) < 1 << 20
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    cases = {
        "50 megapixels": large,
        "61.0 megapixels, more than the 50": png(Image.new("1", (10_000, 6_100), 1)),
        "This is no picture": b"no picture at all",
        "the file is empty": b"",
        "TIFF": postscript,
        "damaged": sketch[: len(sketch) // 2],
        "picture is empty": png(Image.new("RGBA", (64, 64))),
    }
    for message, content in cases.items():
        before = memory_of(server.process.pid)
        photos, line = server.search(content)
        assert not photos and message in line and "/" not in line.replace("</p>", "")
        assert memory_of(server.process.pid) - before < 100 << 20
    for unusual in (0, 10**9, "ten", None, [1]):
        assert 1 <= len(server.search(sketch, by="nonsense", top=unusual)[0]) <= 9


FAULTS = PROJECT.parent / "shared/faults"  # files that people reported to other programs
REASONS = {
    "png_palette_missing.png": "This picture cannot be read: it is damaged: its palette is missing.",
    "tif_float.tif": "its floating point numbers have no known range: save it with 8 or 16 bits.",
    "tif_int32_8bit.tif": "its signed or 32-bit numbers have no known range: save it with 8 or 16 bits.",
    "html.pth": "This is no picture that can be read here: it is a web page",
    "zero.pth": "This is no picture that can be read here: the file is empty",
    "lfs.pth": "This is no picture that can be read here: it is a Git LFS pointer",
}
NO_PICTURE = "This is no picture that can be read here: it is no"
PICTURES = {".bmp", ".jpg", ".png", ".tif", ".webp"}


@pytest.mark.skipif(not FAULTS.is_dir(), reason=f"no {FAULTS} with files from public bug reports")
def test_odd_files_are_searched_with_or_refused_with_their_reason(server: Server) -> None:
    answered = {path: server.search(path.read_bytes()) for path in sorted(FAULTS.iterdir())}
    assert len(answered) > 30
    for path, (photos, line) in answered.items():
        reason = REASONS.get(path.name, NO_PICTURE)
        if path.suffix in PICTURES and path.name not in REASONS:
            assert len(photos) == 9 and "nearest 9 of 9 photos" in line, (path.name, line)
        else:
            assert not photos and reason in line and 'role="alert"' in line, (path.name, line)


def memory_of(process: int) -> int:
    """The most bytes that a process ever had in memory; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10


def test_only_the_page_s_own_files_are_served(server: Server) -> None:
    home = server.home
    uploaded = Path(server.upload(b"drawing"))
    own = uploaded.parents[1]
    checkpoint = home / "logs/run/model/checkpoint-4.pt"
    assert checkpoint.is_file()
    photo = next((home / "datasets/data/tiny/photos").rglob("*.png"))
    link = own / "link.jpg"
    link.symlink_to(photo)
    files = [
        "/etc/passwd",
        str(PROJECT / "main.py"),
        "main.py",
        str(checkpoint),
        str(photo),
        str(link),
        str(own),
    ]
    files += [f"{own}/../{'../' * 8}etc/passwd", f"{own}/../../logs/run/model/checkpoint-4.pt", "~/x", "\0"]
    files += ["http://example.com/x.png", "https://127.0.0.1/", f"file://{uploaded}"]
    for file in files:
        for path in (file, file.replace("/", "%2F").replace(".", "%2e")):
            for route in (
                "/gradio_api/file=",
                "/file=",
                "/gradio_api/file/",
                "/gradio_api/proxy=",
                "/static/",
            ):
                path = path.replace("\0", "%00")
                status, _, content = server.ask("GET", route + path)
                assert status in (307, 400, 403, 404), (route + path, status)
                assert b"root:" not in content and b"PK" not in content
    assert server.ask("GET", f"/gradio_api/file={uploaded}")[0] == 200


def test_only_what_the_page_needs_is_there(server: Server) -> None:
    for path in ("/docs", "/openapi.json", "/config", "/monitoring", "/login", "/gradio_api/info"):
        assert server.ask("GET", path)[0] == 404
    for path in (
        "run/predict",
        "call/drawn",
        "component_server",
        "vibe-edit",
        "process_recording",
        "stream/1",
    ):
        assert server.ask("POST", f"/gradio_api/{path}", b"{}", content_type="application/json")[0] == 404
    assert server.ask("PUT", "/")[0] == server.ask("DELETE", "/gradio_api/upload")[0] == 404


def test_calls_and_uploads_have_limits(server: Server) -> None:
    function = server.upload_function
    for path in ("/etc/passwd", "http://example.com/x.png", "relative.png", 7, ["/etc/passwd"]):
        for file in ({"path": path, "meta": {"_type": "gradio.FileData"}}, [{"deep": {"path": path}}]):
            assert server.call(function, file, FEATURES, 3)[0] == 403
            assert server.call(function, "x", FEATURES, {"more": file})[0] == 403
    join, form = "/gradio_api/queue/join", f"multipart/form-data; boundary={BOUNDARY}"
    assert server.ask("POST", join, b"[" * 50_000)[0] == 400
    assert server.ask("POST", join, b" " * 100_000)[0] == 413
    assert server.ask("POST", "/gradio_api/upload", b" " * (2 << 20), content_type=form)[0] == 413
    unknown = server.ask("POST", join, iter([b"{}"]), Transfer_Encoding="chunked")
    assert unknown[0] == 411


def test_other_sites_cannot_use_the_page(server: Server) -> None:
    assert server.ask("GET", "/?__theme=light", Host=f"localhost:{server.port}")[0] == 200
    assert server.ask("GET", "/?__theme=light", Host="rebound.example.com")[0] == 403
    assert server.ask("POST", "/gradio_api/queue/join", b"{}", Origin="http://example.com")[0] == 403
    assert server.ask("POST", "/gradio_api/queue/join", b"{}", Origin="null")[0] == 403


def test_the_browser_is_told_to_load_nothing_from_elsewhere(server: Server) -> None:
    status, headers, _ = server.ask("GET", "/")
    assert (status, headers["location"]) == (307, "/?__theme=light")  # white paper on dark screens too
    status, headers, page = server.ask("GET", "/?__theme=light")
    policy = headers["content-security-policy"]
    assert status == 200 and policy.startswith("default-src 'self';") and "http" not in policy
    loaded = re.findall(rb'<(?:script|link|img|iframe)[^>]*(?:src|href)="([^"]+)"', page)
    assert loaded and not [each for each in loaded if b"//" in each.replace(b"http://127.0.0.1:", b"")]
    assert headers["x-content-type-options"] == "nosniff"


def test_the_server_connects_to_nobody_else(server: Server) -> None:
    assert server.search((server.home / CAT).read_bytes())[0]
    addresses = (server.home / "foreign.txt").read_text()
    assert addresses == "getaddrinfo 192.0.2.1\n"  # made on purpose: it shows that addresses are recorded
    output = (server.home / "output.txt").read_text()
    assert f"serving 9 photos of datasets/data/tiny with step 4 on http://127.0.0.1:{server.port}" in output


def chromium() -> Any:
    """How Playwright starts a Chromium; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next(filter(None, map(shutil.which, names)), None)
    driver = playwright.sync_playwright().start()
    if installed is None and not Path(driver.chromium.executable_path).is_file():
        driver.stop()
        pytest.skip("no Chromium: make browser")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update"]
    return driver, driver.chromium.launch(executable_path=installed, args=switches, timeout=PATIENCE * 1000)


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    """The page in a Chromium; in the end there must have been no error, and no request to elsewhere."""
    driver, browser = chromium()
    opened = browser.new_page(viewport={"width": 1000, "height": 700})
    opened.set_default_timeout(PATIENCE * 1000)
    asked: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    try:
        opened.goto(f"http://127.0.0.1:{server.port}/")
        opened.wait_for_selector("#canvas .toolbar-wrap button.highlight")  # the pen is selected
        yield opened
    finally:
        browser.close()
        driver.stop()
    own = re.compile(rf"(blob:)?http://127\.0\.0\.1:{server.port}/|data:")
    assert asked and not [url for url in asked if not own.match(url)]
    assert not errors


def test_draw_search_switch_upload_and_clear(server: Server, page: Any, tmp_path: Path) -> None:
    box = page.locator("#canvas canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 90, y - 90)
    page.mouse.down()
    for right, down in ((90, -90), (90, 90), (-90, 90), (-90, -90)):
        page.mouse.move(x + right, y + down, steps=2)
    page.mouse.up()
    page.get_by_role("button", name="Search").click()
    results = read_results(page, "squared Euclidean distance")
    assert sorted(category for category, _ in results) == sorted(3 * CATEGORIES)
    distances = [distance for _, distance in results]
    assert distances == sorted(distances) and distances[0] < distances[-1]

    page.get_by_label(CODES).click()
    results = read_results(page, "bits that differ, of 4")
    bits = [distance for _, distance in results]
    assert bits == sorted(bits) and set(bits) <= {0, 1, 2, 3, 4}

    sketch = (server.home / CAT).read_bytes()
    expected = captions(server.search(sketch, FEATURES)[0])
    page.get_by_label(FEATURES).click()
    read_results(page, "squared Euclidean distance")
    choose(page, server.home / CAT)
    page.wait_for_function(
        "expected => JSON.stringify([...document.querySelectorAll('#photos span:first-of-type')]"
        ".map(each => each.innerText)) == JSON.stringify(expected)",
        arg=expected,
    )
    (tmp_path / "no picture.png").write_bytes(b"no picture")
    choose(page, tmp_path / "no picture.png")
    page.get_by_text("This is no picture that can be read here").wait_for()
    assert page.locator("#photos li").count() == 9  # what was there stays

    page.get_by_label("Clear canvas").click()  # that alone: the search follows
    page.get_by_text("There is nothing on the canvas yet").wait_for()
    assert page.locator("#photos li").count() == 0
    page.get_by_role("button", name="hot-dog").click()
    read_results(page, "squared Euclidean distance")


def read_results(page: Any, unit: str) -> list[tuple[str, float]]:
    """Category and distance of all nine photos, once there is a line with that unit."""
    page.locator("#line").get_by_text(unit).wait_for()
    page.locator("#photos li").nth(8).wait_for()
    texts = page.locator("#photos li").all_inner_texts()
    parts = [re.fullmatch(r"(\d+)\. (.+)\n\D*([\d.]+)\D*", text) for text in texts]
    assert [int(part[1]) for part in parts] == list(range(1, 10))
    return [(part[2], float(part[3])) for part in parts]


def choose(page: Any, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a picture").click()
    chooser.value.set_files(file)


def test_a_photo_can_be_seen_large_with_its_path(server: Server, page: Any) -> None:
    page.get_by_role("button", name="hot-dog").click()
    read_results(page, "squared Euclidean distance")
    for _ in range(2):  # the same photo again, too
        page.locator("#photos button").first.click()
        page.locator("#large dialog[open] img").wait_for()
        path = Path(page.locator("#large p").inner_text())
        assert path.is_absolute() and path.is_relative_to(server.home) and path.is_file()
        page.get_by_role("button", name="Close").click()
        assert page.locator("#large dialog[open]").count() == 0


def test_wrong_uploads_are_answered_in_the_line(page: Any, tmp_path: Path) -> None:
    cases = {"large.png": (b"0" * (2 << 20), "more than the 1 MiB"), "text.txt": (b"text", "no picture")}
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        choose(page, tmp_path / name)
        page.locator("#line").get_by_text(message).wait_for()
        assert page.locator("#line p").count() == 1
        assert "".join(page.locator(".toast-wrap").all_inner_texts()) == ""


def test_on_a_phone_the_results_follow_the_canvas(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="hot-dog").click()
    read_results(page, "squared Euclidean distance")
    bottom, top, choices = page.evaluate(
        "[['canvas', 'bottom'], ['photos', 'top'], ['by', 'top']].map(([id, side]) =>"
        " document.getElementById(id).getBoundingClientRect()[side])"
    )
    assert bottom < top < bottom + 300 and top < choices
    page.wait_for_function("document.getElementById('photos').getBoundingClientRect().top < innerHeight / 2")
    sizes = page.evaluate(
        "[...document.querySelectorAll('button')].map(each => each.getBoundingClientRect())"
        ".filter(box => box.width > 0).map(box => Math.min(box.width, box.height))"
    )
    assert len(sizes) > 10 and min(sizes) >= 44


def test_accessible_names_are_the_visible_ones(page: Any) -> None:
    page.get_by_role("button", name="hot-dog", exact=True).click()
    read_results(page, "squared Euclidean distance")
    seen = page.locator("body").aria_snapshot()
    assert "common.complete" not in seen and "icon" not in seen
    assert 'slider "Photos shown"' in seen and "trained on tiny: 3 categories: bear (animal), cat" in seen


def test_icons_stay_when_the_cache_is_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gr = pytest.importorskip("gradio")
    from gradio.route_utils import delete_files_created_by_app

    from phases.serve.answers import Example
    from phases.serve.page import build_example_buttons

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    Image.new("L", (8, 8)).save(tmp_path / "sketch.png")
    with gr.Blocks() as blocks:
        (button,) = build_example_buttons([Example(tmp_path / "sketch.png", "cat")])
    icon = Path(button.icon["path"])
    blocks.temp_file_sets.append({str(icon)})
    assert icon.is_file()
    delete_files_created_by_app(blocks, age=None)
    assert icon.is_file()


@pytest.mark.parametrize(("number", "host"), [(signal.SIGINT, "127.0.0.1"), (signal.SIGTERM, "0.0.0.0")])
def test_a_signal_ends_it_and_leaves_nothing(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, host: str
) -> None:
    pytest.importorskip("gradio")
    monkeypatch.setattr(tempfile, "tempdir", str(trained))
    port, ended = free_port(), threading.Event()
    sent: list[float] = []

    def stop() -> None:
        end = time.monotonic() + 2 * PATIENCE
        while not is_listening(port) and time.monotonic() < end:
            time.sleep(0.05)
        with socket.create_connection(
            ("127.0.0.1", port)
        ) as connection:  # an open page does not delay the end
            connection.sendall(b"GET /gradio_api/heartbeat/here HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            connection.recv(1000)
            assert list(trained.glob("drawings-*"))
            sent.append(time.monotonic())
            os.kill(os.getpid(), number)
            ended.wait(PATIENCE)

    other = threading.Thread(target=stop)
    previous = signal.signal(number, signal.default_int_handler)  # a shell may have it ignored
    other.start()
    try:
        status, output, errors = command(
            "serve", "--save_path=run", f"--host={host}", f"--port={port}", "--hash_bits=4"
        )
        assert time.monotonic() - sent[0] < 8
    finally:
        ended.set()
        other.join()
        signal.signal(number, previous)
    assert status == 128 + number and errors == ""
    assert f"on http://{host}:{port} - Ctrl-C ends" in output and "the page is closed" in output
    assert ("whoever can reach port" in output) == (host == "0.0.0.0")
    assert "Traceback" not in output and not list(trained.glob("drawings-*"))


def test_mistakes_are_reported_before_the_work(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree("logs/run/index", ignore_errors=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, errors = command("serve", "--save_path=run", f"--port={port}")
        assert (
            status == 2
            and f"cannot bind to 127.0.0.1:{port} (" in errors
            and "another port with --port" in errors
        )
    for host in (
        "no.such.host.invalid",
        "192.0.2.1",
    ):  # the second is reserved for documentation: nobody has it
        status, _, errors = command("serve", "--save_path=run", f"--host={host}", f"--port={free_port()}")
        assert status == 2 and f"--host {host} is no address" in errors
    monkeypatch.setitem(sys.modules, "gradio", None)
    status, _, errors = command("serve", "--save_path=run")
    assert status == 2 and "pip install -r requirements/serve.txt" in errors
    assert not Path("logs/run/index").exists()


def test_the_folder_of_the_page_is_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(name: str, age: int) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, ns=(10**18 - age,) * 2)
        return path

    example, old, newer, new = put("example.png", 9), put("a/x", 8), put("b/x", 7), put("c.jpg", 6)
    monkeypatch.setattr(page_files, "MAX_BYTES", 12)
    page_files.trim_folder(tmp_path, frozenset([example]))
    assert example.exists() and newer.exists() and new.exists() and not old.parent.exists()
    monkeypatch.setattr(page_files, "MAX_FILES", 1)
    page_files.trim_folder(tmp_path, frozenset([example]))
    assert example.exists() and new.exists() and not newer.exists() and tmp_path.is_dir()
