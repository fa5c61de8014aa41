// The header of the table, and the list that shows and hides columns.

const BOX = 30; // width of the check box column in pixels
const READABLE = 220; // pixels of the flexible column below which columns leave the table
const NARROWEST = 40;
const WIDEST = 2_000;

class Columns {
  /** `send` sends a message to the kernel, `table` is the element to lay out; listeners end with `signal`. */
  constructor(send, table, signal) {
    this.send = send;
    this.table = table;
    this.shown = [];
    this.box = BOX; // 0 without check boxes
    this.head = make("div", "rl-row rl-head", { role: "row", "aria-rowindex": "1" });
    this.choice = make("div", "rl-choice", { role: "group", "aria-label": "Columns shown" });
    this.chooser = make("details", "rl-chooser", {}, make("summary", "rl-button", {}, "Columns"), this.choice);
    this.head.addEventListener("pointerdown", (event) => this.drag(event), { signal });
    this.chooser.addEventListener("keydown", (event) => this.escape(event), { signal });
    document.addEventListener("pointerdown", (event) => this.leave(event), { signal });
  }

  /** Apply the columns of a state; return whether they have changed. */
  set(state) {
    const { columns, sort, descending, checked, zone, is_compact: isCompact } = state;
    const description = JSON.stringify([columns, sort, descending, checked, zone, isCompact]);
    if (description === this.description) return false;
    this.description = description;
    this.state = state;
    this.box = isCompact ? 0 : BOX;
    this.chosen = columns.filter((column) => column.shown).map((column, at) => ({ ...column, at }));
    /** The columns that determine the cells of a row; if they change, all rows are redrawn. */
    this.cells = JSON.stringify(this.chosen.map(({ name, form, key }) => [name, form, key]));
    this.isOther = this.choose();
    this.choice.replaceChildren(...columns.map((column) => this.choiceOf(column)));
    return true;
  }

  get room() {
    return this.table.parentElement.clientWidth - this.box;
  }

  /** Choose the columns that fit into the page, and lay them out; return whether they have changed. */
  choose() {
    const before = this.shown;
    this.shown = fitting(this.chosen, this.room);
    this.isTall = this.shown.some((column) => column.below);
    this.lay();
    this.head.replaceChildren(this.headBox(), ...this.shown.map((column, i) => this.headCell(column, i + 1)));
    const names = (columns) => columns.map(({ name, below }) => [name, below?.name]).join();
    return names(before) !== names(this.shown);
  }

  /** Lay out the columns in the width of the scroller; `changed` is the width of a column whose edge is dragged. */
  lay(index = -1, changed = 0) {
    const columns = this.shown.map((column, i) => (i === index ? { width: changed, least: changed } : column));
    const fitted = fit(columns, this.room);
    const widths = this.box ? [this.box, ...fitted] : fitted;
    this.table.style.setProperty("--rl-columns", widths.map((width) => `${width}px`).join(" "));
    this.table.style.width = `${widths.reduce((sum, width) => sum + width, 0)}px`;
  }

  headBox() {
    const box = make("input", "", { type: "checkbox", tabindex: "-1", "aria-hidden": "true" });
    box.checked = this.state.checked === "all";
    box.indeterminate = this.state.checked === "some";
    const label = `Select all that match; now ${this.state.checked}`;
    return make("div", "rl-cell rl-box", { role: "columnheader", tabindex: "-1", "aria-colindex": "1", "aria-label": label }, box);
  }

  headCell(column, index) {
    const { sort, zone } = this.state;
    const cell = make("div", `rl-cell rl-${column.form}`, { role: "columnheader", tabindex: "-1", "aria-colindex": index + 1 });
    cell.append(make("span", "rl-name", {}, column.label));
    if (column.form === "time") cell.append(make("span", "rl-zone", {}, zone));
    const isSorted = sort === column.name;
    const descending = this.state.descending !== isReversed(column);
    cell.append(make("span", "rl-arrow", { "aria-hidden": "true" }, isSorted ? (descending ? "▼" : "▲") : ""));
    cell.setAttribute("aria-sort", isSorted ? (descending ? "descending" : "ascending") : "none");
    const name = column.label === column.name ? column.label : `${column.label} (${column.name})`;
    cell.title = `${name}: click or Enter sorts, Shift+← and → change the width`;
    cell.append(make("span", "rl-handle", { "aria-hidden": "true" }));
    return cell;
  }

