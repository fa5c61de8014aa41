// The content of a cell: null, a text, [text, tooltip], or for an age or a countdown [text, tooltip, milliseconds].

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
  const [text, more, time] = Array.isArray(cell) ? cell : [cell, cell];
  element.classList.toggle("rl-null", text === null);
  element.textContent = text ?? "–";
  element.time = time;
  if (text === null) element.setAttribute("aria-label", more ?? "null");
  else element.removeAttribute("aria-label");
  element.title = more ?? "null";
  if (time !== undefined) tickCell(element, column, now);
  if (column.form === "id" && text !== null) addCopy(element);
  if (column.below) addBelow(element, cells[column.below.at]);
  if (column.form === "status") addDot(element, Object.hasOwn(colours, text ?? "") && colours[text]);
}

/** Update the age or the countdown of a cell. */
function tickCell(element, column, now) {
  const text = relativeText(element.time, now, column.form);
  if (element.textContent !== text) element.textContent = text;
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
