// What of a map is seen: a middle, and how near; moved by mouse, fingers and keys.
const EDGE = 24, NEAREST = 4000; // pixels around all points; how much nearer one can come
const STEP = 0.15, NEARER = 1.4, WHEEL = 0.002; // of a screen; by a key; by a pixel of the wheel
const STILL = 5; // pixels that a click may move

export function camera(canvas, box, changed) {
  const home = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const seen = { middle: [...home], zoom: 1, wide: 1, high: 1, unit, at, place, move, zoom_by, whole, write, read, measure };

  // Pixels of a unit of the map.
  function unit() {
    const across = Math.max(box[2] - box[0], 1e-6), up = Math.max(box[3] - box[1], 1e-6);
    return Math.max(1, Math.min((seen.wide - 2 * EDGE) / across, (seen.high - 2 * EDGE) / up)) * seen.zoom;
  }

  // Where on the canvas a place of the map is, and the other way round.
  function at(x, y) {
    return [(x - seen.middle[0]) * unit() + seen.wide / 2, (seen.middle[1] - y) * unit() + seen.high / 2];
  }

  function place(x, y) {
    return [(x - seen.wide / 2) / unit() + seen.middle[0], seen.middle[1] - (y - seen.high / 2) / unit()];
  }

  function move(across, down) {
    seen.middle[0] = within(seen.middle[0] - across / unit(), box[0], box[2]);
    seen.middle[1] = within(seen.middle[1] + down / unit(), box[1], box[3]);
    changed();
  }

  function zoom_by(factor, x = seen.wide / 2, y = seen.high / 2) {
    const before = place(x, y);
    seen.zoom = within(seen.zoom * factor, 0.5, NEAREST);
    const [nowX, nowY] = at(...before);
    move(x - nowX, y - nowY);
  }

  function whole() {
    seen.middle = [...home];
    seen.zoom = 1;
    changed();
  }

  // As the address has it; nothing where all is seen.
  function write() {
    if (seen.zoom === 1 && seen.middle.every((one, axis) => one === home[axis])) return "";
    return [...seen.middle.map((one) => Number(one.toFixed(6))), Number(seen.zoom.toPrecision(5))].join(",");
  }

  function read(text) {
    const numbers = (text || "").split(",").map(Number);
    if (numbers.length !== 3 || !numbers.every(Number.isFinite)) return whole();
    seen.zoom = within(numbers[2], 0.5, NEAREST);
    seen.middle = numbers.slice(0, 2);
    move(0, 0);
  }

  function measure() {
    [seen.wide, seen.high] = [canvas.clientWidth, canvas.clientHeight];
    changed();
  }

  return seen;
}

function within(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

// What hands do on the canvas: moves and zooms go to the camera; the rest is told to `hears`: `over`, `away`, `click`,
// `twice`, and `line`, `around` while and after a line is drawn, which `draws` asks for.
export function hands(canvas, seen, draws, hears) {
  const down = new Map();
  let line = null, moved = 0, apart = 0;

  function where(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function spread() {
    const [one, two] = [...down.values()];
    return [Math.hypot(one[0] - two[0], one[1] - two[1]), (one[0] + two[0]) / 2, (one[1] + two[1]) / 2];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, where(event));
    if (down.size === 1) {
      moved = 0;
      line = event.shiftKey || draws() ? [seen.place(...where(event))] : null;
    } else if (down.size === 2) {
      line = null;
      hears.line(null);
      apart = spread()[0];
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId), now = where(event);
    if (!before) return hears.over(...now);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (moved < STILL && down.size === 1) return;
    down.set(event.pointerId, now);
    if (line) {
      line.push(seen.place(...now));
      hears.line(line);
    } else if (down.size === 2) {
      const [far, x, y] = spread();
      seen.move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      seen.zoom_by(far / Math.max(1, apart), x, y);
      apart = far;
    } else seen.move(now[0] - before[0], now[1] - before[1]);
  });
  const up = (event) => {
    if (!down.delete(event.pointerId) || down.size) return;
    if (line && line.length > 2) hears.around(line);
    else if (moved < STILL && event.type === "pointerup") hears.click(...where(event));
    line = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => hears.away());
  canvas.addEventListener("dblclick", (event) => hears.twice(...where(event)));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 30 : 1) * (event.ctrlKey ? 5 : 1);
    seen.zoom_by(Math.exp(-within(pixels, -400, 400) * WHEEL), ...where(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = keys[event.key];
    if (!key) return;
    event.preventDefault();
    key();
    hears.over(seen.wide / 2, seen.high / 2);
  });
  const keys = {
    ArrowLeft: () => seen.move(seen.wide * STEP, 0),
    ArrowRight: () => seen.move(-seen.wide * STEP, 0),
    ArrowUp: () => seen.move(0, seen.high * STEP),
    ArrowDown: () => seen.move(0, -seen.high * STEP),
    "+": () => seen.zoom_by(NEARER),
    "=": () => seen.zoom_by(NEARER),
    "-": () => seen.zoom_by(1 / NEARER),
    0: () => seen.whole(),
  };
}
