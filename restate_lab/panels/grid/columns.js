// The header of the table, and the list that shows and hides columns.

const BOX = 36; // pixels of the column with the boxes
const NARROWEST = 40;
const WIDEST = 2_000;

class Columns {
  /** `send` tells the kernel, `table` is laid out by these columns; listeners end with `signal`. */
  constructor(send, table, signal) {
    this.send = send;
    this.table = table;
    this.shown = [];
    this.head = make("div", "rl-row rl-head", { role: "row", "aria-rowindex": "1" });
    this.choice = make("div", "rl-choice", { role: "group", "aria-label": "Columns shown" });
    this.chooser = make("details", "rl-chooser", {}, make("summary", "rl-button", {}, "Columns"), this.choice);
    this.head.addEventListener("pointerdown", (event) => this.drag(event), { signal });
    this.chooser.addEventListener("keydown", (event) => this.escape(event), { signal });
    document.addEventListener("pointerdown", (event) => this.leave(event), { signal });
  }

  /** Take what a state says of columns; tell whether anything of it is new. */
  set(state) {
    const { columns, sort, descending, checked, zone } = state;
    const told = JSON.stringify([columns, sort, descending, checked, zone]);
    if (told === this.told) return false;
    this.told = told;
    this.state = state;
    this.shown = columns.filter((column) => column.shown);
    /** What the cells of a row hold; where it changes, rows are drawn anew. */
    this.cells = JSON.stringify(this.shown.map(({ name, kind, key }) => [name, kind, key]));
    this.lay(this.shown.map((column) => column.width));
    this.head.replaceChildren(this.headBox(), ...this.shown.map((column, i) => this.headCell(column, i + 1)));
    this.choice.replaceChildren(...columns.map((column) => this.choiceOf(column)));
    return true;
  }

  lay(widths) {
    this.table.style.setProperty("--rl-columns", [BOX, ...widths].map((width) => `${width}px`).join(" "));
    this.table.style.width = `${widths.reduce((sum, width) => sum + width, BOX)}px`;
  }

  headBox() {
    const box = make("input", "", { type: "checkbox", tabindex: "-1", "aria-hidden": "true" });
    box.checked = this.state.checked === "all";
    box.indeterminate = this.state.checked === "some";
    const label = `Select all that match; now ${this.state.checked}`;
    return make("div", "rl-cell rl-box", { role: "columnheader", tabindex: "-1", "aria-colindex": "1", "aria-label": label }, box);
  }

  headCell(column, index) {
    const { sort, descending, zone } = this.state;
    const cell = make("div", `rl-cell rl-${column.kind}`, { role: "columnheader", tabindex: "-1", "aria-colindex": index + 1 });
    cell.append(make("span", "rl-name", {}, column.label));
    if (column.kind === "time") cell.append(make("span", "rl-zone", {}, zone));
    const isSorted = sort === column.name;
    cell.append(make("span", "rl-arrow", { "aria-hidden": "true" }, isSorted ? (descending ? "▼" : "▲") : ""));
    cell.setAttribute("aria-sort", isSorted ? (descending ? "descending" : "ascending") : "none");
    cell.title = `${column.label}: click or Enter sorts, Shift+← and → change the width`;
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
    this.chooser.open = false;
    this.chooser.firstChild.focus();
  }

  leave(event) {
    if (!this.chooser.contains(event.target)) this.chooser.open = false;
  }

  sortBy(column) {
    const { sort, descending } = this.state;
    if (sort !== column.name) this.send({ type: "sort", column: column.name, descending: false });
    else if (!descending) this.send({ type: "sort", column: column.name, descending: true });
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
    const start = event.clientX;
    const before = this.shown.map((each) => each.width);
    const width = (move) => clamp(column.width + move.clientX - start, NARROWEST, WIDEST);
    const done = new AbortController();
    const on = (name, act) => window.addEventListener(name, act, { signal: done.signal });
    on("pointermove", (move) => this.lay(before.map((each, i) => (i === index ? width(move) : each))));
    on("pointerup", (move) => { done.abort(); this.widen(column, width(move)); });
    on("pointercancel", () => { done.abort(); this.lay(before); });
  }
}
