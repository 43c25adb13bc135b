// Photos side by side are seen through one glass: wheel, pinch, buttons and dragging move all of them alike.
const MOST = 12;

// What shows them whole again.
export function zooming(pictures, buttons) {
  const fingers = new Map(); // pointers that are down, and where
  let scale = 1, x = 0, y = 0; // x and y in frames' widths and heights, from the middle

  function draw() {
    const room = (scale - 1) / 2; // as far as the middle may move until an edge is seen
    x = Math.max(-room, Math.min(room, x));
    y = Math.max(-room, Math.min(room, y));
    for (const [name, value] of [["--zoom", scale], ["--x", `${100 * x}%`], ["--y", `${100 * y}%`]])
      pictures.style.setProperty(name, value);
    pictures.classList.toggle("zoomed", scale > 1);
  }

  // Zoom so that what is at a place of a frame (in its widths, from the middle) stays there.
  function zoom(by, atX = 0, atY = 0) {
    const before = scale;
    scale = Math.max(1, Math.min(MOST, scale * by));
    x = atX - (atX - x) * (scale / before);
    y = atY - (atY - y) * (scale / before);
    draw();
  }

  function place(event) {
    const frame = (event.target.closest(".frame") ?? pictures.querySelector(".frame")).getBoundingClientRect();
    return { x: (event.clientX - frame.left) / frame.width - 0.5, y: (event.clientY - frame.top) / frame.height - 0.5 };
  }

  function apart() {
    const [one, other] = [...fingers.values()];
    return { by: Math.hypot(one.x - other.x, one.y - other.y), x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
  }

  pictures.addEventListener("wheel", (event) => {
    if (!event.target.closest(".frame")) return;
    event.preventDefault();
    const { x: atX, y: atY } = place(event);
    zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(0.3, Math.abs(event.deltaY) / 300)), atX, atY);
  }, { passive: false });
  pictures.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".frame") && event.button === 0) fingers.set(event.pointerId, place(event));
  });
  window.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const before = fingers.size === 2 ? apart() : null, now = place(event);
    fingers.set(event.pointerId, now);
    if (before) {
      const after = apart();
      zoom(after.by / Math.max(before.by, 0.01), after.x, after.y);
    } else if (scale > 1) {
      x += now.x - last.x;
      y += now.y - last.y;
      draw();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, (event) => fingers.delete(event.pointerId));
  pictures.addEventListener("dragstart", (event) => event.preventDefault());
  buttons.hidden = false;
  buttons.addEventListener("click", (event) => {
    const by = event.target.closest("[data-zoom]")?.dataset.zoom;
    if (by) zoom(Number(by)); // 0 is the whole
  });
  return () => zoom(0);
}
