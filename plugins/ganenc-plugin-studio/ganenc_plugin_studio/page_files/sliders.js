// Sliders, one a direction. `props.value` is JSON: `moves`, pairs of a direction and how far, and `key`, by which the
// session's picture of a move under way is asked for. Let go, the move is `moved`, another such pair.
const list = element.querySelector('.sliders');
let told = {}, next = null, going = null, held = null, before = '';

const after = () => document.querySelectorAll('#wipe img')[1];

function read() {
  try { told = JSON.parse(props.value || '{}'); } catch { told = {}; }
  const moves = told.moves || [], names = JSON.stringify(moves.map(([name]) => name));
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...moves.map(([name], place) => row(name, place)));
  }
  moves.forEach(([, far], place) => { if (place !== held) put(place, far); });
  const image = after();
  if (image && held === null && image.src.startsWith('blob:')) image.src = before;  // It came back to where it was.
}

function put(place, far, but) {
  for (const input of list.children[place].querySelectorAll('input')) if (input !== but) input.value = far;
}

function row(name, place) {
  const one = document.createElement('div'), label = document.createElement('span');
  one.className = 'slider'; one.id = `slider-${place}`; label.textContent = name;
  one.append(label);
  for (const type of ['number', 'range']) {
    const input = Object.assign(document.createElement('input'), { type, min: -4, max: 4, step: 0.05, value: 0 });
    const far = () => Math.max(-4, Math.min(4, Number(input.value) || 0));
    input.setAttribute('aria-label', name);
    input.addEventListener('input', () => { held = place; put(place, far(), input); ask(name, far()); });
    input.addEventListener('change', () => { put(place, far()); release(name, far()); });
    one.append(input);
  }
  return one;
}

// One picture at a time is asked for, and the last move that was made in the meantime next.
function ask(direction, strength) { next = { direction, strength }; going ||= answer(); }

async function answer() {
  try {
    while (next) {
      const asked = new URLSearchParams(next);
      next = null;
      const answered = await fetch(`live?${asked}`, { headers: { 'x-session': told.key } });
      if (!answered.ok) break;
      show(await answered.blob());
    }
  } catch { /* What is wrong is told when it is let go. */ }
  next = going = null;
}

function show(picture) {
  const image = after();
  if (!image) return;
  if (image.src.startsWith('blob:')) URL.revokeObjectURL(image.src); else before = image.src;
  image.src = URL.createObjectURL(picture);
}

async function release(direction, strength) {
  next = null;
  await going;
  held = null;
  props.value = JSON.stringify({ ...told, moved: [direction, strength] });
  trigger('input');
}

watch('value', read);
read();
