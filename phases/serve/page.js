// Functions of the page in the browser; page.py says which event calls which.

// Search a moment after the pen, the eraser or a button of the canvas was let go.
function followStrokes() {
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
}

// Remember whether results were asked for by hand: the page scrolls to them only then, not after every stroke.
// A file above the limit never reaches Gradio, which would put a message of its own beside the page's.
function watchInputs(maxBytes) {
  document.addEventListener('click', (event) => {
    if (event.isTrusted && event.target.closest('#search, #examples button')) window.asked = true;
  }, true);
  document.addEventListener('change', (event) => {
    const file = event.target.type === 'file' && event.target.files[0];
    if (!file) return;
    window.asked = true;
    if (file.size <= maxBytes) return;
    event.stopImmediatePropagation();
    event.target.value = '';
    document.getElementById('too-large').click();
  }, true);
}

// Names for screen readers, which Gradio does not give.
function nameInputs() {
  const upload = document.querySelector('#upload input, input[type=file]');
  if (!upload) return setTimeout(nameInputs, 50);
  upload.accept = 'image/*';
  upload.setAttribute('aria-label', 'Upload a picture');
  document.querySelectorAll('#examples img').forEach((icon) => { icon.alt = ''; });
  for (const input of document.querySelectorAll('#top input'))
    input.setAttribute('aria-label', 'Photos shown');
  document.querySelector('#by')?.setAttribute('aria-label', 'Compare by');
}

// Gradio selects no tool, at first and when the canvas is cleared, and its label speaks of files to drop.
function takePen() {
  const pen = document.querySelector('#canvas .toolbar-wrap button');
  if (!pen) return setTimeout(takePen, 50);
  pen.click();
  pen.closest('[aria-label]:not(button)')?.setAttribute('aria-label', 'Canvas to draw on');
}

function startSearch() {
  document.body.classList.add('searching');
}

// The file that the canvas has uploaded. As an input of the search, the canvas would upload it five times, with
// every step of progress.
function fileOfCanvas(drawing) {
  return (drawing?.composite ?? drawing?.background)?.path ?? '';
}

function showResults() {
  document.body.classList.remove('searching');
  const line = document.getElementById('line');
  if (window.asked && line.getBoundingClientRect().top > innerHeight / 3)
    line.scrollIntoView({ block: 'start' });
  window.asked = false;
}

// A click on a photo of the results.
function choosePhotos(element, trigger) {
  element.addEventListener('click', (event) => {
    const photo = event.target.closest('button');
    if (photo) trigger('click', { photo: photo.dataset.photo });
  });
}

// Open the enlarged photo when it arrives, and close it by its button or a click beside it.
function openDialog(element, watch) {
  watch('value', () => element.querySelector('dialog')?.showModal());
  element.addEventListener('click', (event) => {
    if (event.target.tagName === 'DIALOG' || event.target.closest('button'))
      element.querySelector('dialog').close();
  });
}
