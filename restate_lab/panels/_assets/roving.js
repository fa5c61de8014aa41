// One stop of the Tab key for a group of controls; the arrow keys move between them.

const STOPS = "button, input[type=checkbox], select, summary, svg[tabindex]"; // the arrow keys of a text field move its caret
const FIRST_STOP = "[aria-selected=true], [data-first]"; // where the Tab key enters a group at first
const HIDDEN = "[hidden], [aria-hidden=true], [style*='display: none'], details:not([open]) > :not(summary)";

/** Make the controls in an element one stop of the Tab key; arrow keys, Home and End move between them. */
function rove(root) {
  root.dataset.roving = "";
  let current = null;
  let isChosen = false;
  const controls = () => [...root.querySelectorAll(STOPS)].filter((each) => !each.disabled && !each.closest(HIDDEN));
  const mark = () => {
    const all = controls();
    if (!isChosen || !all.includes(current)) current = (isChosen ? same(all, current) : null) ?? all.find((each) => each.matches(FIRST_STOP)) ?? all[0];
    for (const each of all) if (each.tabIndex !== (each === current ? 0 : -1)) each.tabIndex = each === current ? 0 : -1;
  };
  root.addEventListener("focusin", (event) => {
    const control = event.target.closest(STOPS);
    if (!control) return;
    current = control;
    isChosen = true;
    mark();
  });
  root.addEventListener("keydown", (event) => {
    const next = hasModifier(event) ? null : nextControl(controls().filter((each) => each.checkVisibility()), event);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  new MutationObserver(mark).observe(root, { childList: true, subtree: true, attributeFilter: ["hidden", "disabled", "open", "style"] });
  mark();
}

function hasModifier(event) {
  return event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
}

/** Return the control that a redraw put in the place of another one. */
function same(all, control) {
  const name = control?.dataset.focus;
  return name === undefined ? undefined : all.find((each) => each.dataset.focus === name);
}

/** Return the control that an arrow key leads to: the next one in order, or the nearest one on the next line. */
function nextControl(all, event) {
  const at = all.indexOf(event.target.closest(STOPS));
  const isVertical = ["ArrowUp", "ArrowDown"].includes(event.key);
  if (at < 0 || (isVertical && event.target.matches("select"))) return null;
  if (isVertical) return nearest(all, all[at], event.key === "ArrowDown" ? 1 : -1);
  const index = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
  return index === undefined ? null : all[clamp(index, 0, all.length - 1)];
}

function nearest(all, control, direction) {
  const box = control.getBoundingClientRect();
  const middle = (each) => each.top + each.height / 2;
  const below = all
    .map((each) => [each, each.getBoundingClientRect()])
    .filter(([, each]) => direction * (middle(each) - middle(box)) > box.height / 2);
  const line = Math.min(...below.map(([, each]) => direction * middle(each)));
  const distance = ([, each]) => Math.abs(each.left + each.width / 2 - box.left - box.width / 2);
  const onLine = below.filter(([, each]) => direction * middle(each) < line + box.height / 2);
  return onLine.sort((a, b) => distance(a) - distance(b))[0]?.[0] ?? null;
}
