// Which photos are chosen in a scroll, by keys and by mouse.
import { selecting } from "./selecting.js";

export function choosing({ count, up, list, show, draw, digestAt, copy, blockOf, columns, page, first }) {
  const choice = { current: -1, has: (position) => marks[position] === 1, tell: (words) => tell(words) };
  const { ask, clear, mark, marks, none, tell, some } = selecting({ count, up, draw, digestAt, copy, blockOf });
  let anchor = -1;

  function step(to, extend) {
    const from = choice.current < 0 ? first() : choice.current;
    choice.current = Math.max(0, Math.min(count - 1, choice.current < 0 && to !== 0 && to !== count - 1 ? from : to));
    if (extend) {
      if (anchor < 0) anchor = from;
      mark(from, choice.current, 1);
    } else anchor = choice.current;
    show(choice.current);
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
    } else if (event.key === "Enter") ask(some() ? undefined : choice.current < 0 ? [] : [choice.current]);
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
  return choice;
}
