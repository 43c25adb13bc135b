// A page that waits for lists or for a job: it asks now and then, and loads itself anew when something has come.
const waiting = document.getElementById("waiting");
const job = document.getElementById("job");
const bar = document.getElementById("bar");
const far = document.getElementById("far");
const elsewhere = document.getElementById("elsewhere");
const running = job !== null && job.hasAttribute("data-running");
let made = null;

async function look() {
  const answer = await fetch(waiting.dataset.state).catch(() => null);
  if (!answer || !answer.ok) return setTimeout(look, 3000);
  const told = await answer.json();
  made ??= String(told.made);
  if (String(told.made) !== made || (waiting.dataset.busy && !told.busy)) return location.reload();
  if (running && (!told.job || told.job.ended)) return location.reload();
  if ("elsewhere" in told && Boolean(told.elsewhere) !== Boolean(waiting.dataset.elsewhere)) return location.reload();
  if (told.elsewhere && elsewhere.textContent !== told.elsewhere) elsewhere.textContent = told.elsewhere;
  if (running && told.job) {
    if (told.job.of) {
      bar.max = told.job.of;
      bar.value = told.job.done;
    }
    far.textContent = (told.job.of ? `${told.job.done} of ${told.job.of} photos, ` : "") + `${told.job.seconds} s`;
  }
  setTimeout(look, 1000);
}

if (waiting && (waiting.dataset.busy || running || waiting.dataset.elsewhere !== undefined)) setTimeout(look, 500);
