"""The page of --phase=serve: a canvas to draw on, and the photos nearest to the drawing.

page.css is its style, and page.js has what it does in the browser. Inputs come unchecked (preprocess=False):
Gradio would decode a picture before its size is known. `phases.serve.answers` checks them.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any
from urllib.parse import quote

import gradio as gr

from phases.serve.answers import (
    CODES,
    FEATURES,
    MAX_PHOTOS,
    NO_DRAWING,
    Answer,
    Answers,
    Example,
    Photo,
    problem,
    sentence,
)
from phases.serve.guard import FILE
from run.training_data import describe_training
from utils.html import Html, join_html, make_tag

HERE = Path(__file__).parent
CANVAS_SIDE = 640  # pixels
PEN = 4  # pixels, its radius: strokes of 1.25 % of the side are like those of the data sets
QUEUE_SIZE, CONCURRENT_SEARCHES = 64, 2  # with more in the queue, a client is told to try again
CLEAN_EVERY, CLEAN_AFTER = 60, 600  # seconds: files that came in and went out leave the page's folder


def read_style() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


@cache
def read_script() -> str:
    return (HERE / "page.js").read_text(encoding="utf-8")


def js_handler(statements: str) -> str:
    """A JavaScript function of an event's `inputs` that runs `statements`, which may call page.js."""
    return f"(...inputs) => {{\n{read_script()}\n{statements}\n}}"


def build_page(answers: Answers, examples: Sequence[Example], *, follow: bool) -> gr.Blocks:
    """The page; with `follow` it searches after every stroke, else when the button is pressed."""
    with gr.Blocks(
        title="Search photos by drawing",
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY, CLEAN_AFTER),
    ) as blocks:
        gr.HTML(build_heading(answers, follow=follow), elem_id="heading")
        with gr.Row(elem_id="sides"):
            with gr.Column(scale=5, min_width=320):
                canvas = build_canvas()
                with gr.Row(elem_id="actions"):
                    upload = gr.UploadButton("Upload a picture", size="md", elem_id="upload")
                    button = gr.Button("Search", variant="primary", size="md", elem_id="search")
                with gr.Row():
                    by, top = build_choices(answers)
                buttons = build_example_buttons(examples)
            with gr.Column(scale=7, min_width=320):
                line = gr.HTML(sentence(NO_DRAWING), elem_id="line")
                photos = build_scripted_html("photos", "choosePhotos(element, trigger);")
        large = build_scripted_html("large", "openDialog(element, watch);")
        canvas_file = gr.Textbox(visible=False)
        too_large = gr.Button(visible="hidden", elem_id="too-large")

        call: dict[str, Any] = {
            "preprocess": False,
            "show_progress": "hidden",  # Gradio's own puts untranslated texts into the page
            "concurrency_id": "search",
            "api_visibility": "private",
        }
        start = js_handler("startSearch(); return inputs;")
        show = js_handler("showResults();")
        send = js_handler("startSearch(); return fileOfCanvas(inputs[0]);")
        results = [photos, line]
        gr.on([button.click, by.input, top.release], None, canvas, canvas_file, js=send).then(
            partial(search_canvas, answers),
            [canvas_file, by, top],
            results,
            trigger_mode="always_last",
            **call,
        ).then(None, js=show)
        upload.upload(
            partial(search_upload, answers), [upload, by, top], [canvas, *results], js=start, **call
        ).then(None, js=show)
        for example_button, example in zip(buttons, examples, strict=True):
            example_button.click(
                partial(search_example, answers, example), [by, top], [canvas, *results], js=start, **call
            ).then(None, js=show)
        photos.click(make_enlarger(answers), None, large, **call)

        upload_mib = answers.searcher.config.serve.upload_mib
        limit = problem(f"this file has more than the {upload_mib} MiB allowed: make it smaller")
        too_large.click(None, None, line, js=f"() => {json.dumps(limit)}")
        gr.on([blocks.load, canvas.clear], None, js=js_handler("takePen();"))
        blocks.load(None, js=js_handler(f"watchInputs({upload_mib << 20}); nameInputs();"))
        if follow:
            blocks.load(None, js=js_handler("followStrokes();"))
    return blocks.queue(max_size=QUEUE_SIZE, default_concurrency_limit=CONCURRENT_SEARCHES, api_open=False)


def build_scripted_html(name: str, statement: str) -> gr.HTML:
    """An empty piece of HTML that runs `statement` when it is put into the page."""
    script = f"{read_script()}\n{statement}"
    return gr.HTML("", elem_id=name, apply_default_css=False, js_on_load=script)


def build_heading(answers: Answers, *, follow: bool) -> Html:
    searcher = answers.searcher
    text = (
        f"Draw with a mouse, a pen or a finger, and see the nearest of {len(searcher.gallery.names):,} photos"
    )
    text += " after every stroke." if follow else ": press Search."
    parts = [make_tag("h1", "Search photos by drawing"), make_tag("p", text)]
    parts.append(make_tag("p", f"The network was {describe_training(searcher.checkpoint)}."))
    if searcher.warning:
        parts.append(problem(searcher.warning))
    return join_html(parts)


