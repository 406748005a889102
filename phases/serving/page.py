"""The page of --phase=serve: a canvas to draw on, and the photos nearest to the drawing.

What the page sends comes unchecked (preprocess=False): Gradio would decode a picture before its size is
known. `phases.serving.answers` looks at it first.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from phases.serving.answers import CODES, FEATURES, MOST, NOTHING, Answer, Answers, Example
from utils.page import Html, element

CANVAS = 640  # pixels of the canvas's side
PEN = 4  # its radius: strokes of 1.25 % of the side are like those of the data sets
WAITING, AT_ONCE = 64, 2  # searches; with more than that a client is told to try again
CLEAN_EVERY, CLEAN_AFTER = 60, 600  # seconds: what was sent and shown leaves the page's folder
CSS = """
.gradio-container { width: 100%; max-width: 84rem !important; margin: 0 auto !important; }
#heading h1 { font-size: 1.6rem; margin: 0; }
#heading p { margin: .2rem 0 0; color: #404040; }
#line p { margin: 0; color: #303030; }
#line p.problem { border-left: .4rem solid #d55e00; background: #fdf1e9; padding: .5rem .8rem; }
#canvas .toolbar-wrap .right button[style*="rgb(0, 0, 0)"] { display: none; } /* the choice of one colour */
.gradio-container .min_value, .gradio-container .max_value { color: #525252; }
#examples button { padding: .3rem .5rem; }
#examples img { width: 2.5rem; height: 2.5rem; object-fit: contain; }
#photos { border-width: 0 !important; }
#photos .empty { display: none; }
#photos .grid-wrap { min-height: 0; max-height: none; padding: 0; }
#photos .grid-container { padding: 0; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(8rem, 30%), 1fr)); }
#photos .thumbnail-item { height: auto; aspect-ratio: auto; display: flex; flex-direction: column; }
#photos .thumbnail-item img { aspect-ratio: 1; background: #f4f4f4; }
#photos .caption-label { position: static; width: 100%; max-width: none; white-space: normal; border: none;
  border-radius: 0; padding: .3rem .4rem; text-align: left; color: #202020; overflow-wrap: anywhere; }
@media (max-width: 50rem) { #canvas { height: 380px !important; } }
"""
# a search a moment after the pen, the eraser or a button of the canvas was let go
FOLLOW = """() => {
  let timer, drawing = false;
  document.addEventListener('pointerdown', (event) => {
    drawing = event.target.closest('#canvas') !== null;
    if (drawing) clearTimeout(timer);
  }, true);
  window.addEventListener('pointerup', () => {
    if (!drawing) return;
    drawing = false;
    timer = setTimeout(() => document.getElementById('search').click(), 500);
  }, true);
}"""
# The canvas uploads itself, and what arrives there is named. As an input of the search it would do so five
# times, with every step of progress.
SEND = "(drawing) => (drawing?.composite ?? drawing?.background)?.path ?? ''"
# Gradio leaves no tool in the hand, at first and when the canvas is cleared, and speaks of files to drop
TAKE_PEN = """() => {
  const take = () => {
    const pen = document.querySelector('#canvas .toolbar-wrap button');
    if (!pen) return setTimeout(take, 50);
    pen.click();
    pen.closest('[aria-label]:not(button)')?.setAttribute('aria-label', 'Canvas to draw on');
  };
  take();
}"""


def page(answers: Answers, examples: Sequence[Example], *, follow: bool) -> gr.Blocks:
    """The page; with `follow` it searches after every stroke, else when the button is pressed."""
    with gr.Blocks(
        title="Search photos by drawing",
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY, CLEAN_AFTER),
    ) as blocks:
        gr.HTML(heading(len(answers.searcher.gallery.names), follow=follow), elem_id="heading")
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                canvas = paper()
                with gr.Row():
                    upload = gr.UploadButton("Upload a picture", file_types=["image"], size="md")
                    button = gr.Button("Search", variant="primary", size="md", elem_id="search")
                with gr.Row():
                    by, top = choices(answers)
                tries = example_buttons(examples)
            with gr.Column(scale=7, min_width=320):
                line = gr.HTML(NOTHING, elem_id="line")
                photos = results()
        sent = gr.Textbox(visible=False)
        given, shown = [by, top], [photos, line]
        search: dict[str, Any] = {
            "preprocess": False,
            "show_progress": "minimal",
            "show_progress_on": photos,
            "concurrency_id": "search",
            "api_visibility": "private",
        }
        gr.on([button.click, by.input, top.release], None, canvas, sent, js=SEND).then(
            partial(drawn, answers), [sent, *given], shown, trigger_mode="always_last", **search
        )
        upload.upload(partial(uploaded, answers), [upload, *given], [canvas, *shown], **search)
        for each, example in zip(tries, examples, strict=True):
            each.click(partial(tried, answers, example), given, [canvas, *shown], **search)
        gr.on([blocks.load, canvas.clear], None, js=TAKE_PEN)
        if follow:
            blocks.load(None, js=FOLLOW)
    return blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE, api_open=False)


def heading(photos: int, *, follow: bool) -> Html:
    text = f"Draw with a mouse, a pen or a finger, and see the nearest of {photos:,} photos"
    text += " after every stroke." if follow else ": press Search."
    return Html(element("h1", "Search photos by drawing") + element("p", text))


def paper() -> gr.Sketchpad:
    return gr.Sketchpad(
        label="Your drawing",
        height=480,
        canvas_size=(CANVAS, CANVAS),
        fixed_canvas=True,
        brush=gr.Brush(default_size=PEN, colors=["#000000"], color_mode="fixed"),
        eraser=gr.Eraser(default_size=5 * PEN),
        layers=False,
        transforms=(),
        buttons=[],
        format="png",
        elem_id="canvas",
    )


def choices(answers: Answers) -> tuple[gr.Radio, gr.Slider]:
    """By what photos are compared, and how many are shown."""
    options = answers.searcher.options
    by = gr.Radio(
        list(answers.indices),
        value=CODES if options.index == "binary" and CODES in answers.indices else FEATURES,
        label="Compare by",
        info=None if CODES in answers.indices else "There are no hash codes with this checkpoint.",
        interactive=CODES in answers.indices,
        scale=6,
    )
    most = min(MOST, len(answers.searcher.gallery.names))
    return by, gr.Slider(1, most, value=min(options.top, most), step=1, label="Photos shown", scale=5)


def example_buttons(examples: Sequence[Example]) -> list[gr.Button]:
    if not examples:
        return []
    gr.HTML(element("p", "Or try a sketch of the test set:"))
    with gr.Row(elem_id="examples"):
        return [gr.Button(each.category, icon=each.path, size="sm", min_width=100) for each in examples]


def results() -> gr.Gallery:
    return gr.Gallery(
        label="Photos, nearest first",
        show_label=False,
        height="auto",
        object_fit="contain",
        interactive=False,
        buttons=[],
        elem_id="photos",
    )


def drawn(answers: Answers, path: Any, by: Any, top: Any) -> tuple[Any, ...]:
    """What is shown for what is on the canvas, which came as the file at `path`."""
    answer = answers.to_upload(path, by, top)
    return answer.photos, answer.line


def uploaded(answers: Answers, file: Any, by: Any, top: Any) -> tuple[Any, ...]:
    """The same for a file, which is put onto the canvas."""
    return on_canvas(answers.to_upload(file["path"], by, top))


def tried(answers: Answers, example: Example, by: Any, top: Any) -> tuple[Any, ...]:
    return on_canvas(answers.to_sketch(example.path, by, top))


def on_canvas(answer: Answer) -> tuple[Any, ...]:
    if answer.drawing is None:  # what was there stays
        return gr.skip(), gr.skip(), answer.line
    layers = {"background": answer.drawing.image, "layers": [], "composite": None}
    return layers, answer.photos, answer.line


def theme() -> gr.themes.Base:
    """Fonts of the system alone, and colours that can be told from their ground."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    base = gr.themes.Default(primary_hue="blue", neutral_hue="gray", font=fonts, font_mono=mono)
    return base.set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800"
    )
