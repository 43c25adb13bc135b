// Drop, paste or choose: the form is sent at once. Without this script its button does the same.
const form = document.getElementById("drop");
const field = document.getElementById("photos");

function send(files) {
  if (!files.length) return;
  field.files = files;
  form.classList.add("busy");
  form.requestSubmit();
}

field.addEventListener("change", () => send(field.files));
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
window.addEventListener("pageshow", () => form.classList.remove("busy"));