  choiceOf(column) {
    const box = make("input", "", { type: "checkbox" });
    box.checked = column.shown;
    box.disabled = column.shown && this.shown.length === 1;
    box.addEventListener("change", () => this.send({ type: "column", column: column.name, shown: box.checked }));
    return make("label", "", {}, box, column.label);
  }

  escape(event) {
    if (event.key !== "Escape" || !this.chooser.open) return;
    event.preventDefault();
    this.chooser.open = false;
    this.chooser.firstChild.focus();
  }

  leave(event) {
    if (!this.chooser.contains(event.target)) this.chooser.open = false;
  }

  sortBy(column) {
    const { sort, descending } = this.state;
    const isFirst = descending === isReversed(column);
    if (sort !== column.name) this.send({ type: "sort", column: column.name, descending: isReversed(column) });
    else if (isFirst) this.send({ type: "sort", column: column.name, descending: !descending });
    else this.send({ type: "sort", column: null });
  }

  widen(column, pixels) {
    this.send({ type: "width", column: column.name, pixels: clamp(Math.round(pixels), NARROWEST, WIDEST) });
  }

  drag(event) {
    const cell = event.target.closest(".rl-handle")?.parentElement;
    if (!cell || event.button !== 0) return;
    event.preventDefault();
    const index = Number(cell.getAttribute("aria-colindex")) - 2;
    const column = this.shown[index];
    const [start, before] = [event.clientX, cell.offsetWidth];
    const width = (move) => clamp(before + move.clientX - start, NARROWEST, WIDEST);
    const done = new AbortController();
    const on = (name, act) => window.addEventListener(name, act, { signal: done.signal });
    on("pointermove", (move) => this.lay(index, width(move)));
    on("pointerup", (move) => { done.abort(); this.widen(column, width(move)); });
    on("pointercancel", () => { done.abort(); this.lay(); });
  }
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Return the columns without those that leave a narrow page; a column can be shown below another one. */
function fitting(chosen, room) {
  let shown = chosen.map((column) => ({ ...column }));
  const needed = () => sum(shown.map(({ width, flex }) => (flex ? Math.min(width, READABLE) : width)));
  const leaving = chosen.filter(({ leaves }) => leaves !== null).sort((a, b) => a.leaves - b.leaves);
  for (const column of leaving) {
    if (room <= 0 || needed() <= room || shown.length < 2) break;
    shown = shown.filter(({ name }) => name !== column.name);
    const host = shown.find(({ name }) => name === column.under);
    if (host) host.below = column;
  }
  return shown;
}

/** Return the widths of columns, which fill the room: no text is cut while there is room. */
function fit(columns, room) {
  let widths = columns.map(({ width }) => width);
  // The flexible column shrinks first, but stays readable; then all texts shrink alike.
  for (const least of [({ width, flex }) => (flex ? Math.min(width, READABLE) : width), (column) => column.least]) {
    const missing = sum(widths) - room;
    if (missing <= 0) break;
    const wish = columns.map((column, i) => widths[i] - least(column));
    const share = Math.min(1, missing / Math.max(1, sum(wish)));
    widths = widths.map((width, i) => Math.floor(width - wish[i] * share));
  }
  const spare = room - sum(widths);
  if (spare <= 0) return widths;
  const flexible = columns.some(({ flex }) => flex) ? "flex" : "grows";
  const growing = columns.flatMap((column, i) => (column[flexible] ? [i] : []));
  const parts = growing.length ? growing : [columns.length - 1];
  parts.forEach((i, at) => { widths[i] += Math.floor(((at + 1) * spare) / parts.length) - Math.floor((at * spare) / parts.length); });
  return widths;
}

/** Return whether a column sorts opposite to its values: the lowest age is the latest timestamp. */
function isReversed(column) {
  return column.form === "age";
}
