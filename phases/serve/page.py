"""The page of --phase=serve: a canvas to draw on, and the photos nearest to the drawing.

What the page sends comes unchecked (preprocess=False): Gradio would decode a picture before its size is
known. `phases.serve.answers` looks at it first.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any
from urllib.parse import quote

import gradio as gr

from phases.serve.answers import CODES, FEATURES, MOST, NO_DRAWING, Answer, Answers, Example, Photo, problem
from phases.serve.answers import message as sentence
from phases.serve.guard import FILE
from run.training_data import describe_training
from utils.html import Html, element, joined

CANVAS = 640  # pixels of the canvas's side
PEN = 4  # its radius: strokes of 1.25 % of the side are like those of the data sets
WAITING, AT_ONCE = 64, 2  # searches; with more than that a client is told to try again
CLEAN_EVERY, CLEAN_AFTER = 60, 600  # seconds: what was sent and shown leaves the page's folder
CSS = """
.gradio-container { width: 100%; max-width: 84rem !important; margin: 0 auto !important; }
#heading h1 { font-size: 1.6rem; margin: 0; }
#heading p { margin: .2rem 0 0; color: #404040; }
#line p { margin: 0; color: #303030; }
.gradio-container p.problem { border-left: .4rem solid #d55e00; background: #fdf1e9; color: #202020;
  padding: .5rem .8rem; }
