// All photos as points: first a sample, then all; a sample again while they move. The address says what is seen, what
// alone is shown and what is chosen. Without WebGL2 the picture that pages without scripts have takes their place.
import { camera, hands } from "./camera.js";
import { inside, read, written } from "./lasso.js";
import { CHOSEN, HIDDEN, SLOT, SLOTS, drawing } from "./points.js";
import { selecting } from "./selecting.js";

const FIRST = 32768, BLOCK = 131072; // points that come first, and those that come at once afterwards
const SLICE = 30, FRAME = 25; // milliseconds that drawing some more may take, and drawing a sample while they move
const REST = 150; // milliseconds until all are drawn again
const SMALLEST = 1.6, LARGEST = 13, NEAR = 14; // pixels of a point; from it, to be meant
const FAINT = 0.15; // how much of those is left that are not chosen

const ground = document.getElementById("ground");
if (ground) begin(ground);

function begin(ground) {
  const { of, up, shades: shaded } = ground.dataset;
  const count = Number(ground.dataset.count), box = ground.dataset.box.split(" ").map(Number);
  const [canvas, around, ring, card, tools, far] = ["canvas", "svg", ".ring", ".card", ".tools", ".far"].map((one) => ground.querySelector(one));
  const pen = drawing(canvas, count);
  if (!pen) return ground.insertAdjacentHTML("beforeend", ground.querySelector("noscript").textContent);
  for (const one of [canvas, tools, far, document.getElementById("keys")]) one.hidden = false;
  document.getElementById("selection").classList.remove("bare");
  const places = new Float32Array(2 * count), slots = new Uint8Array(count), shown = new Uint8Array(count);
  const dark = matchMedia("(prefers-color-scheme: dark)"), captions = new Map();
  let have = 0, drawn = 0, stale = true, next = 0, saving = 0, moved = -REST, began = 0, asked = 0, rate = FIRST / FRAME;
  let only = -1, lasso = "", drawsLine = false, digests = null, over = -1, held = false, asking = false, loaded = false;

  const seen = camera(canvas, box, () => {
    moved = performance.now();
    stale = true;
    overlay();
    draw();
    clearTimeout(saving); // an address may be written now and then only
    saving = setTimeout(save, REST);
  });
  const choice = selecting({ count, up, draw: shade, digestAt, copy, blockOf });

  // ---- drawing

  function size() {
    const even = 0.65 * Math.sqrt((seen.wide * seen.high) / count) * Math.sqrt(seen.zoom);
    return Math.max(SMALLEST, Math.min(LARGEST, even)) * ratio();
  }

  const ratio = () => Math.min(2, devicePixelRatio || 1);

  function look() {
    const colours = new Float32Array(4 * SLOTS);
    // The denser they lie, the more is seen through each, so that where most are is darkest.
    const dense = (count * (size() / ratio()) ** 2) / (seen.wide * seen.high * seen.zoom ** 2);
    const strength = Math.max(0.4, Math.min(0.92, 0.7 / Math.sqrt(dense)));
    ground.dataset[dark.matches ? "night" : "day"].split(" ").forEach((word, slot) => {
      colours.set([...[1, 3, 5].map((at) => parseInt(word.slice(at, at + 2), 16) / 255), strength], 4 * slot);
    });
    const paper = getComputedStyle(ground).backgroundColor.match(/[\d.]+/g).slice(0, 3).map((one) => one / 255);
    const stretch = [(2 * seen.unit()) / seen.wide, (2 * seen.unit()) / seen.high];
    const stepped = ground.dataset.stepped === "true";
    pen.look({ middle: seen.middle, stretch, size: size(), faint: choice.some() ? FAINT : 1, only, colours, paper, stepped });
  }

  function draw() {
    next ||= requestAnimationFrame(frame);
  }

  function frame() {
    next = 0;
    const now = performance.now(), rests = now - moved >= REST;
    if (!pen.done()) return draw();
    if (began && asked > 1000) rate = (rate + asked / (now - began)) / 2;
    began = 0;
    if (stale) {
      look();
      pen.clear();
      drawn = 0;
      stale = false;
      some(rests ? SLICE : FRAME);
    } else if (drawn < have && (rests || !drawn)) some(SLICE);
    if (drawn < have || stale) draw();
    else if (loaded) ground.dataset.rest = "yes";
  }

  function some(milliseconds) {
    const to = Math.min(have, drawn + Math.max(4000, Math.round(rate * milliseconds)));
    if (to === drawn) return;
    [began, asked] = [performance.now(), to - drawn];
    pen.draw(drawn, to);
    drawn = to;
    ground.dataset.drawn = drawn;
    delete ground.dataset.rest;
    far.textContent = drawn < count ? `a sample: ${drawn.toLocaleString("en")} of ${count.toLocaleString("en")} points` : "";
  }

  function shade() {
    if (!pen || !have) return;
    for (let at = 0; at < count; at++) shown[at] = slots[at] | (choice.marks[at] ? CHOSEN : 0);
    pen.shade(0, shown);
    stale = true;
    draw();
  }

  // ---- what comes from the server

  async function got(what) {
    const answer = await fetch(`${up}map/${what}`);
    if (!answer.ok) throw new Error(answer.status === 410 ? "the store has changed" : "the gallery does not answer");
    return answer;
  }

  const bytes = async (what) => (await got(what)).arrayBuffer();

  async function load() {
    try {
      const wanted = bytes(`shades?of=${shaded}`);
      for (let from = 0; from < count; from += from ? BLOCK : FIRST) {
        const some = new Float32Array(await bytes(`points?of=${of}&from=${from}&count=${from ? BLOCK : FIRST}`));
        if (!from) {
          slots.set(new Uint8Array(await wanted));
          shown.set(slots);
          pen.shade(0, slots);
        }
        places.set(some, 2 * from);
        pen.place(from, some);
        have = from + some.length / 2;
        draw();
      }
      loaded = true;
      chosen();
    } catch (error) {
      choice.tell(`Load this page again: ${error.message}.`);
    }
  }

  async function blockOf() {
    try {
      digests ??= new Uint8Array(await bytes(`digests?of=${of}`));
      return true;
    } catch (error) {
      choice.tell(`Load this page again: ${error.message}.`);
      return false;
    }
  }

  function digestAt(position) {
    return [...digests.subarray(position * 16, position * 16 + 16)].map((one) => one.toString(16).padStart(2, "0")).join("");
  }

  function copy(position, into, at) {
    into.set(digests.subarray(position * 16, position * 16 + 16), at);
  }

  // ---- what is under the pointer

  const isShown = (slot) => !(slot & HIDDEN) && (only < 0 || only === (slot & SLOT));

  // The nearest point that is shown; -1 where none is near.
  function under(x, y) {
    const [mapX, mapY] = seen.place(x, y), near = Math.max(NEAR, size() / ratio()) / seen.unit();
    let best = near * near, found = -1;
    for (let at = 0; at < have; at++) {
      const across = places[2 * at] - mapX, down = places[2 * at + 1] - mapY;
      if (across > near || across < -near || down > near || down < -near) continue;
      const away = across * across + down * down;
      if (away < best && isShown(slots[at])) [best, found] = [away, at];
    }
    return found;
  }

  function point(position) {
    if (over === position) return;
    over = position;
    overlay();
    if (over < 0) card.hidden = true;
    else tell();
  }

  // One question at a time; where another point is meant by then, that one is asked for.
  async function tell() {
    if (asking) return;
    asking = true;
    const at = over;
    try {
      if (!captions.has(at)) captions.set(at, await (await got(`photo?of=${of}&at=${at}`)).json());
      if (over === at) fill(captions.get(at), at);
    } catch (error) {
      choice.tell(`Load this page again: ${error.message}.`);
    }
    asking = false;
    if (over >= 0 && over !== at) tell();
  }

  function fill(told, at) {
    const [image, label, place, link] = card.querySelectorAll("img, b, span, a");
    image.src = `${up}photo/${told.digest}.jpg`;
    label.textContent = told.label;
    place.textContent = told.place + (told.split ? `, ${told.split}` : "") + (told.gone ? ` (gone since ${told.gone})` : "");
    link.href = `${up}?photo=${told.digest}`;
    card.hidden = false;
    card.dataset.at = at;
    overlay();
  }

  // The ring around a point, its card, and the line around the chosen ones.
  function overlay() {
    ring.hidden = over < 0;
    if (over >= 0) {
      const [x, y] = seen.at(places[2 * over], places[2 * over + 1]);
      ring.style.transform = `translate(${x}px, ${y}px)`;
      const left = x + 20 + card.offsetWidth > seen.wide ? x - 20 - card.offsetWidth : x + 20;
      const top = Math.max(8, Math.min(seen.high - card.offsetHeight - 8, y - card.offsetHeight / 2));
      card.style.transform = `translate(${Math.max(8, left)}px, ${top}px)`;
    }
    trace(read(lasso));
  }

  function trace(line) {
    around.toggleAttribute("hidden", !line);
    if (line) around.firstElementChild.setAttribute("points", line.map((one) => seen.at(...one).join(",")).join(" "));
  }

  function hold(yes) {
    held = yes && over >= 0;
    card.classList.toggle("held", held);
  }

  async function ask(position) {
    if (position >= 0 && (await blockOf())) choice.ask([position]);
  }

  // ---- what is chosen, and what alone is shown

  function chosen() {
    const line = read(lasso);
    if (!line && lasso !== "all") return choice.clear();
    const found = line ? inside(line, places) : new Uint8Array(count).fill(1);
    for (let at = 0; at < count; at++) if (!isShown(slots[at])) found[at] = 0;
    choice.choose(found);
  }

  function choose(text) {
    lasso = text;
    lineMode(false);
    overlay();
    chosen();
    save(true);
  }

  function lineMode(on) {
    drawsLine = on;
    canvas.classList.toggle("lasso", on);
    tools.querySelector("[value=lasso]").setAttribute("aria-pressed", on);
  }

  function show(slot) {
    only = slot;
    for (const link of document.querySelectorAll(".legend a")) {
      if (Number(link.dataset.slot) === only) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    stale = true;
    if (loaded) chosen();
    draw();
  }

  // ---- the address

  function save(push = false) {
    const address = new URL(location.href);
    const said = { only: only < 0 ? "" : String(only), view: seen.write(), lasso };
    for (const [name, value] of Object.entries(said)) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
      const field = document.querySelector(`#look input[name=${name}]`);
      if (field) field.value = value;
    }
    if (address.href !== location.href) history[push ? "pushState" : "replaceState"](null, "", address);
  }

  function restore() {
    const given = new URL(location.href).searchParams, slot = given.get("only");
    lasso = given.get("lasso") ?? "";
    seen.read(given.get("view"));
    show(slot && document.querySelector(`.legend a[data-slot="${CSS.escape(slot)}"]`) ? Number(slot) : -1);
  }

  // ---- hands

  hands(canvas, seen, () => drawsLine, {
    over: (x, y) => held || point(under(x, y)),
    away: () => held || point(-1),
    line: (line) => (line ? trace(line) : overlay()),
    around: (line) => choose(written(line)),
    click: (x, y) => { hold(false); point(under(x, y)); hold(true); },
    twice: (x, y) => ask(under(x, y)),
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter") choice.some() ? choice.ask() : ask(over);
    else if (event.key === "Escape") held ? (hold(false), point(-1)) : choose("");
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) choose("all");
    else return;
    event.preventDefault();
  });
  const acts = { lasso: () => lineMode(!drawsLine), all: () => choose("all"), nearer: () => seen.zoom_by(1.4), farther: () => seen.zoom_by(1 / 1.4), whole: () => seen.whole() };
  tools.addEventListener("click", (event) => acts[event.target.closest("button")?.value]?.());
  choice.none.addEventListener("click", () => choose(""));
  document.querySelector(".legend").addEventListener("click", (event) => {
    const link = event.target.closest("a[data-slot]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(only === Number(link.dataset.slot) ? -1 : Number(link.dataset.slot));
    save(true);
  });
  window.addEventListener("popstate", restore);
  canvas.addEventListener("webglcontextlost", () => choice.tell("Load this page again: the browser has lost the picture."));
  dark.addEventListener("change", () => { stale = true; draw(); });
  new ResizeObserver(() => {
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio(), canvas.clientHeight * ratio()];
    seen.measure();
  }).observe(canvas);
  seen.measure();
  restore();
  load();
}
