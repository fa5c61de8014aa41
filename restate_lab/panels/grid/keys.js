// The keys of the table, shown on request, and a short hint when the table gets the focus for the first time.

const HINT = "Enter opens a row, Space selects it, / filters, ? shows all keys.";
const HINTED = "restate_lab.grid.hinted"; // in the browser's storage
const KEYS = [
  ["↑ ↓ or k j", "move to another row"],
  ["← →", "move to another column; collapse or expand a group"],
  ["Enter", "open the row; expand a group"],
  ["c", "copy the id of the row"],
  ["/", "search: a text, ids, or a log line with an id"],
  ["g", "go to the list"],
  ["Esc", "deselect all; in an open invocation, go back to its row"],
  ["Tab", "go to the next group; the arrow keys move within it"],
];
const SELECTING = [
  ["Space", "select the row or the group"],
  ["Shift+↑ ↓", "select a range"],
  ["Ctrl+A", "select all that match"],
  ["Ctrl+Z", "undo deselecting all"],
];
const HEADER = [["In the header", "Enter sorts, Shift+← → changes the width"]];

class Keys {
  /** `button` also opens the list; listeners end with `signal`. */
  constructor(button, signal) {
    this.button = button;
    this.list = make("dl");
    this.root = make("div", "rl-keys", { role: "dialog", "aria-label": "Keys", tabindex: "-1", hidden: "" }, this.list);
    this.root.addEventListener("keydown", (event) => this.press(event), { signal });
    document.addEventListener("pointerdown", (event) => this.leave(event), { signal });
    this.button.setAttribute("aria-expanded", "false");
  }

  set(state) {
    const keys = [...KEYS, ...(state.is_compact ? [] : SELECTING), ...HEADER];
    this.list.replaceChildren(...keys.flatMap(([key, text]) => [make("dt", "", {}, key), make("dd", "", {}, text)]));
  }

  toggle() {
    this.show(this.root.hidden);
  }

  show(on) {
    if (on) this.before = document.activeElement;
    this.root.hidden = !on;
    this.button.setAttribute("aria-expanded", on);
    if (on) this.root.focus();
    else this.before?.focus({ preventScroll: true });
  }

  press(event) {
    if (!["Escape", "?"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    this.show(false);
  }

  leave(event) {
    if (this.root.hidden || this.root.contains(event.target) || this.button.contains(event.target)) return;
    this.before = null;
    this.show(false);
  }
}

/** Return whether the hint is new in this browser, and record that it was shown. */
function takeHint() {
  try {
    if (localStorage.getItem(HINTED)) return false;
    localStorage.setItem(HINTED, "1");
  } catch {
    return false; // without storage, the page would show it every time
  }
  return true;
}
