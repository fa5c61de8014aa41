// The header of the table, and the list that shows and hides columns.

const BOX = 30; // width of the check box column in pixels
const FLEX = 0.35; // minimum fraction of the shared width for the flexible column
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
    this.shown = columns.filter((column) => column.shown);
    /** The columns that determine the cells of a row; if they change, all rows are redrawn. */
    this.cells = JSON.stringify(this.shown.map(({ name, form, key }) => [name, form, key]));
    this.lay();
    this.head.replaceChildren(this.headBox(), ...this.shown.map((column, i) => this.headCell(column, i + 1)));
    this.choice.replaceChildren(...columns.map((column) => this.choiceOf(column)));
    return true;
  }

  /** Lay out the columns in the width of the scroller; `changed` is the width of a column whose edge is dragged. */
  lay(index = -1, changed = 0) {
    const columns = this.shown.map((column, i) => (i === index ? { width: changed, least: changed } : column));
    const fitted = fit(columns, this.table.parentElement.clientWidth - this.box);
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

/** Return the widths of columns: shrinkable columns and the flexible one share the width above the minimum widths. */
function fit(columns, room) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const flex = columns.findIndex((column) => column.flex);
  if (flex < 0) return columns.map(({ width }) => width);
  const rest = Math.max(0, room - sum(columns.map(({ least }) => least)));
  const wish = columns.map(({ width, least }, i) => (i === flex ? 0 : width - least));
  const share = Math.min(1, (rest * (1 - FLEX)) / Math.max(1, sum(wish)));
  const widths = columns.map(({ least }, i) => least + Math.floor(wish[i] * share));
  widths[flex] += Math.floor(rest - sum(wish.map((each) => Math.floor(each * share))));
  return widths;
}

/** Return whether a column sorts opposite to its values: the lowest age is the latest timestamp. */
function isReversed(column) {
  return column.form === "age";
}