#canvas .toolbar-wrap .right button[style*="rgb(0, 0, 0)"] { display: none; } /* the choice of one colour */
.gradio-container .min_value, .gradio-container .max_value { color: #525252; }
.gradio-container :is(button, a, input, label, [tabindex]):focus-visible,
.gradio-container label:has(input:focus-visible), .gradio-container dialog:focus-visible {
  outline: 3px solid #00548a !important; outline-offset: 2px; }
.gradio-container button, #by label { min-height: 44px; }
#canvas button { min-width: 44px; justify-content: center; }
#canvas .toolbar-wrap { width: 48px !important; }
/* the canvas always fits: undo, redo and clear are enough */
#canvas :is([title^="Zoom"], [title="Pan"]), #canvas .top-panel > :not(button) { display: none; }
#top input[type=range] { min-height: 44px; }
#top .tab-like-container { height: auto; }
#top input[type=number] { min-height: 44px; min-width: 60px; }
#examples button { padding: .3rem .5rem; }
#examples img { width: 2.5rem; height: 2.5rem; object-fit: contain; }
#photos ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(8rem, 30%), 1fr)); }
#photos li { margin: 0; }
#photos button { display: flex; flex-direction: column; width: 100%; height: 100%; padding: 0;
  cursor: zoom-in; text-align: left; background: none; color: #202020;
  border: 1px solid #d5d5d5; border-radius: 4px; }
#photos img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #f4f4f4; margin: 0; }
#photos span { padding: .2rem .4rem 0; overflow-wrap: anywhere; line-height: 1.3; }
#photos span + span { padding: 0 .4rem .3rem; color: #505050; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
body.searching #photos { opacity: .5; }
#large dialog { margin: auto; padding: 1rem; border: 1px solid #707070; border-radius: 6px; color: #202020;
  background: #fff; max-width: min(96vw, 70rem); }
#large dialog::backdrop { background: rgb(0 0 0 / .6); }
#large img { max-width: 100%; max-height: 75vh; margin: .5rem auto; display: block; }
#large h2 { font-size: 1.1rem; margin: 0; }
#large p { margin: .25rem 0 0; overflow-wrap: anywhere; user-select: all; }
#large header { display: flex; justify-content: space-between; align-items: center; gap: 1rem; }
#large button { padding: 0 1rem; border: 1px solid #707070; border-radius: 4px; background: #f4f4f4; }
@media (max-width: 50rem) {
  /* one column: the results come right under the canvas, the choices after them */
  #sides { display: flex; flex-direction: column; }
  #sides > .column { display: contents; }
  #sides > .column > * { order: 3; }
  #canvas { order: 0 !important; height: 340px !important; }
  #actions { order: 1 !important; flex-wrap: nowrap; }
  #actions > * { min-width: 0 !important; }
  #line, #photos { order: 2 !important; }
  #photos span, #photos span + span { padding-left: .25rem; padding-right: 0; }
  #photos span + span { font-size: .75rem; }
}
"""
# A search a moment after the pen, the eraser or a button of the canvas was let go
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
# Whether the results were asked for by hand: they are scrolled to only then, not after every stroke. A file
# that is too large never reaches Gradio, which would put a message of its own beside the page's.
WATCH = """() => {
  document.addEventListener('click', (event) => {
    if (event.isTrusted && event.target.closest('#search, #examples button')) window.asked = true;
  }, true);
  document.addEventListener('change', (event) => {
    const file = event.target.type === 'file' && event.target.files[0];
    if (!file) return;
    window.asked = true;
    if (file.size <= LIMIT) return;
    event.stopImmediatePropagation();
    event.target.value = '';
    document.getElementById('too-large').click();
  }, true);
  const name = () => {
    const input = document.querySelector('#upload input, input[type=file]');
    if (!input) return setTimeout(name, 50);
    input.accept = 'image/*';
    input.setAttribute('aria-label', 'Upload a picture');
    document.querySelectorAll('#examples img').forEach((icon) => { icon.alt = ''; });
    for (const input of document.querySelectorAll('#top input'))
      input.setAttribute('aria-label', 'Photos shown');
    document.querySelector('#by')?.setAttribute('aria-label', 'Compare by');
  };
  name();
}"""
# The canvas uploads itself, and what arrives there is named. As an input of the search it would do so five
# times, with every step of progress.
SEND = """(drawing) => {
  document.body.classList.add('searching');
  return (drawing?.composite ?? drawing?.background)?.path ?? '';
}"""
START = "(...given) => { document.body.classList.add('searching'); return given; }"
SHOW = """() => {
  document.body.classList.remove('searching');
  const line = document.getElementById('line');
  if (window.asked && line.getBoundingClientRect().top > innerHeight / 3)
    line.scrollIntoView({ block: 'start' });
  window.asked = false;
}"""
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
# On the list of results and on the large view, when Gradio has put them into the page
CHOOSE = """element.addEventListener('click', (event) => {
  const photo = event.target.closest('button');
  if (photo) trigger('click', { photo: photo.dataset.photo });
});"""
OPEN = """watch('value', () => element.querySelector('dialog')?.showModal());
element.addEventListener('click', (event) => {
  if (event.target.tagName === 'DIALOG' || event.target.closest('button'))
    element.querySelector('dialog').close();
});"""


def page(answers: Answers, examples: Sequence[Example], *, follow: bool) -> gr.Blocks:
    """The page; with `follow` it searches after every stroke, else when the button is pressed."""
    upload_mib = answers.searcher.config.serve.upload_mib
    with gr.Blocks(
        title="Search photos by drawing",
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(CLEAN_EVERY, CLEAN_AFTER),
    ) as blocks:
        gr.HTML(heading(answers, follow=follow), elem_id="heading")
        with gr.Row(elem_id="sides"):
            with gr.Column(scale=5, min_width=320):
                canvas = paper()
                with gr.Row(elem_id="actions"):
                    upload = gr.UploadButton("Upload a picture", size="md", elem_id="upload")
                    button = gr.Button("Search", variant="primary", size="md", elem_id="search")
                with gr.Row():
                    by, top = choices(answers)
                tries = example_buttons(examples)
            with gr.Column(scale=7, min_width=320):
                line = gr.HTML(sentence(NO_DRAWING), elem_id="line")
                photos = gr.HTML("", elem_id="photos", apply_default_css=False, js_on_load=CHOOSE)
        large = gr.HTML("", elem_id="large", apply_default_css=False, js_on_load=OPEN)
        sent = gr.Textbox(visible=False)
        too_large = gr.Button(visible="hidden", elem_id="too-large")
        given, shown = [by, top], [photos, line]
        call: dict[str, Any] = {
            "preprocess": False,
            "show_progress": "hidden",  # Gradio's own puts untranslated texts into the page
            "concurrency_id": "search",
            "api_visibility": "private",
        }
        gr.on([button.click, by.input, top.release], None, canvas, sent, js=SEND).then(
            partial(drawn, answers), [sent, *given], shown, trigger_mode="always_last", **call
        ).then(None, js=SHOW)
        upload.upload(partial(uploaded, answers), [upload, *given], [canvas, *shown], js=START, **call).then(
            None, js=SHOW
        )
        for each, example in zip(tries, examples, strict=True):
            each.click(partial(tried, answers, example), given, [canvas, *shown], js=START, **call).then(
                None, js=SHOW
            )
        photos.click(enlarge_with(answers), None, large, **call)
        limit = problem(f"this file has more than the {upload_mib} MiB allowed: make it smaller")
        too_large.click(None, None, line, js=f"() => {json.dumps(limit)}")
        gr.on([blocks.load, canvas.clear], None, js=TAKE_PEN)
        blocks.load(None, js=WATCH.replace("LIMIT", str(upload_mib << 20)))
        if follow:
            blocks.load(None, js=FOLLOW)
    return blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE, api_open=False)


def heading(answers: Answers, *, follow: bool) -> Html:
    searcher = answers.searcher
    text = (
        f"Draw with a mouse, a pen or a finger, and see the nearest of {len(searcher.gallery.names):,} photos"
    )
    text += " after every stroke." if follow else ": press Search."
    parts = [element("h1", "Search photos by drawing"), element("p", text)]
    parts.append(element("p", f"The network was {describe_training(searcher.checkpoint)}."))
    if searcher.warning:
        parts.append(problem(searcher.warning))
    return joined(parts)


def paper() -> gr.Sketchpad:
    return gr.Sketchpad(
        label="Your drawing",
        show_label=False,
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
    most = min(MOST, len(answers.searcher.gallery.names))
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


def example_buttons(examples: Sequence[Example]) -> list[gr.Button]:
    if not examples:
        return []
    gr.HTML(element("p", "Or try a sketch of the test set:"))
    with gr.Row(elem_id="examples"):
        buttons = [gr.Button(each.category, icon=each.path, size="sm", min_width=100) for each in examples]
    for button in buttons:  # else `delete_cache` takes the icons away
        button.keep_in_cache.add(button.icon["path"])
    return buttons


def drawn(answers: Answers, path: Any, by: Any, top: Any) -> tuple[Any, ...]:
    """What is shown for what is on the canvas, which came as the file at `path`."""
    answer = answers.search_canvas(path, by, top)
    return photo_list(answer.photos), answer.line


def uploaded(answers: Answers, file: Any, by: Any, top: Any) -> tuple[Any, ...]:
    """The same for a file, which is put onto the canvas."""
    return on_canvas(answers.search_upload(file.get("path") if isinstance(file, dict) else None, by, top))


def tried(answers: Answers, example: Example, by: Any, top: Any) -> tuple[Any, ...]:
    return on_canvas(answers.search_sketch(example.path, by, top))


def on_canvas(answer: Answer) -> tuple[Any, ...]:
    if answer.drawing is None:  # what was there stays
        return gr.skip(), gr.skip(), answer.line
    layers = {"background": answer.drawing.image, "layers": [], "composite": None}
    return layers, photo_list(answer.photos), answer.line


def photo_list(photos: Sequence[Photo]) -> Html:
    """The results, nearest first; each is a button, which says what is in the photo."""
    return element("ol", *(element("li", photo_button(photo)) for photo in photos)) if photos else Html("")


def photo_button(photo: Photo) -> Html:
    name = element("span", f"{photo.rank}. {photo.name}")
    distance = element("span", photo.distance)
    return element("button", picture(photo, ""), name, distance, type="button", data_photo=photo.copy.stem)


def picture(photo: Photo, alt: str) -> Html:
    return Html('<img src="{}" alt="{}">').format(FILE + quote(str(photo.copy)), alt)


def enlarge_with(answers: Answers) -> Callable[[gr.EventData], Html]:
    """What answers to the choice of a photo: a dialog with the photo, larger, and its path."""

    def enlarge(event: gr.EventData) -> Html:
        chosen = answers.enlarge(getattr(event, "photo", None))
        if chosen is None:
            return Html("")
        photo, path = chosen
        title = element("h2", photo.name, id="large-title")
        head = element("header", title, element("button", "Close", type="button"))
        # the mark makes it another value when the same photo is chosen again
        mark = perf_counter_ns()
        content = (head, picture(photo, photo.name), element("p", path))
        return element("dialog", *content, aria_labelledby="large-title", data_mark=mark)

    return enlarge


def theme() -> gr.themes.Base:
    """Fonts of the system alone, and colours that can be told from their ground."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    base = gr.themes.Default(primary_hue="blue", neutral_hue="gray", font=fonts, font_mono=mono)
    return base.set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800"
    )
