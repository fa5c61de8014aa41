// The content of a cell: null, a text, [text, tooltip], for an age or a countdown [text, tooltip, milliseconds], or
// [text, tooltip, null, drawing]; a drawing is {bar: [lengths of four parts, place of the mark]} or {line: [numbers]}.

/** Return a duration in at most two units, only as exact as a person needs: "42s", "36m", "2h 13m", "12d". */
function shortDuration(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const [minutes, hours, days] = [60, 3_600, 86_400].map((size) => Math.floor(seconds / size));
  const two = (count, unit, rest, smaller) => `${count}${unit}${rest ? ` ${rest}${smaller}` : ""}`;
  if (seconds < 60) return `${seconds}s`;
  if (minutes < 60) return `${minutes}m`;
  if (hours < 24) return two(hours, "h", minutes % 60, "m");
  return days < 10 ? two(days, "d", hours % 24, "h") : `${days}d`;
}

/** Return the time between a timestamp and now, as an age ("36m") or as a countdown ("in 4s", then "now", "12s ago"). */
function relativeText(time, now, form) {
  if (time > now) return `in ${shortDuration(time - now + 999)}`;
  if (form === "age") return shortDuration(now - time);
  return now - time < 2_000 ? "now" : `${shortDuration(now - time)} ago`;
}

function fillCell(element, column, cells, colours, now) {
  const cell = cells[column.at];
  const [text, more, time, drawing] = Array.isArray(cell) ? cell : [cell, cell];
  element.classList.toggle("rl-null", text === null);
  element.textContent = text ?? (drawing ? "" : "–");
  element.time = time ?? undefined;
  if (text === null) element.setAttribute("aria-label", more ?? "null");
  else element.removeAttribute("aria-label");
  element.title = more ?? "null";
  if (element.time !== undefined) tickCell(element, column, now);
  if (drawing) element.prepend(drawing.bar ? drawBar(drawing.bar, colours["backing-off"]) : drawLine(drawing.line));
  if (column.form === "id" && text !== null) addCopy(element);
  if (column.below) addBelow(element, cells[column.below.at]);
  if (column.form === "status") addDot(element, Object.hasOwn(colours, text ?? "") && colours[text]);
}

/** Update the age or the countdown of a cell. */
function tickCell(element, column, now) {
  const text = relativeText(element.time, now, column.form);
  if (element.textContent !== text) element.textContent = text;
}

/** Return a bar: running calls are solid, other use of the limit is gray, waiting ones striped, those between attempts in `colour`, a line is the limit. */
function drawBar([running, others, waiting, between, mark], colour) {
  const part = (name, length) => {
    const element = make("span", `rl-bar-${name}`);
    element.style.width = `${100 * length}%`;
    return element;
  };
  const bar = make("span", "rl-drawing rl-load", { "aria-hidden": "true" });
  const retried = part("between", between);
  retried.style.background = `repeating-linear-gradient(45deg, ${colour} 0 1.5px, transparent 1.5px 4px)`;
  bar.append(part("runs", running), part("others", others), part("waits", waiting), retried);
  if (mark >= 0) {
    const line = make("span", "rl-mark");
    line.style.left = `${100 * mark}%`;
    bar.append(line);
  }
  return bar;
}

/** Return a line through numbers from 0 to their maximum. */
function drawLine(numbers) {
  const [width, height] = [70, 16];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "rl-drawing rl-trend");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(1, ...numbers);
  const place = (value, at) => `${(1 + (at * (width - 2)) / Math.max(1, numbers.length - 1)).toFixed(1)},${(height - 2 - (value * (height - 4)) / most).toFixed(1)}`;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", (numbers.length > 1 ? numbers : [...numbers, ...numbers]).map(place).join(" "));
  svg.append(line);
  return svg;
}

function addBelow(element, cell) {
  const [text, more] = Array.isArray(cell) ? cell : [cell, cell];
  element.replaceChildren(make("div", "rl-over", {}, element.textContent), make("div", "rl-below", { title: more ?? "" }, text ?? ""));
}

function addCopy(element) {
  element.append(make("button", "rl-copy", { type: "button", tabindex: "-1", "aria-label": "Copy", title: "Copy (key c)" }));
}

function addDot(element, colour) {
  if (!colour) return;
  const dot = make("span", "rl-dot", { "aria-hidden": "true" });
  dot.style.backgroundColor = colour;
  element.prepend(dot);
}
