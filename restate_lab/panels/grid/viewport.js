// The lines of the table: which of them are in sight, and the elements that show them.

const ROW = 26; // pixels; grid.css has the same
const HEAD = 28;
const TALLEST = 15_000_000; // browsers cut off elements that are higher

/** Which lines are in sight of a scroller, whose bar is scaled where an element cannot be as high as all lines. */
class Viewport {
  constructor(scroller, body) {
    this.scroller = scroller;
    this.body = body;
    this.lines = 0;
    this.top = 0; // pixels above the first line in sight, as if no element were too high
    this.setTo = 0; // the scroll position that belongs to it
  }

  get isLaidOut() {
    return this.scroller.clientHeight > 0;
  }

  get room() {
    return Math.max(0, this.scroller.clientHeight - HEAD);
  }

  /** How many pixels of rows one pixel of the scroll bar stands for. */
  get scale() {
    const shown = this.physical - this.room;
    return shown > 0 ? (this.lines * ROW - this.room) / shown : 1;
  }

  /** Make room for so many lines, or `least` where there are fewer, at most so many pixels high. */
  size(lines, least, height) {
    this.lines = lines;
    this.physical = Math.min(lines * ROW, TALLEST);
    this.body.style.height = `${this.physical}px`;
    const bar = this.scroller.offsetHeight - this.scroller.clientHeight;
    const wanted = HEAD + Math.max(lines || least, 2) * ROW + bar;
    if (this.wanted !== wanted) this.scroller.style.height = `${Math.min(wanted, height)}px`;
    this.wanted = wanted;
  }

  setTop(top) {
    this.top = clamp(top, 0, Math.max(0, this.lines * ROW - this.room));
    const scroll = this.top / this.scale;
    if (Math.abs(this.scroller.scrollTop - scroll) >= 1) this.scroller.scrollTop = scroll;
    this.setTo = this.scroller.scrollTop;
  }

  /** Take over where the scroll bar was moved to. */
  follow() {
    if (Math.abs(this.scroller.scrollTop - this.setTo) < 1) return;
    this.setTo = this.scroller.scrollTop;
    this.top = this.setTo * this.scale;
  }

  /** With a scaled scroll bar a turn of the wheel still moves by rows, not by screens; tell whether it has moved. */
  wheel(event) {
    if (this.scale <= 1.001 || event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return false;
    const before = this.top;
    this.setTop(before + event.deltaY * [1, ROW, this.room][event.deltaMode]);
    return this.top !== before;
  }

  /** Bring a line into sight. */
  reveal(line) {
    const above = line * ROW;
    if (above < this.top) this.setTop(above);
    else if (above + ROW > this.top + this.room) this.setTop(above + ROW - this.room);
  }

  /** Return the first line in sight and the one after the last. */
  inView() {
    const first = clamp(Math.floor(this.top / ROW), 0, Math.max(0, this.lines - 1));
    return [first, Math.min(this.lines, Math.ceil((this.top + this.room) / ROW))];
  }

  /** Return where in the body a line stands, in pixels. */
  place(line) {
    return Math.round(line * ROW - this.top + this.top / this.scale);
  }
}

/** The elements of the lines in sight, by line. */
class Lines {
  constructor(body) {
    this.body = body;
    this.drawn = new Map();
  }

  get(line) {
    return this.drawn.get(line);
  }

  /** Take away all lines but those from `first` to before `end`, `leaving` each. */
  keep(first, end, leaving) {
    for (const [line, row] of this.drawn) {
      if (line >= first && line < end) continue;
      leaving(row);
      row.remove();
      this.drawn.delete(line);
    }
  }

  /** Show a row's data in a line at a place, `leaving` an element of the other kind; without data the line waits. */
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
    data.cells.forEach((cell, i) => fillCell(row.children[i + 1], columns[i], cell, state.colours, now));
  }

  /** Write the ages and countdowns in sight anew. */
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

/** Return the cell of a group's line; the keys of its buttons are the arrows and Space. */
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
