// What a reader does with the mouse and the keys.

class Hands {
  /** Work on a view's table; listeners end with `signal`. */
  constructor(view, signal) {
    this.view = view;
    this.anchor = null; // number of the row from which a range reaches
    const on = (name, act) => view.table.addEventListener(name, act.bind(this), { signal });
    on("mousedown", (event) => event.shiftKey && event.preventDefault());
    on("click", this.clicked);
    on("keydown", this.pressed);
    on("copy", this.copied);
  }

  clicked(event) {
    const cell = event.target.closest(".rl-cell");
    if (!cell || !this.view.state || event.target.closest(".rl-handle")) return;
    const row = cell.parentElement;
    const column = Number(cell.getAttribute("aria-colindex")) - 1;
    if (row === this.view.head) this.clickedHead(column);
    else this.clickedRow(event, row, column);
  }

  clickedHead(column) {
    this.view.focus(-1, column, true);
    if (column) this.view.columns.sortBy(this.view.columns.shown[column - 1]);
    else this.selectAll(this.view.state.checked !== "all");
  }

  clickedRow(event, row, column) {
    const data = this.view.rows.get(row.line);
    if (!data) return;
    if (event.shiftKey && this.anchor !== null) this.extend(data);
    else if (column === 0 || event.ctrlKey || event.metaKey || event.shiftKey) this.toggle(data);
    else if (event.detail > 1 || !document.getSelection().isCollapsed) return;
    else this.open(data);
    this.view.focus(row.line, column, true);
  }

  toggle(row) {
    this.anchor = row.number;
    row.selected = !row.selected;
    this.view.draw();
    this.view.send({ type: "select", row: row.number, on: row.selected });
  }

  extend(row) {
    this.view.send({ type: "extend", start: this.anchor, end: row.number, revision: this.view.rows.revision });
  }

  open(row) {
    this.anchor = row.number;
    this.view.send({ type: "open_row", row: row.number });
  }

  /** Select all that match, but not before the filter that stands there is the filter that holds. */
  selectAll(on) {
    const act = () => this.view.send({ type: "select_all", on, revision: this.view.state.revision });
    if (on) return this.view.filter.whenItHolds(act);
    this.view.filter.waiting = null;
    act();
  }

  pressed(event) {
    if (!this.view.state || event.altKey) return;
    const key = event.key;
    const withControl = event.ctrlKey || event.metaKey;
    const isAll = withControl && key.toLowerCase() === "a";
    const act = isAll ? () => this.selectAll(true) : this.actOf(event, withControl);
    if (!act || (!isAll && withControl && !["Home", "End"].includes(key)) || (key === "Enter" && event.shiftKey)) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  actOf(event, withControl) {
    const screen = Math.max(1, Math.floor(this.view.viewport.room / ROW) - 1);
    const last = this.view.state.lines - 1;
    const { line, column } = this.view.at;
    const move = (toLine, toColumn = column) => this.move(toLine, toColumn, event.shiftKey);
    const sideways = (step) => (event.shiftKey && line < 0 ? this.nudge(column, 16 * step) : this.view.focus(line, column + step));
    return {
      ArrowDown: () => move(line + 1),
      ArrowUp: () => move(line - 1),
      PageDown: () => move(line + screen),
      PageUp: () => move(Math.max(line - screen, 0)),
      ArrowLeft: () => sideways(-1),
      ArrowRight: () => sideways(1),
      Home: () => move(0, withControl ? 0 : column),
      End: () => move(last, withControl ? this.view.columns.shown.length : column),
      " ": () => (line < 0 ? this.clickedHead(column) : this.view.withRow(line, (row) => this.toggle(row))),
      Enter: () => (line < 0 ? this.clickedHead(column) : this.view.withRow(line, (row) => this.open(row))),
      Escape: () => this.view.state.chosen && this.view.send({ type: "clear" }),
    }[event.key];
  }

  move(line, column, isRange) {
    if (isRange && this.view.at.line >= 0) {
      this.anchor ??= this.view.rows.get(this.view.at.line)?.number ?? null;
      this.view.focus(Math.max(0, line), column);
      if (this.anchor !== null) this.view.withRow(this.view.at.line, (row) => this.extend(row));
      return;
    }
    this.anchor = null;
    this.view.focus(line, column);
  }

  nudge(column, pixels) {
    const { shown } = this.view.columns;
    if (column) this.view.columns.widen(shown[column - 1], shown[column - 1].width + pixels);
  }

  copied(event) {
    if (!document.getSelection().isCollapsed) return;
    const cell = this.view.rows.get(this.view.at.line)?.cells[this.view.at.column - 1];
    if (cell === undefined || cell === null) return;
    event.clipboardData.setData("text/plain", Array.isArray(cell) ? cell[1] : cell);
    event.preventDefault();
  }
}
