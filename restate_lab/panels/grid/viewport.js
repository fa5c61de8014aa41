// The lines of the table: which of them are in sight, and the elements that show them.

const ROW = 28; // pixels; grid.css has the same
const HEAD = 30;
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

  /** Make room for so many lines, at most so many pixels high. */
  size(lines, height) {
    this.lines = lines;
    this.physical = Math.min(lines * ROW, TALLEST);
    this.body.style.height = `${this.physical}px`;
    const bar = this.scroller.offsetHeight - this.scroller.clientHeight;
    const wanted = HEAD + Math.max(lines * ROW, 2 * ROW) + bar;
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

  /** Show a row's data in a line at a place; without data the line is there and waits. */
  show(line, place, columns, data, state) {
    const row = this.drawn.get(line) ?? this.add(line, columns);
    row.style.transform = `translateY(${place}px)`;
    row.classList.toggle("rl-loading", !data);
    if (!data) return;
    row.setAttribute("aria-selected", data.selected);
    row.firstChild.firstChild.checked = data.selected;
    row.firstChild.setAttribute("aria-label", data.selected ? "selected" : "not selected");
    if (data.number === state.opened) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    if (row.data === data.cells) return;
    row.data = data.cells;
    data.cells.forEach((cell, i) => fillCell(row.children[i + 1], columns[i], cell, state.colours));
  }

  add(line, columns) {
    const row = make("div", "rl-row", { role: "row", "aria-rowindex": line + 2 });
    row.line = line;
    const box = make("input", "", { type: "checkbox", tabindex: "-1", "aria-hidden": "true" });
    row.append(make("div", "rl-cell rl-box", { role: "gridcell", "aria-colindex": "1", tabindex: "-1" }, box));
    columns.forEach((column, i) => {
      const name = `rl-cell rl-${column.kind}${column.key ? " rl-key" : ""}`;
      row.append(make("div", name, { role: "gridcell", "aria-colindex": i + 2, tabindex: "-1" }));
    });
    this.drawn.set(line, row);
    const next = [...this.drawn.keys()].filter((other) => other > line).sort((a, b) => a - b)[0];
    this.body.insertBefore(row, next === undefined ? null : this.drawn.get(next));
    return row;
  }
}

function fillCell(element, column, cell, colours) {
  const [text, more] = Array.isArray(cell) ? cell : [cell, cell];
  element.classList.toggle("rl-null", text === null);
  element.textContent = text ?? "–";
  if (text === null) element.setAttribute("aria-label", "null");
  else element.removeAttribute("aria-label");
  element.title = more ?? "null";
  const colour = column?.kind === "status" && Object.hasOwn(colours, text ?? "") && colours[text];
  if (!colour) return;
  const dot = make("span", "rl-dot", { "aria-hidden": "true" });
  dot.style.backgroundColor = colour;
  element.prepend(dot);
}
