// Which photos are chosen, of so many, and what the bar below them does with them.
const ASKED = 20, FILES = 2000, FIRST = 15; // photos in one question; files in a zip; photos in a strip

// `digestAt`, `copy` and `blockOf` give digests, hexadecimal or as bytes, and fetch them first; `draw` shows a choice.
export function selecting({ count, up, draw, digestAt, copy, blockOf }) {
  const form = document.getElementById("selection"), said = document.getElementById("chosen");
  const none = document.getElementById("none"), marks = new Uint8Array(count);
  const buttons = [...form.querySelectorAll("button[name=do]")];
  const strip = document.getElementById("strip");
  let number = 0, ready = null, shown = 0;

  function tell(words) {
    said.textContent = words;
  }

  function mark(from, to, value) {
    for (let at = Math.min(from, to); at <= Math.max(from, to); at++) {
      number += value - marks[at];
      marks[at] = value;
    }
    summary();
  }

  // Choose these alone: a byte for each photo.
  function choose(some) {
    marks.set(some);
    number = 0;
    for (let at = 0; at < count; at++) number += some[at];
    summary();
  }

  function summary() {
    const many = number.toLocaleString("en");
    tell(number ? `${many} chosen` : "Choose photos");
    none.hidden = !number;
    none.parentElement.classList.toggle("idle", !number);
    const most = { ask: ASKED, zip: FILES };
    for (const button of buttons) {
      button.disabled = !number || number > (most[button.value] ?? Infinity);
      button.title = button.value in most ? `${most[button.value].toLocaleString("en")} photos at most` : "";
    }
    named("csv", number ? `List of ${many} (CSV)` : "List (CSV)");
    named("zip", number ? `${many} ${number === 1 ? "original" : "originals"} (zip)` : "Originals (zip)");
    named("ask", number === 1 ? "Ask about it" : number > ASKED ? `Ask (${ASKED} at most)` : "Ask about them");
    draw();
    if (strip) showFirst();
  }

  // The first photos that are chosen, where the page does not show them otherwise.
  async function showFirst() {
    const turn = ++shown, some = positions(FIRST);
    if (!(await gathered(some)) || turn !== shown) return;
    strip.hidden = !some.length;
    strip.replaceChildren(...some.map((at) => {
      const item = document.createElement("li"), link = document.createElement("a"), image = new Image();
      link.href = `${up}?photo=${digestAt(at)}`;
      link.setAttribute("aria-label", "Ask about this photo");
      image.src = `${up}photo/${digestAt(at)}.jpg`;
      image.alt = "";
      link.append(image);
      item.append(link);
      return item;
    }));
  }

  function named(value, words) {
    buttons.find((button) => button.value === value).textContent = words;
  }

  function clear() {
    marks.fill(0);
    number = 0;
    summary();
  }

  // Fetch the digests of these photos, where they are not here yet; whether they are then.
  async function gathered(positions) {
    const blocks = new Map(positions.map((at) => [Math.floor(at / 8192), at]));
    for (const at of blocks.values()) if (!(await blockOf(at))) return false;
    return true;
  }

  function positions(most = Infinity) {
    const found = [];
    for (let at = marks.indexOf(1); at >= 0 && found.length < most; at = marks.indexOf(1, at + 1)) found.push(at);
    return found;
  }

  async function ask(some = positions()) {
    if (some.length > ASKED) return tell(`${ASKED} photos at most make one question`);
    if (!some.length || !(await gathered(some))) return;
    location.assign(`${up}?${some.map((at) => `photo=${digestAt(at)}`).join("&")}`);
  }

  // The form is sent with 16 bytes for each photo, in place of the boxes that there are without this script.
  form.addEventListener("submit", async (event) => {
    if (ready) return;
    event.preventDefault();
    tell("Getting them together …");
    const some = positions();
    if (!(await gathered(some))) return;
    await new Promise((done) => setTimeout(done)); // while one is being sent, a form takes no second
    ready = new Uint8Array(some.length * 16);
    some.forEach((position, at) => copy(position, ready, at * 16));
    form.requestSubmit(event.submitter);
    ready = null;
    summary();
  });
  form.addEventListener("formdata", (event) => {
    if (ready) event.formData.set("chosen", new File([ready], "chosen"));
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input")) {
      event.preventDefault();
      if (number) form.requestSubmit(buttons.find((button) => button.value === "say"));
    }
  });
  window.addEventListener("pageshow", summary);
  summary();
  return { ask, choose, clear, mark, marks, none, tell, some: () => number > 0 };
}
