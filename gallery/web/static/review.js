// One key for each decision. The next photo is there before the finger is up: it was loaded ahead, and what was
// decided is kept meanwhile, in order. Without this script the buttons do the same.
import { zooming } from "./zooming.js";

const AHEAD = 3;
const card = document.getElementById("card");
const pictures = document.getElementById("pictures");
const choices = document.getElementById("choices");
const undoing = document.getElementById("undoing");
const problem = document.getElementById("problem");
const loaded = new Map(); // digest → an image that is decoded
const taken = new Set(); // keys that are decided here, whatever the server still says
const acts = []; // what can be undone: {key, act}
const alts = [...pictures.querySelectorAll("img")].map((image) => image.alt);
const depends = Boolean(choices.querySelector("button[value=best]")); // what is left, on what was decided
let queue = [];
let sending = Promise.resolve();

if (undoing.elements.act.value) acts.push({ key: null, act: Promise.resolve(undoing.elements.act.value) });

function picture(digest) {
  let image = loaded.get(digest);
  if (!image) {
    image = new Image();
    image.src = `large/${digest}.jpg`;
    image.decode().catch(() => {});
    loaded.set(digest, image);
  }
  return image;
}

function ahead() {
  const next = queue.slice(0, AHEAD + 1).flatMap((item) => item.photos.map((one) => one.digest));
  for (const digest of loaded.keys()) if (!next.includes(digest)) loaded.delete(digest);
  next.forEach((digest) => picture(digest));
}

function show() {
  const item = queue[0];
  card.hidden = !item;
  document.getElementById("empty").hidden = Boolean(item);
  undoing.hidden = !acts.length;
  undoing.querySelector("i").textContent = acts.at(-1)?.name ?? "";
  if (!item) return;
  whole();
  [...pictures.children].forEach((figure, place) => {
    const one = item.photos[place];
    figure.hidden = !one;
    if (!one) return;
    const twin = place === 1 && one.digest === item.photos[0].digest;
    const image = twin ? picture(one.digest).cloneNode() : picture(one.digest);
    image.alt = alts[place];
    figure.querySelector(".frame").replaceChildren(image);
    figure.querySelector(".label").textContent = one.label ?? "none";
    figure.querySelector(".size").textContent = one.size;
    const path = figure.querySelector(".path");
    path.textContent = `\u200e${one.path}`; // the end is what is seen of a long one
    path.title = one.path;
  });
  document.getElementById("question").textContent = item.question;
  document.getElementById("reason").textContent = item.reason;
  for (const field of document.querySelectorAll("input[name=key]")) field.value = item.key;
  for (const [value, says, label] of [["right", "Yes, ", item.claim], ["other", "No, ", item.other]]) {
    const button = choices.querySelector(`button[value=${value}]`);
    if (button) {
      button.querySelector("span").textContent = says + label;
      button.hidden = !label;
    }
  }
  const best = choices.querySelector("button[value=best]");
  if (best) {
    best.hidden = item.others < 2;
    best.querySelector("i").textContent = item.others + 1;
  }
  setTimeout(ahead);
}

// What is left, as the server knows it: behind what is here, or in its place where one decision changes others.
function far(told, anew) {
  const waiting = told.items.filter((item) => !taken.has(item.key));
  const there = new Set(queue.map((item) => item.key));
  queue = anew ? waiting : [...queue, ...waiting.filter((item) => !there.has(item.key))];
  const number = new Intl.NumberFormat("en");
  document.getElementById("left").textContent = `${number.format(told.left)} of ${number.format(told.of)} left`;
  const wrong = document.getElementById("wrong");
  if (wrong && told.wrong !== null) wrong.textContent = told.wrong ? `about ${number.format(told.wrong)} labels expected to be still wrong` : "no label stands out as wrong";
}

async function post(fields) {
  const answer = await fetch(card.dataset.form, {
    method: "POST", headers: { accept: "application/json" }, body: new URLSearchParams(fields),
  });
  const told = await answer.json();
  if (told.problem) throw new Error(told.problem);
  return told;
}

function send(fields, then) {
  const sent = sending.then(() => post(fields)).then((told) => {
    problem.hidden = true;
    then(told);
    return told.act;
  });
  sending = sent.catch((error) => {
    problem.textContent = `That was not kept: ${error.message}`;
    problem.hidden = false;
  });
  return sent;
}

function decide(fields) {
  const item = queue.shift();
  taken.add(item.key);
  const done = { key: item.key, name: item.photos[0].path.split("/").at(-1), act: null };
  done.act = send({ ...fields, key: item.key }, (told) => {
    const first = queue[0];
    far(told, depends);
    if (queue[0]?.key !== first?.key) show();
    history.replaceState(null, "", `?done=${told.act}`);
  });
  done.act.catch(() => {
    taken.delete(item.key);
    acts.splice(acts.indexOf(done), 1);
    queue.unshift(item);
    show();
  });
  acts.push(done);
  show();
}

async function undo() {
  const last = acts.pop();
  if (!last) return;
  const act = await last.act.catch(() => null);
  if (!act) return;
  history.replaceState(null, "", location.pathname);
  send({ decision: "undo", act }, (told) => {
    taken.delete(last.key);
    far(told, true);
    show();
  }).catch(() => {});
}

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button?.name || !card) return;
  event.preventDefault();
  if (button.value === "undo") return undo();
  if (!queue.length) return;
  const fields = { decision: button.value };
  const named = event.target.elements.label;
  if (named) {
    fields.label = named.value;
    named.value = "";
    named.blur();
  }
  decide(fields);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    pictures.classList.remove("over", "flip");
    return event.target.blur();
  }
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const found = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key);
  if (!found || found.hidden) return;
  event.preventDefault();
  if (found.matches("input")) return found.focus();
  if (found.type === "button") return found.click();
  found.form.requestSubmit(found);
});

document.getElementById("flipping")?.addEventListener("click", () => {
  pictures.classList.toggle(pictures.classList.contains("over") ? "flip" : "over");
});
far(await (await fetch(card.dataset.items)).json());
const whole = zooming(pictures, document.getElementById("zoom")); // it shows that keys are heard
if (queue[0]?.key !== choices.elements.key.value) show();
ahead();
