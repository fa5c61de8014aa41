// The lines of the table: which of them are visible, and their elements.

const ROW = 28; // pixels of a line
const TALL = 46; // pixels of a line with a second text below the first one
const HEAD = 28;
const TALLEST = 15_000_000; // browsers cut off taller elements

/** The visible lines of a scroller; its scroll bar is scaled if no element can be as tall as all lines. */
class Viewport {
  constructor(scroller, body) {
    this.scroller = scroller;
    this.body = body;
    this.lines = 0;
    this.row = ROW;
    this.top = 0; // pixels above the first visible line, without scaling
    this.setTo = 0; // the matching scroll position
  }

  get isLaidOut() {
    return this.scroller.clientHeight > 0;
  }

  get room() {
    return Math.max(0, this.scroller.clientHeight - HEAD);
  }

  /** The number of row pixels per pixel of the scroll bar. */
  get scale() {
    const shown = this.physical - this.room;
    return shown > 0 ? (this.lines * this.row - this.room) / shown : 1;
  }

  /** Set the height of a line; the first visible line stays. */
  setRow(row) {
    this.top = (this.top / this.row) * row;
    this.row = row;
    this.body.parentElement.style.setProperty("--rl-line-height", `${row}px`);
  }

  /** Set the number of lines; the height fits at least `least` lines and is at most `height` pixels. */
  size(lines, least, height) {
    this.lines = lines;
    this.physical = Math.min(lines * this.row, TALLEST);
    this.body.style.height = `${this.physical}px`;
    const bar = this.scroller.offsetHeight - this.scroller.clientHeight;
    const wanted = HEAD + Math.max(lines || least, 2) * this.row + bar;
    if (this.wanted !== wanted) this.scroller.style.height = `${Math.min(wanted, height)}px`;
    this.wanted = wanted;
  }

  setTop(top) {
    this.top = clamp(top, 0, Math.max(0, this.lines * this.row - this.room));
    const scroll = this.top / this.scale;
    if (Math.abs(this.scroller.scrollTop - scroll) >= 1) this.scroller.scrollTop = scroll;
    this.setTo = this.scroller.scrollTop;
  }

  /** Use the new position of the scroll bar. */
  follow() {
    if (Math.abs(this.scroller.scrollTop - this.setTo) < 1) return;
    this.setTo = this.scroller.scrollTop;
    this.top = this.setTo * this.scale;
  }

  /** With a scaled scroll bar, scroll by rows instead of screens; return whether the position has changed. */
  wheel(event) {
    if (this.scale <= 1.001 || event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return false;
    const before = this.top;
    this.setTop(before + event.deltaY * [1, this.row, this.room][event.deltaMode]);
    return this.top !== before;
  }

  /** Scroll a line into view. */
  reveal(line) {
    const above = line * this.row;
    if (above < this.top) this.setTop(above);
    else if (above + this.row > this.top + this.room) this.setTop(above + this.row - this.room);
  }

  /** Return the first visible line and the one after the last visible line. */
  inView() {
    const first = clamp(Math.floor(this.top / this.row), 0, Math.max(0, this.lines - 1));
    return [first, Math.min(this.lines, Math.ceil((this.top + this.room) / this.row))];
  }

  /** Return the position of a line in the body, in pixels. */
  place(line) {
    return Math.round(line * this.row - this.top + this.top / this.scale);
  }
}

/** The elements of the visible lines, by line. */
class Lines {
  constructor(body) {
    this.body = body;
    this.drawn = new Map();
  }

  get(line) {
    return this.drawn.get(line);
  }

  /** Remove all lines except those from `first` to before `end`; call `leaving` for each. */
  keep(first, end, leaving) {
    for (const [line, row] of this.drawn) {
      if (line >= first && line < end) continue;
      leaving(row);
      row.remove();
      this.drawn.delete(line);
    }
  }

  /** Show the data of a row on a line; `leaving` is called for a replaced element. Without data, the line is empty. */
  show(line, place, columns, data, { state, now, leaving }) {
    let row = this.drawn.get(line);
    if (row && data && row.isGroup !== data.isGroup) {
      leaving(row);
      row.remove();
      this.drawn.delete(line);
      row = undefined;
    }
    row ??= this.add(line, columns, data?.isGroup ?? false);
    row.style.transform = `translateY(${place}px)`;
    row.classList.toggle("rl-loading", !data);
    if (!data) return;
    row.setAttribute("aria-selected", data.selected);
    const box = row.firstChild.firstChild;
    box.checked = data.selected;
    box.indeterminate = data.checked === "some";
    if (data.isGroup) return showGroup(row, data);
    row.classList.toggle("rl-member", data.isMember);
    row.firstChild.setAttribute("aria-label", data.selected ? "selected" : "not selected");
    if (data.number === state.opened) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    if (row.data === data.cells) return;
    row.data = data.cells;
    columns.forEach((column, i) => fillCell(row.children[i + 1], column, data.cells, state.colours, now));
  }

  /** Update the visible ages and countdowns. */
  tick(columns, now) {
    for (const row of this.drawn.values()) {
      columns.forEach((column, i) => row.children[i + 1]?.time !== undefined && tickCell(row.children[i + 1], column, now));
    }
  }

  add(line, columns, isGroup) {
    const row = make("div", "rl-row", { role: "row", "aria-rowindex": line + 2 });
    row.line = line;
    row.isGroup = isGroup;
    const box = make("input", "", { type: "checkbox", tabindex: "-1", "aria-hidden": "true" });
    row.append(make("div", "rl-cell rl-box", { role: "gridcell", "aria-colindex": "1", tabindex: "-1" }, box));
    if (isGroup) row.append(groupCell(columns.length));
    else row.append(...columns.map(emptyCell));
    this.drawn.set(line, row);
    const next = [...this.drawn.keys()].filter((other) => other > line).sort((a, b) => a - b)[0];
    this.body.insertBefore(row, next === undefined ? null : this.drawn.get(next));
    return row;
  }
}

function emptyCell(column, i) {
  const name = `rl-cell rl-${column.form}${column.key ? " rl-key" : ""}`;
  return make("div", name, { role: "gridcell", "aria-colindex": i + 2, tabindex: "-1" });
}

/** Return the cell of a group line; the keyboard uses the arrows and Space instead of its buttons. */
function groupCell(columns) {
  const text = make("span", "rl-alike");
  const expand = make("button", "rl-link rl-expand", { type: "button", tabindex: "-1" });
  const select = make("button", "rl-link rl-select", { type: "button", tabindex: "-1" });
  const content = make("span", "rl-group-content", {}, text, expand, select);
  return make("div", "rl-cell rl-group", { role: "gridcell", "aria-colindex": "2", "aria-colspan": columns, tabindex: "-1" }, content);
}

function showGroup(row, { size, label, expanded, checked }) {
  const count = (number) => number.toLocaleString("en");
  const set = (name, text) => {
    const element = row.querySelector(name);
    if (element.textContent !== text) element.textContent = text;
  };
  row.setAttribute("aria-expanded", expanded);
  row.firstChild.setAttribute("aria-label", `Select all ${count(size)} of this group; now ${checked}`);
  set(".rl-alike", `${expanded ? "▾" : "▸"} ${count(size - 1)} more like it${label ? ` (${label})` : ""}`);
  set(".rl-expand", expanded ? "collapse" : "expand");
  set(".rl-select", `${checked === "all" ? "deselect" : "select"} ${count(size)}`);
}
