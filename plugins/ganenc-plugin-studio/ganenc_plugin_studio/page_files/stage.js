// A picture to work on with the mouse. `props.picture` is its address, `props.value` what is marked, as JSON, in pixels
// of the image of `size` [height, width]: a crop as `box` [top, left, height, width]; or `points` and `targets`, pairs of
// x and y, and `strokes` [x, y, radius], which together are what may move.
const stage = element.querySelector('.stage'), canvas = stage.querySelector('canvas'), pen = canvas.getContext('2d');
const hint = stage.querySelector('.hint'), picture = new Image();
let marks = null, tool = 'point', held = null;

const sizeOf = () => marks.size;
const scale = () => canvas.width / sizeOf()[1];

function read() {
  try { marks = props.value ? JSON.parse(props.value) : null; } catch { marks = null; }
  const usable = marks && marks.size && props.picture;
  stage.classList.toggle('empty', !usable);
  stage.classList.toggle('crops', Boolean(marks && marks.box));
  if (!usable) { hint.textContent = props.nothing || ''; return; }
  if (picture.src !== props.picture) picture.src = props.picture; else draw();
}

function draw() {
  if (!marks || !picture.naturalWidth) return;
  const [height, width] = sizeOf(), wide = Math.max(512, picture.naturalWidth);
  canvas.width = wide; canvas.height = Math.round(wide * height / width);
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (marks.box) drawBox(); else drawDrag();
}

function drawBox() {
  const [top, left, height, width] = marks.box.map((one) => one * scale());
  pen.fillStyle = 'rgba(0, 0, 0, 0.5)';
  pen.beginPath();
  pen.rect(0, 0, canvas.width, canvas.height);
  pen.rect(left, top, width, height);
  pen.fill('evenodd');
  pen.lineWidth = canvas.width / 160; pen.strokeStyle = '#ffffff';
  pen.strokeRect(left, top, width, height);
  pen.fillStyle = '#ffffff';
  const side = canvas.width / 28;
  pen.fillRect(left + width - side, top + height - side, side, side);
  hint.textContent = 'Drag the frame to move it, its lower right corner to change its size.';
}

function drawDrag() {
  const shown = (at) => at.map((one) => (one + 0.5) * scale()), dot = canvas.width / 50;
  if (marks.strokes && marks.strokes.length) {
    const veil = document.createElement('canvas');
    veil.width = canvas.width; veil.height = canvas.height;
    const over = veil.getContext('2d');
    over.fillStyle = '#000'; over.fillRect(0, 0, veil.width, veil.height);
    over.globalCompositeOperation = 'destination-out';
    for (const [x, y, radius] of marks.strokes) {
      over.beginPath(); over.arc(...shown([x, y]), radius * scale(), 0, 7); over.fill();
    }
    pen.globalAlpha = 0.45; pen.drawImage(veil, 0, 0); pen.globalAlpha = 1;
  }
  marks.points.forEach((point, place) => {
    const from = shown(point), to = shown(marks.targets[place]);
    pen.lineWidth = dot / 2; pen.lineCap = 'round';
    for (const [colour, width] of [['#000000', dot / 1.4], ['#ffffff', dot / 2.6]]) {
      pen.strokeStyle = colour; pen.lineWidth = width;
      pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke();
    }
    for (const [[x, y], colour] of [[from, '#e5484d'], [to, '#3e63dd']]) {
      pen.fillStyle = colour; pen.strokeStyle = '#ffffff'; pen.lineWidth = dot / 4;
      pen.beginPath(); pen.arc(x, y, dot, 0, 7); pen.fill(); pen.stroke();
    }
  });
  hint.textContent = tool === 'paint' ? 'Paint over what may move; the rest stays.'
    : 'Press on a point, pull it to where it shall go, and let go.';
}

function place(event) {
  const box = canvas.getBoundingClientRect(), [height, width] = sizeOf();
  const x = (event.clientX - box.left) / box.width * width, y = (event.clientY - box.top) / box.height * height;
  const bound = (one, most) => Math.max(0, Math.min(most, one));
  return marks.box ? [x, y] : [bound(x - 0.5, width - 1), bound(y - 0.5, height - 1)];
}

function paint([x, y]) {
  const radius = Math.max(...sizeOf()) / 14, strokes = marks.strokes || [], last = strokes.at(-1);
  if (last && Math.hypot(x - last[0], y - last[1]) < radius / 4) return;
  marks.strokes = [...strokes, [x, y, radius].map((one) => Math.round(100 * one) / 100)];
}

canvas.addEventListener('pointerdown', (event) => {
  if (!marks) return;
  event.preventDefault(); canvas.setPointerCapture(event.pointerId);
  const at = place(event);
  if (marks.box) {
    const [top, left, height, width] = marks.box, near = sizeOf()[1] / 12;
    const grips = Math.abs(at[0] - left - width) < near && Math.abs(at[1] - top - height) < near;
    held = { at, box: [...marks.box], grips };
  } else if (tool === 'paint') { held = { paints: true }; paint(at); } else {
    held = { point: marks.points.length };
    marks.points.push(at); marks.targets.push([...at]);
  }
  draw();
});

canvas.addEventListener('pointermove', (event) => {
  if (!held || !marks) return;
  const at = place(event);
  if (held.box) {
    const [x, y] = [at[0] - held.at[0], at[1] - held.at[1]], [top, left, height, width] = held.box;
    const grown = Math.max(8, width + Math.max(x, y * width / height));
    marks.box = held.grips ? [top, left, grown * height / width, grown] : [top + y, left + x, height, width];
  } else if (held.paints) paint(at); else marks.targets[held.point] = at;
  draw();
});

function release() {
  if (!held || !marks) return;
  if (held.point !== undefined) {
    const [from, to] = [marks.points[held.point], marks.targets[held.point]];
    if (Math.hypot(from[0] - to[0], from[1] - to[1]) < 0.5) { marks.points.pop(); marks.targets.pop(); }
  }
  held = null; draw(); send();
}
canvas.addEventListener('pointerup', release);
canvas.addEventListener('pointercancel', release);

function send() { props.value = JSON.stringify(marks); trigger('input'); }

stage.querySelector('.tools').addEventListener('click', (event) => {
  const chosen = event.target.dataset.tool;
  if (!chosen || !marks) return;
  if (chosen === 'clear') { Object.assign(marks, { points: [], targets: [], strokes: [] }); send(); } else tool = chosen;
  choose(); draw();
});

function choose() {
  for (const button of stage.querySelectorAll('[data-tool]')) button.classList.toggle('chosen', button.dataset.tool === tool);
}

picture.addEventListener('load', draw);
watch(['value', 'picture'], read);
choose();
read();
