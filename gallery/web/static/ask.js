// Drop, paste or choose: the form is sent at once; and an answer takes the place of the page's content, which is quicker
// than a new page is. Without this script buttons and links do the same.
const most = 8; // as the server has it
const all = new DataTransfer(); // what is dropped while another is asked about is asked about with it
const main = document.querySelector("main");
let turns = 0; // only the last question is answered

// Show what an address answers; `step` says whether the address becomes the page's.
async function turn(address, options, step = true) {
  const number = ++turns;
  const answer = await fetch(address, options);
  const told = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (number !== turns) return;
  history.replaceState({ top: scrollY }, "");
  main.replaceChildren(...told.querySelector("main").childNodes);
  document.title = told.title;
  if (step && answer.ok) history.pushState({ top: 0 }, "", answer.url);
  scrollTo(0, step ? 0 : history.state?.top ?? 0);
  begin();
}

function begin() {
  all.items.clear();
  for (const form of main.querySelectorAll(".drop")) form.classList.add("scripted"); // its button is not needed
}

function send(files) {
  const form = document.getElementById("drop");
  for (const file of files) {
    if (all.items.length < most) all.items.add(file);
  }
  if (!form || !all.items.length) return;
  document.getElementById("photos").files = all.files;
  form.classList.add("busy");
  form.querySelector(".wait").hidden = false;
  form.requestSubmit();
}

main.addEventListener("change", (event) => {
  if (event.target.id === "photos") send([...event.target.files]);
});
main.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id !== "drop") return;
  event.preventDefault();
  turn(form.action, { method: "POST", body: new FormData(form) }).catch(() => form.submit()); // the browser says why
});
main.addEventListener("click", (event) => {
  const link = event.target.closest(".grid a:not(.why)");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  turn(link.href).catch(() => location.assign(link.href));
});
window.addEventListener("popstate", () => turn(location.href, {}, false).catch(() => location.reload()));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.getElementById("drop")?.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.getElementById("drop")?.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.getElementById("drop")?.classList.remove("over");
  send(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => send(event.clipboardData.files));
begin();
