// Actions of the user with the mouse and the keyboard.

class Interactions {
  /** Handle the events of a view's table; listeners end with `signal`. */
  constructor(view, signal) {
    this.view = view;
    this.anchor = null; // number of the row where a range starts
    const on = (name, act) => view.table.addEventListener(name, act.bind(this), { signal });
    on("mousedown", (event) => event.shiftKey && event.preventDefault());
    on("click", this.clicked);
    on("keydown", this.pressed);
    on("copy", this.copied);
    this.isPointed = this.isFocused = this.isHolding = false;
    on("pointerenter", () => this.hold({ isPointed: true }));
    on("pointerleave", () => this.hold({ isPointed: false }));
    on("focusin", () => this.hold({ isFocused: true }));
    on("focusout", (event) => view.table.contains(event.relatedTarget) || this.hold({ isFocused: false }));
  }

  /** Tell the kernel when the pointer or the focus enters the table, or both left it; rows do not move in between. */
  hold(change) {
    Object.assign(this, change);
    const isHolding = this.isPointed || this.isFocused;
    if (isHolding === this.isHolding) return;
    this.isHolding = isHolding;
    this.view.send({ type: "hold", on: isHolding });
  }

  clicked(event) {
    const cell = event.target.closest(".rl-cell");
    if (!cell || !this.view.state || event.target.closest(".rl-handle")) return;
    const row = cell.parentElement;
    const column = Number(cell.getAttribute("aria-colindex")) - 1;
    if (event.target.closest(".rl-copy")) this.view.copyCell(row.line, column);
    else if (row === this.view.head) this.clickedHead(column);
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
    if (event.target.closest(".rl-expand")) this.open(data);
    else if (event.target.closest(".rl-select")) this.toggle(data);
    else if (this.view.state.is_compact) this.open(data);
    else if (event.shiftKey && this.anchor !== null) this.extend(data);
    else if (column === 0 || event.ctrlKey || event.metaKey || event.shiftKey) this.toggle(data);
    else if (event.detail > 1 || !document.getSelection().isCollapsed) return;
    else this.open(data);
    this.view.focus(row.line, column, true);
  }

  select(row) {
    if (!this.view.state.is_compact) this.toggle(row);
  }

  toggle(row) {
    this.anchor = row.number;
    row.selected = !row.selected;
    this.view.draw();
    this.view.send({ type: "select", row: row.number, on: row.selected });
  }

  extend(row) {
    this.view.send({ type: "extend", start: this.anchor, end: row.number, members: this.view.rows.members });
  }

  open(row) {
    this.anchor = row.number;
    if (row.isGroup) this.expand(row, !row.expanded);
    else this.view.send({ type: "open_row", row: row.number });
  }

  expand(row, on) {
    if (row.expanded !== on) this.view.send({ type: "expand", row: row.number, on });
  }

  /** Select all matching rows, but only after the filter in the field is applied. */
  selectAll(on) {
    const act = () => this.view.send({ type: "select_all", on, members: this.view.state.members });
    if (on) return this.view.filter.whenItHolds(act);
    this.view.filter.waiting = null;
    act();
  }

  pressed(event) {
    if (!this.view.state || event.altKey) return;
    const key = event.key;
    const withControl = event.ctrlKey || event.metaKey;
    const isAll = withControl && key.toLowerCase() === "a" && !this.view.state.is_compact;
    const isUndo = withControl && key === "z" && this.view.state.cleared > 0;
    const act = isAll ? () => this.selectAll(true) : isUndo ? () => this.view.restore() : this.actOf(event, withControl);
    if (!act || (key === "Enter" && event.shiftKey)) return;
    if (withControl && !isAll && !isUndo && !["Home", "End"].includes(key)) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  actOf(event, withControl) {
    const screen = Math.max(1, Math.floor(this.view.viewport.room / this.view.viewport.row) - 1);
    const last = this.view.state.lines - 1;
    const { line, column } = this.view.at;
    const move = (toLine, toColumn = column) => this.move(toLine, toColumn, event.shiftKey);
    const sideways = (step) => {
      const row = this.view.rows.get(line);
      if (event.shiftKey && line < 0) this.nudge(column, 16 * step);
      else if (row?.isGroup) this.expand(row, step > 0);
      else this.view.focus(line, column + step);
    };
    return {
      ArrowDown: () => move(line + 1),
      ArrowUp: () => move(line - 1),
      j: () => move(line + 1),
      k: () => move(line - 1),
      PageDown: () => move(line + screen),
      PageUp: () => move(Math.max(line - screen, 0)),
      ArrowLeft: () => sideways(-1),
      ArrowRight: () => sideways(1),
      Home: () => move(0, withControl ? 0 : column),
      End: () => move(last, withControl ? this.view.columns.shown.length : column),
      " ": () => (line < 0 ? this.clickedHead(column) : this.view.withRow(line, (row) => this.select(row))),
      Enter: () => (line < 0 ? this.clickedHead(column) : this.view.withRow(line, (row) => this.open(row))),
      c: () => line >= 0 && this.view.copyId(line),
      Escape: () => this.view.escape(),
    }[withControl && /^[cjk]$/.test(event.key) ? "" : event.key];
  }

  move(line, column, isRange) {
    if (isRange && this.view.at.line >= 0 && !this.view.state.is_compact) {
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
    if (column) this.view.columns.widen(shown[column - 1], this.view.head.children[column].offsetWidth + pixels);
  }

  copied(event) {
    if (!document.getSelection().isCollapsed) return;
    const cell = this.view.cellData(this.view.at);
    if (cell === null) return;
    event.clipboardData.setData("text/plain", Array.isArray(cell) ? cell[1] : cell);
    event.preventDefault();
  }
}
