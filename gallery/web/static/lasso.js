// A line around points, in the map's own coordinates: drawn, written into an address, and what is inside.
const MOST = 120; // corners, so that an address stays one that can be sent

// Fewer corners, rounded to a thousandth of its size; a line that is written and read again is the same one.
export function written(line) {
  const [left, lower, right, upper] = boxOf(line);
  const wide = Math.max(right - left, upper - lower) || 1e-6;
  const digits = Math.min(7, Math.max(3, 3 - Math.floor(Math.log10(wide))));
  let kept = line;
  for (let near = wide / 500; kept.length > 4 && (kept === line || kept.length > MOST); near *= 1.5) kept = fewer(line, near);
  return kept.map((point) => point.map((one) => Number(one.toFixed(digits))).join(",")).join(",");
}

// The corners that an address has; null where it has no line.
export function read(text) {
  const numbers = (text || "").split(",").map(Number);
  if (numbers.length < 6 || numbers.length % 2 || !numbers.every(Number.isFinite)) return null;
  return Array.from({ length: numbers.length / 2 }, (_, at) => numbers.slice(2 * at, 2 * at + 2));
}

// A byte for each of the points (two numbers each in `places`): whether it is inside, by the even-odd rule.
export function inside(line, places) {
  const found = new Uint8Array(places.length / 2), [left, lower, right, upper] = boxOf(line);
  const xs = Float64Array.from(line, (one) => one[0]), ys = Float64Array.from(line, (one) => one[1]);
  for (let at = 0; at < found.length; at++) {
    const x = places[2 * at], y = places[2 * at + 1];
    if (x < left || x > right || y < lower || y > upper) continue;
    let odd = 0;
    for (let one = 0, last = xs.length - 1; one < xs.length; last = one++) {
      const crosses = ys[last] > y !== ys[one] > y;
      if (crosses && x < ((xs[one] - xs[last]) * (y - ys[last])) / (ys[one] - ys[last]) + xs[last]) odd ^= 1;
    }
    found[at] = odd;
  }
  return found;
}

function boxOf(line) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of line) {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  return box;
}

// Ramer, 1972; Douglas and Peucker, 1973: corners farther than `near` from the line without them stay.
function fewer(line, near) {
  const kept = new Uint8Array(line.length), left = [[0, line.length - 1]];
  kept[0] = kept[line.length - 1] = 1;
  while (left.length) {
    const [from, to] = left.pop();
    let far = near, worst = -1;
    for (let at = from + 1; at < to; at++) {
      const away = distance(line[at], line[from], line[to]);
      if (away > far) [far, worst] = [away, at];
    }
    if (worst < 0) continue;
    kept[worst] = 1;
    left.push([from, worst], [worst, to]);
  }
  return line.filter((_, at) => kept[at]);
}

function distance([x, y], [ax, ay], [bx, by]) {
  const long = Math.hypot(bx - ax, by - ay);
  return long ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / long : Math.hypot(x - ax, y - ay);
}
