// Drop, paste or choose: the form is sent at once. Without this script its button does the same.
const form = document.getElementById("drop");
const field = document.getElementById("photos");

const most = 8; // as the server has it
const all = new DataTransfer(); // what is dropped while another is asked about is asked about with it

function send(files) {
  for (const file of files) {
    if (all.items.length < most) all.items.add(file);
  }
  if (!all.items.length) return;
  field.files = all.files;
  form.classList.add("busy");
  form.querySelector(".wait").hidden = false;
  form.requestSubmit();
}

form.classList.add("scripted"); // its button is not needed
field.addEventListener("change", () => send([...field.files]));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  send(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => send(event.clipboardData.files));
window.addEventListener("pageshow", () => {
  all.items.clear();
  form.classList.remove("busy");
  form.querySelector(".wait").hidden = true;
});
