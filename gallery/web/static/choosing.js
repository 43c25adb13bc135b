// Which photos are chosen, by keys and by mouse, and what is done with them.
const ASKED = 20, FILES = 2000; // photos in one question; files in a zip

export function choosing({ count, up, list, show, draw, digestAt, copy, blockOf, columns, page, first }) {
  const form = document.getElementById("selection"), said = document.getElementById("chosen");
  const none = document.getElementById("none"), marks = new Uint8Array(count);
  const buttons = [...form.querySelectorAll("button[name=do]")];
  let number = 0, anchor = -1, ready = null;
  const choice = { current: -1, has: (position) => marks[position] === 1, tell };

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
    named("ask", number === 1 ? "Ask about it" : "Ask about them");
    draw();
  }

  function named(value, words) {
    buttons.find((button) => button.value === value).textContent = words;
  }

  function clear() {
    marks.fill(0);
    number = 0;
    summary();
  }

  function step(to, extend) {
    const from = choice.current < 0 ? first() : choice.current;
    choice.current = Math.max(0, Math.min(count - 1, choice.current < 0 && to !== 0 && to !== count - 1 ? from : to));
    if (extend) {
      if (anchor < 0) anchor = from;
      mark(from, choice.current, 1);
    } else anchor = choice.current;
    show(choice.current);
  }

  // Fetch the digests of these photos, where they are not here yet; whether they are then.
  async function gathered(positions) {
    const blocks = new Map(positions.map((at) => [Math.floor(at / 8192), at]));
    for (const at of blocks.values()) if (!(await blockOf(at))) return false;
    return true;
  }

  function positions() {
    const found = [];
    for (let at = marks.indexOf(1); at >= 0; at = marks.indexOf(1, at + 1)) found.push(at);
    return found;
  }

  async function ask(some) {
    if (some.length > ASKED) return tell(`${ASKED} photos at most make one question`);
    if (!some.length || !(await gathered(some))) return;
    location.assign(`${up}?${some.map((at) => `photo=${digestAt(at)}`).join("&")}`);
  }

  const steps = {
    ArrowLeft: () => choice.current - 1,
    ArrowRight: () => choice.current + 1,
    ArrowUp: () => (choice.current < columns() ? choice.current : choice.current - columns()),
    ArrowDown: () => choice.current + columns(),
    PageUp: () => choice.current - page(),
    PageDown: () => choice.current + page(),
    Home: () => 0,
    End: () => count - 1,
  };

  list.addEventListener("keydown", (event) => {
    if (event.key in steps) step(steps[event.key](), event.shiftKey);
    else if (event.key === " ") {
      if (choice.current < 0) choice.current = first();
      anchor = choice.current;
      mark(anchor, anchor, 1 - marks[anchor]);
      show(anchor);
    } else if (event.key === "Enter") ask(number ? positions() : choice.current < 0 ? [] : [choice.current]);
    else if (event.key === "Escape") clear();
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) mark(0, count - 1, 1);
    else return;
    event.preventDefault();
  });

  list.addEventListener("focus", () => {
    if (choice.current >= 0) return;
    choice.current = first();
    draw();
  });

  function under(event) {
    const item = event.target.closest("li");
    return item ? Number(item.id.slice("photo-".length)) : -1;
  }

  list.addEventListener("click", (event) => {
    const position = under(event);
    if (position < 0) return;
    choice.current = position;
    if (event.shiftKey && anchor >= 0) mark(anchor, position, 1);
    else mark((anchor = position), position, 1 - marks[position]);
    list.setAttribute("aria-activedescendant", `photo-${position}`);
  });
  list.addEventListener("dblclick", (event) => under(event) >= 0 && ask([under(event)]));
  none.addEventListener("click", clear);

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
  return choice;
}
