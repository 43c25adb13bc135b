// All photos in one scroll: a few hundred elements, which move. Without this script there are pages of sixty.
//
// A browser cuts off elements at 2^24 pixels or so, and a million photos are higher. So what is scrolled has a height
// of at most `pixels`: a small move of the scroll bar moves the photos as far as it moved itself, a large one as much
// farther as they are higher; when the hand rests, the bar is put where it belongs.
import { choosing } from "./choosing.js";

const BLOCK = 8192, WINDOW = 120, WINDOWS = 100; // digests and captions asked for at once; captions that are kept
const NARROW = 168, GAP = 12, BELOW = 54, SPARE = 2; // pixels of a tile, between two, of its words; rows out of sight
const STILL = 90, REST = 160; // milliseconds until pictures are loaded after a leap, and until the bar is put right

const wall = document.getElementById("wall");
if (wall) begin(wall);

function begin(wall) {
  const { of, up } = wall.dataset;
  const count = Number(wall.dataset.count), pixels = Number(wall.dataset.pixels);
  const digests = new Map(), captions = new Map(), asked = new Map();
  const scroller = element("div", "scroller"), spacer = element("div", "spacer"), list = element("ul", "stage");
  scroller.append(spacer);
  spacer.append(list);
  list.tabIndex = 0;
  for (const [name, value] of [["role", "listbox"], ["aria-multiselectable", "true"], ["aria-label", "Photos"]])
    list.setAttribute(name, value);
  let pool = [], columns = 1, side = NARROW, high = 1, rows = 1, view = 1, whole = 1, base = 0;
  let top = 0, was = 0, leapt = false, drawing = 0, still = 0, rest = 0;

  // The photos' digests, hexadecimal; null where they have not come yet.
  function digestAt(position) {
    const block = digests.get(Math.floor(position / BLOCK));
    if (!block) return null;
    const start = (position % BLOCK) * 16;
    let text = "";
    for (let i = start; i < start + 16; i++) text += block[i].toString(16).padStart(2, "0");
    return text;
  }

  function copy(position, into, at) {
    const start = (position % BLOCK) * 16;
    into.set(digests.get(Math.floor(position / BLOCK)).subarray(start, start + 16), at);
  }

  // Whether they are here then; who asks for what is on its way waits for the same answer.
  function fetched(name, from, size) {
    const key = `${name} ${from}`;
    if (!asked.has(key)) asked.set(key, answered(name, from, size).finally(() => asked.delete(key)));
    return asked.get(key);
  }

  async function answered(name, from, size) {
    try {
      const answer = await fetch(`${up}browse/${name}?of=${of}&from=${from}&count=${size}`);
      if (!answer.ok) throw new Error(answer.status === 410 ? "the store has changed" : "");
      if (name === "digests") digests.set(from / BLOCK, new Uint8Array(await answer.arrayBuffer()));
      else keep(from / WINDOW, await answer.json());
      draw();
      return true;
    } catch (error) {
      choice.tell(`Load this page again: ${error.message || "the gallery does not answer"}.`);
      return false;
    }
  }

  function keep(number, words) {
    captions.set(number, words);
    if (captions.size > WINDOWS) captions.delete(captions.keys().next().value);
  }

  function blockOf(position) {
    const start = Math.floor(position / BLOCK) * BLOCK;
    return digests.has(start / BLOCK) ? true : fetched("digests", start, BLOCK);
  }

  function need(first, last) {
    for (let at = first; at < last; at += columns) {
      blockOf(at);
      const window = Math.floor(at / WINDOW);
      if (!captions.has(window)) fetched("captions", window * WINDOW, WINDOW);
    }
  }

  // Columns and heights for the width that there is; the first photo that was seen stays.
  function measure() {
    const first = Math.round(top / high) * columns;
    const width = list.clientWidth;
    columns = Math.max(2, Math.floor((width + GAP) / (NARROW + GAP)));
    side = (width - GAP * (columns - 1)) / columns;
    high = side + BELOW + GAP;
    rows = Math.ceil(count / columns);
    view = scroller.clientHeight;
    whole = Math.max(view, rows * high);
    spacer.style.height = `${Math.min(whole, Math.max(pixels, view + 1))}px`;
    list.style.height = `${view}px`;
    const size = (Math.ceil(view / high) + 2 * SPARE + 2) * columns;
    pool = Array.from({ length: Math.min(size, count) }, made);
    list.replaceChildren(frame);
    frame.replaceChildren(...pool.map((tile) => tile.item));
    go(Math.floor(first / columns) * high);
  }

  const frame = element("div", "frame");
  frame.setAttribute("role", "presentation");

  function made() {
    const item = element("li", "tile"), image = element("img"), label = element("b"), place = element("span", "faint");
    item.setAttribute("role", "option");
    item.hidden = true;
    image.decoding = "async";
    image.alt = "";
    Object.assign(item.style, { width: `${side}px`, height: `${side + BELOW}px` });
    image.style.height = `${side}px`;
    item.append(image, label, place);
    return { item, image, label, place, position: -1, shown: "", told: null, chosen: null, current: false };
  }

  function put(tile, position) {
    tile.position = position;
    tile.item.hidden = false;
    tile.item.id = `photo-${position}`;
    tile.item.setAttribute("aria-posinset", position + 1);
    tile.item.setAttribute("aria-setsize", count);
    stand(tile);
    tile.shown = "";
    tile.told = null;
    tile.image.removeAttribute("src");
    tile.label.textContent = "…"; // until its words come: what has no name cannot be chosen by who only hears it
    tile.place.textContent = "";
  }

  function stand(tile) {
    const row = Math.floor(tile.position / columns), column = tile.position % columns;
    tile.item.style.transform = `translate(${column * (side + GAP)}px, ${(row - base) * high}px)`;
  }

  function fill(tile) {
    const chosen = choice.has(tile.position), current = choice.current === tile.position;
    if (tile.chosen !== chosen) tile.item.setAttribute("aria-selected", (tile.chosen = chosen));
    if (tile.current !== current) tile.item.classList.toggle("current", (tile.current = current));
    const words = captions.get(Math.floor(tile.position / WINDOW))?.[tile.position % WINDOW];
    if (words && tile.told !== words) {
      tile.told = words;
      tile.label.textContent = words[0];
      const told = words[1] + (words[3] ? ` (gone since ${words[3]})` : "");
      tile.place.textContent = `\u200e${told}`; // the end is what is seen of a long one; a path runs from left to right
      tile.item.title = told;
    }
    if (leapt || tile.shown) return;
    const digest = digestAt(tile.position);
    if (!digest) return;
    tile.shown = digest;
    tile.image.src = `${up}photo/${digest}.jpg`;
  }

  function paint() {
    drawing = 0;
    const first = Math.max(0, Math.floor(top / high) - SPARE);
    const last = Math.min(rows, Math.ceil((top + view) / high) + SPARE);
    if (Math.abs(first - base) > 2000) {
      base = first; // near by, so that the browser's numbers are exact
      for (const tile of pool) if (tile.position >= 0) stand(tile);
    }
    frame.style.transform = `translateY(${base * high - top}px)`;
    for (let position = first * columns; position < Math.min(count, last * columns); position++) {
      const tile = pool[position % pool.length];
      if (tile.position !== position) put(tile, position);
      fill(tile);
    }
    if (!leapt) need(first * columns, Math.min(count, last * columns));
  }

  function draw() {
    drawing ||= requestAnimationFrame(paint);
  }

  function ratio() {
    return (whole - view) / Math.max(1, spacer.offsetHeight - view);
  }

  function scrolled() {
    const moved = scroller.scrollTop - was;
    was = scroller.scrollTop;
    const far = Math.abs(moved) > 2 * view;
    if (ratio() <= 1) top = was;
    else if (far) top = was * ratio();
    else top += moved;
    top = Math.max(0, Math.min(whole - view, top));
    wait(far);
  }

  function wait(far) {
    clearTimeout(rest);
    rest = setTimeout(settle, REST);
    if (far) {
      leapt = true;
      clearTimeout(still);
      still = setTimeout(() => { leapt = false; draw(); }, STILL);
    }
    draw();
  }

  function settle() {
    scroller.scrollTop = top / Math.max(1, ratio());
    was = scroller.scrollTop;
    const address = new URL(location.href);
    address.searchParams.set("at", Math.round(top / high) * columns);
    history.replaceState(null, "", address);
  }

  function go(to) {
    const far = Math.abs(to - top) > 4 * view;
    top = Math.max(0, Math.min(whole - view, to));
    scroller.scrollTop = top / Math.max(1, ratio());
    was = scroller.scrollTop;
    wait(far);
  }

  // Bring a photo into sight.
  function show(position) {
    const start = Math.floor(position / columns) * high;
    if (start < top) go(start);
    else if (start + high > top + view) go(start + high - view);
    else draw();
    list.setAttribute("aria-activedescendant", `photo-${position}`);
  }

  const choice = choosing({
    count, up, list, show, draw, digestAt, copy, blockOf,
    columns: () => columns,
    page: () => Math.max(1, Math.floor(view / high)) * columns,
    first: () => Math.ceil(top / high) * columns,
  });
  wall.replaceChildren(scroller);
  document.getElementById("keys").hidden = false;
  scroller.addEventListener("scroll", scrolled, { passive: true });
  top = 0;
  measure();
  go(Math.floor(Number(wall.dataset.at) / columns) * high);
  new ResizeObserver(() => {
    if (scroller.clientHeight !== view || list.clientWidth !== Math.round(columns * (side + GAP) - GAP)) measure();
  }).observe(scroller);
}

function element(name, kind) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  return made;
}