def build_canvas() -> gr.Sketchpad:
    return gr.Sketchpad(
        label="Your drawing",
        show_label=False,
        height=480,
        canvas_size=(CANVAS_SIDE, CANVAS_SIDE),
        fixed_canvas=True,
        brush=gr.Brush(default_size=PEN, colors=["#000000"], color_mode="fixed"),
        eraser=gr.Eraser(default_size=5 * PEN),
        layers=False,
        transforms=(),
        buttons=[],
        format="png",
        elem_id="canvas",
    )


def build_choices(answers: Answers) -> tuple[gr.Radio, gr.Slider]:
    """The choice of what photos are compared by, and of how many are shown."""
    config = answers.searcher.config
    by = gr.Radio(
        list(answers.indices),
        value=CODES if config.search.index == "binary" and CODES in answers.indices else FEATURES,
        label="Compare by",
        info=None if CODES in answers.indices else "There are no hash codes with this checkpoint.",
        interactive=CODES in answers.indices,
        scale=6,
        elem_id="by",
    )
    most = min(MAX_PHOTOS, len(answers.searcher.gallery.names))
    return by, gr.Slider(
        1,
        most,
        value=min(config.search.top, most),
        step=1,
        label="Photos shown",
        scale=5,
        buttons=[],
        elem_id="top",
    )


def build_example_buttons(examples: Sequence[Example]) -> list[gr.Button]:
    if not examples:
        return []
    gr.HTML(make_tag("p", "Or try a sketch of the test set:"))
    with gr.Row(elem_id="examples"):
        buttons = [
            gr.Button(example.category, icon=example.path, size="sm", min_width=100) for example in examples
        ]
    for button in buttons:  # else `delete_cache` removes the icons
        button.keep_in_cache.add(button.icon["path"])
    return buttons


def search_canvas(answers: Answers, path: Any, by: Any, top: Any) -> tuple[Any, ...]:
    """Results and message for what is on the canvas, which was uploaded as the file at `path`."""
    answer = answers.search_canvas(path, by, top)
    return render_photos(answer.photos), answer.message


def search_upload(answers: Answers, file: Any, by: Any, top: Any) -> tuple[Any, ...]:
    """Canvas, results and message for an uploaded file."""
    path = file.get("path") if isinstance(file, dict) else None
    return with_canvas(answers.search_upload(path, by, top))


def search_example(answers: Answers, example: Example, by: Any, top: Any) -> tuple[Any, ...]:
    """Canvas, results and message for an example."""
    return with_canvas(answers.search_sketch(example.path, by, top))


def with_canvas(answer: Answer) -> tuple[Any, ...]:
    """Canvas, results and message; without a drawing, canvas and results stay as they are."""
    if answer.drawing is None:
        return gr.skip(), gr.skip(), answer.message
    layers = {"background": answer.drawing.image, "layers": [], "composite": None}
    return layers, render_photos(answer.photos), answer.message


def render_photos(photos: Sequence[Photo]) -> Html:
    """The results, nearest first, each a button with what is in the photo."""
    if not photos:
        return Html("")
    return make_tag("ol", *(make_tag("li", render_photo(photo)) for photo in photos))


def render_photo(photo: Photo) -> Html:
    name = make_tag("span", f"{photo.rank}. {photo.title}")
    distance = make_tag("span", photo.distance)
    return make_tag(
        "button", render_image(photo, ""), name, distance, type="button", data_photo=photo.copy.stem
    )


def render_image(photo: Photo, alt: str) -> Html:
    return Html('<img src="{}" alt="{}">').format(FILE + quote(str(photo.copy)), alt)


def make_enlarger(answers: Answers) -> Callable[[gr.EventData], Html]:
    """The handler of a click on a photo: it returns a dialog with the photo, larger, and its path."""

    def enlarge(event: gr.EventData) -> Html:
        enlarged = answers.enlarge(getattr(event, "photo", None))
        if enlarged is None:
            return Html("")
        photo, path = enlarged
        title = make_tag("h2", photo.title, id="large-title")
        header = make_tag("header", title, make_tag("button", "Close", type="button"))
        content = (header, render_image(photo, photo.title), make_tag("p", path))
        # the mark makes the value another when the same photo is clicked again
        return make_tag("dialog", *content, aria_labelledby="large-title", data_mark=perf_counter_ns())

    return enlarge


def build_theme() -> gr.themes.Base:
    """Fonts of the system only, and colours with enough contrast."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    base = gr.themes.Default(primary_hue="blue", neutral_hue="gray", font=fonts, font_mono=mono)
    return base.set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800"
    )
