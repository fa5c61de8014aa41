// The view of a grid. It holds the rows in sight and a margin; the kernel sorts, filters, selects and formats.
// Whatever comes from the kernel is set as text. grid_messages.py says what may be sent, grid_conversation.py answers.

const ROW = 28; // pixels; grid.css has the same
const HEAD = 30;
const TALLEST = 15_000_000; // browsers cut off elements that are higher
const MARGIN = 30; // rows asked for above and below what is in sight
const MOST = 200; // rows of one page
const KEPT = 2_000; // rows kept in the browser
const BEAT = 10_000; // ms between two signs of life
const TYPING = 250; // ms without a key before a filter is sent
const AGAIN = 10_000; // ms after which an unanswered question may be asked again
const SLOW = 1_500; // ms after which waiting is said
const LOST = 12_000; // ms after which the kernel is called silent

function make(tag, name, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const clamp = (value, least, most) => Math.max(least, Math.min(value, most));

/** Rows by their line, as the kernel sent them last: {number, selected, cells}. */
class Rows {
  constructor() {
    this.byLine = new Map();
    this.revision = null;
    this.selection = null;
  }

  get(line) {
    return this.byLine.get(line);
  }

  add(page) {
    const isNew = page.revision !== this.revision || page.selection !== this.selection;
    if (isNew || this.byLine.size > KEPT) this.byLine.clear();
    this.revision = page.revision;
    this.selection = page.selection;
    page.rows.forEach(([number, selected, cells], i) => this.byLine.set(page.start + i, { number, selected, cells }));
  }

  isCurrent(state) {
    return this.revision === state.revision && this.selection === state.selection;
  }
}

/** One question at a time: the newest waits until the last is answered, or has been lost. */
class Question {
  constructor(ask) {
    this.ask = ask;
    this.seq = 0;
    this.askedAt = null;
    this.next = null;
  }

  put(what) {
    if (this.askedAt !== null && performance.now() - this.askedAt < AGAIN) {
      this.next = what;
      return;
    }
    this.askedAt = performance.now();
    this.next = null;
    this.asked = what;
    this.ask({ ...what, seq: ++this.seq });
  }

  /** Tell whether this answers the last question; an older answer is dropped. */
  answered(seq) {
    if (seq !== this.seq) return false;
    this.askedAt = null;
    const next = this.next;
    if (next) this.put(next);
    return true;
  }
}

class GridView {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.id = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
    this.state = null;
    this.rows = new Rows();
    this.drawn = new Map(); // line → row element
    this.top = 0; // pixels above the first line in sight, as if no element were too high
    this.setTo = 0; // the scroll position that belongs to it
    this.at = { line: 0, column: 1 }; // the focused cell: line -1 is the header, column 0 the box
    this.number = null; // of the focused row
    this.anchor = null; // number of the row from which a range reaches
    this.after = null; // what waits for a line to come: [line, action]
    this.typed = null; // a filter that the kernel has not confirmed
    this.typing = 0;
    this.filterSentAt = null;
    this.allAfterFilter = false;
    this.heardAt = 0;
    this.waitingSince = null;
    this.inSight = null;
    this.abort = new AbortController();
    this.page = new Question((what) => this.send({ type: "page", ...what }));
    this.details = new Question((what) => this.send({ type: "detail", ...what }));
    this.build();
    this.listen();
  }

  // ---- The elements

  build() {
    this.search = make("input", "rl-search", { type: "search", placeholder: "Filter", maxlength: "1000" });
    this.within = make("select", "rl-within", { "aria-label": "Where the filter looks" });
    this.count = make("span", "rl-count");
    this.chosen = make("span", "rl-chosen");
    this.clear = make("button", "rl-button", { type: "button" }, "Clear");
    this.busy = make("span", "rl-busy");
    this.choice = make("div", "rl-choice", { role: "group", "aria-label": "Columns shown" });
    this.chooser = make("details", "rl-chooser", {}, make("summary", "rl-button", {}, "Columns"), this.choice);
    const said = make("span", "rl-said", { role: "status", "aria-live": "polite" }, this.count, this.chosen);
    const bar = make("div", "rl-bar", {}, this.search, this.within, said, this.clear, this.busy, this.chooser);
    this.note = make("div", "rl-note");
    this.error = make("div", "rl-error", { role: "alert" });
    this.head = make("div", "rl-row rl-head", { role: "row", "aria-rowindex": "1" });
    this.body = make("div", "rl-body", { role: "rowgroup" });
    this.table = make("div", "rl-table", { role: "grid", "aria-multiselectable": "true" });
    this.table.append(make("div", "rl-headgroup", { role: "rowgroup" }, this.head), this.body);
    this.empty = make("div", "rl-empty");
    this.scroller = make("div", "rl-scroll", {}, this.table, this.empty);
    this.more = make("button", "rl-button rl-more", { type: "button", "aria-expanded": "false" }, "All of it");
    this.full = make("div", "rl-full", { "aria-live": "off" });
    this.detail = make("div", "rl-detail", {}, this.full, this.more);
    this.search.setAttribute("aria-label", "Filter");
    this.root = make("div", "rl-grid", {}, bar, this.note, this.error, this.scroller, this.detail);
    this.el.append(this.root);
    this.setDetail("");
  }

  listen() {
    const signal = this.abort.signal;
    const on = (target, name, act, options = {}) => target.addEventListener(name, act.bind(this), { signal, ...options });
    this.model.on("msg:custom", (this.hear = this.hear.bind(this)));
    on(window, "keydown", this.keepShortcuts, { capture: true });
    on(this.root, "keydown", (event) => this.isOurs(event) && event.stopPropagation());
    on(document, "visibilitychange", this.look);
    on(document, "pointerdown", (event) => {
      if (!this.chooser.contains(event.target)) this.chooser.open = false;
    });
    on(this.chooser, "keydown", (event) => {
      if (event.key !== "Escape" || !this.chooser.open) return;
      this.chooser.open = false;
      this.chooser.firstChild.focus();
    });
    on(this.search, "input", this.type);
    on(this.search, "keydown", (event) => {
      if (event.key === "Enter") this.flush();
      if (event.key === "ArrowDown") this.focus(0, this.at.column);
    });
    on(this.within, "change", this.flush);
    on(this.clear, "click", () => this.send({ type: "clear" }));
    on(this.more, "click", this.expand);
    on(this.scroller, "scroll", this.scrolled);
    on(this.scroller, "wheel", this.wheeled, { passive: false });
    on(this.table, "mousedown", (event) => event.shiftKey && event.preventDefault());
    on(this.table, "click", this.clicked);
    on(this.table, "keydown", this.pressed);
    on(this.table, "focusin", this.focused);
    on(this.table, "copy", this.copied);
    on(this.head, "pointerdown", this.drag);
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.scroller);
    this.beat = setInterval(() => this.live(), BEAT);
    this.watch = setInterval(() => this.sayWaiting(), 500);
    this.look();
  }

  stop() {
    this.abort.abort();
    this.observer.disconnect();
    clearInterval(this.beat);
    clearInterval(this.watch);
    clearTimeout(this.typing);
    clearTimeout(this.asking);
    this.model.off("msg:custom", this.hear);
    this.send({ type: "close" });
  }

  // ---- Talking to the kernel: what a reader does is answered by a state

  send(message) {
    if (message.type !== "alive" && message.type !== "close") this.waitingSince ??= performance.now();
    try {
      this.model.send({ ...message, view: this.id });
    } catch (error) {
      this.busy.textContent = `The kernel cannot be reached: ${error.message}`;
    }
  }

  hear(message) {
    if (message.view !== undefined && message.view !== this.id) return;
    this.waitingSince = null;
    this.sayWaiting();
    if (message.type === "state") this.setState(message);
    const asked = this.page.asked;
    if (message.type === "page" && this.page.answered(message.seq)) this.setPage(message, asked);
    if (message.type === "detail" && this.details.answered(message.seq)) this.setDetail(message.text);
  }

  /** Say whether a reader can see the grid, when that has changed. */
  look() {
    const inSight = this.scroller.clientHeight > 0 && document.visibilityState === "visible";
    if (inSight === this.inSight) return;
    const first = this.inSight === null;
    this.inSight = inSight;
    if (first) this.waitingSince = performance.now();
    this.send({ type: "alive", in_sight: inSight, state: first || inSight });
  }

  live() {
    this.look();
    if (this.inSight) this.send({ type: "alive", in_sight: true, state: this.state === null });
  }

  sayWaiting() {
    const waited = this.waitingSince === null ? 0 : performance.now() - this.waitingSince;
    this.busy.textContent =
      waited > LOST
        ? "The kernel does not answer: it is busy, or it was restarted; then run the cell again."
        : waited > SLOW
          ? "waiting for the kernel…"
          : "";
  }

  setState(state) {
    const before = this.state;
    this.state = state;
    const columns = JSON.stringify([state.columns, state.sort, state.descending, state.checked, state.zone]);
    this.shown = state.columns.filter((column) => column.shown);
    if (columns !== this.columns) this.setColumns(columns);
    this.setFilter();
    this.count.textContent = state.count;
    this.chosen.textContent = state.chosen;
    this.clear.hidden = !state.chosen;
    this.note.textContent = state.note;
    this.error.textContent = state.error;
    this.table.setAttribute("aria-label", state.noun);
    this.table.setAttribute("aria-rowcount", state.lines + 1);
    this.table.setAttribute("aria-colcount", this.shown.length + 1);
    this.empty.textContent = state.lines ? "" : state.filter ? `Nothing matches “${state.filter}”.` : `No ${state.noun}.`;
    this.size();
    const arranged = before && (before.sort !== state.sort || before.descending !== state.descending || before.filter !== state.filter);
    this.setTop(arranged ? 0 : this.top);
    if (before && before.revision !== state.revision) this.after = null;
    this.want();
  }

  setPage(page, asked) {
    const isSame = page.revision === this.state.revision && asked.find === this.number;
    if (isSame && page.found !== null && page.found !== this.at.line) this.follow(page.found);
    this.rows.add(page);
    this.draw();
    this.want();
  }

  /** Move the focus with its row, which stands in another line now. */
  follow(line) {
    const hadFocus = this.table.contains(document.activeElement);
    if (this.at.line >= 0) this.at.line = line;
    this.draw();
    if (hadFocus) this.placeFocus();
  }

  // ---- Columns and filter

  setColumns(columns) {
    this.columns = columns;
    const state = this.state;
    this.table.style.setProperty("--rl-columns", ["36px", ...this.shown.map((column) => `${column.width}px`)].join(" "));
    this.table.style.width = `${36 + this.shown.reduce((sum, column) => sum + column.width, 0)}px`;
    const hadFocus = this.head.contains(document.activeElement);
    this.head.replaceChildren(this.headBox(), ...this.shown.map((column, i) => this.headCell(column, i + 1)));
    this.at.column = Math.min(this.at.column, this.shown.length);
    const names = state.columns.map((column) => this.choiceOf(column));
    this.choice.replaceChildren(...names);
    const where = this.within.value;
    this.within.replaceChildren(make("option", "", { value: "" }, "in all text columns"));
    for (const column of state.columns.filter((each) => each.searched)) {
      this.within.append(make("option", "", { value: column.name }, `in ${column.label}`));
    }
    this.within.value = state.columns.some((each) => each.name === where) ? where : "";
    const cells = JSON.stringify(this.shown.map(({ name, kind, key }) => [name, kind, key]));
    if (cells !== this.cells) this.dropRows();
    this.cells = cells;
    if (hadFocus) this.placeFocus();
  }

  /** Forget the rows: their cells are those of other columns now. */
  dropRows() {
    if (this.body.contains(document.activeElement)) this.park();
    for (const row of this.drawn.values()) row.remove();
    this.drawn.clear();
    this.rows = new Rows();
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

  sortBy(column) {
    const { sort, descending } = this.state;
    if (sort !== column.name) this.send({ type: "sort", column: column.name, descending: false });
    else if (!descending) this.send({ type: "sort", column: column.name, descending: true });
    else this.send({ type: "sort", column: null });
  }

  widen(column, pixels) {
    this.send({ type: "width", column: column.name, pixels: clamp(Math.round(pixels), 40, 2000) });
  }

  drag(event) {
    const cell = event.target.closest(".rl-handle")?.parentElement;
    if (!cell || event.button !== 0) return;
    event.preventDefault();
    const index = Number(cell.getAttribute("aria-colindex")) - 2;
    const column = this.shown[index];
    const start = event.clientX;
    const width = (move) => clamp(column.width + move.clientX - start, 40, 2000);
    const widths = this.shown.map((each) => each.width);
    const moved = (move) => {
      widths[index] = width(move);
      this.table.style.setProperty("--rl-columns", ["36px", ...widths.map((each) => `${each}px`)].join(" "));
      this.table.style.width = `${36 + widths.reduce((sum, each) => sum + each, 0)}px`;
    };
    const done = new AbortController();
    window.addEventListener("pointermove", moved, { signal: done.signal });
    window.addEventListener("pointerup", (move) => { done.abort(); this.widen(column, width(move)); }, { signal: done.signal });
    window.addEventListener("pointercancel", () => { done.abort(); this.setColumns(this.columns); this.draw(); }, { signal: done.signal });
  }

  type() {
    this.typed = this.search.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.flush(), TYPING);
  }

  /** Send the filter as it stands, unless the last one is still on its way. */
  flush() {
    clearTimeout(this.typing);
    this.typed = this.search.value;
    const { filter, within } = this.state ?? {};
    if (this.typed === filter && (this.within.value || null) === within) {
      this.typed = null;
      return;
    }
    if (this.filterSentAt !== null && performance.now() - this.filterSentAt < AGAIN) return;
    this.filterSentAt = performance.now();
    this.sentFilter = this.typed;
    this.sentWithin = this.within.value || null;
    this.send({ type: "filter", text: this.typed, within: this.sentWithin });
  }

  setFilter() {
    const { filter, within, error } = this.state;
    const isAnswer = this.filterSentAt !== null && (error || (filter === this.sentFilter && within === this.sentWithin));
    if (isAnswer) {
      this.filterSentAt = null;
      if (this.typed === this.sentFilter) this.typed = null;
      else this.flush();
    }
    if (this.typed !== null) return;
    if (this.search.value !== filter) this.search.value = filter;
    if ((this.within.value || null) !== within && this.filterSentAt === null) this.within.value = within ?? "";
    if (this.allAfterFilter) this.selectAll(true);
  }

  // ---- Scrolling

  get lines() {
    return this.state?.lines ?? 0;
  }

  get room() {
    return Math.max(0, this.scroller.clientHeight - HEAD);
  }

  /** How many pixels of rows one pixel of the scroll bar stands for. */
  get scale() {
    const shown = this.physical - this.room;
    return shown > 0 ? (this.lines * ROW - this.room) / shown : 1;
  }

  size() {
    this.physical = Math.min(this.lines * ROW, TALLEST);
    this.body.style.height = `${this.physical}px`;
    const bar = this.scroller.offsetHeight - this.scroller.clientHeight;
    const wanted = HEAD + Math.max(this.lines * ROW, 2 * ROW) + bar;
    if (this.wanted !== wanted) this.scroller.style.height = `${Math.min(wanted, this.state.height)}px`;
    this.wanted = wanted;
  }

  setTop(top) {
    this.top = clamp(top, 0, Math.max(0, this.lines * ROW - this.room));
    const scroll = this.top / this.scale;
    if (Math.abs(this.scroller.scrollTop - scroll) >= 1) this.scroller.scrollTop = scroll;
    this.setTo = this.scroller.scrollTop;
    this.draw();
  }

  scrolled() {
    if (!this.scroller.clientHeight) return;
    if (Math.abs(this.scroller.scrollTop - this.setTo) >= 1) {
      this.setTo = this.scroller.scrollTop;
      this.top = this.setTo * this.scale;
    }
    this.draw();
    this.want();
  }

  /** With a scaled scroll bar a turn of the wheel still moves by rows, not by screens. */
  wheeled(event) {
    if (this.scale <= 1.001 || event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const before = this.top;
    this.setTop(before + event.deltaY * [1, ROW, this.room][event.deltaMode]);
    if (this.top !== before) event.preventDefault();
    this.want();
  }

  resized() {
    this.look();
    // What was out of the page has lost its scroll position.
    if (this.state && this.scroller.clientHeight) this.setTop(this.top);
    this.want();
  }

  inView() {
    const first = clamp(Math.floor(this.top / ROW), 0, Math.max(0, this.lines - 1));
    return [first, Math.min(this.lines, Math.ceil((this.top + this.room) / ROW))];
  }

  /** Ask for rows in view that are missing or old. */
  want() {
    if (!this.state || !this.scroller.clientHeight) return;
    const [first, end] = this.inView();
    const wanted = this.after ? [Math.min(first, this.after[0]), Math.max(end, this.after[0] + 1)] : [first, end];
    const from = wanted[1] - wanted[0] > MOST ? this.after[0] : wanted[0];
    const to = Math.min(wanted[1], from + MOST);
    const isCurrent = this.rows.isCurrent(this.state);
    let missing = !isCurrent && to > from;
    for (let line = from; line < to && !missing; line += 1) missing = !this.rows.get(line);
    if (!missing) return;
    const start = Math.max(0, from - MARGIN);
    const question = { start, count: Math.min(MOST, this.lines - start, to - start + MARGIN) };
    const hasMoved = this.rows.revision !== null && this.rows.revision !== this.state.revision;
    this.page.put(hasMoved && this.number !== null ? { ...question, find: this.number } : question);
  }

  // ---- Drawing

  draw() {
    if (!this.state) return;
    const [first, end] = this.inView();
    for (const [line, row] of this.drawn) {
      if (line >= first && line < end) continue;
      if (row.contains(document.activeElement)) this.park();
      row.remove();
      this.drawn.delete(line);
    }
    for (let line = first; line < end; line += 1) {
      const row = this.drawn.get(line) ?? this.addRow(line);
      row.style.transform = `translateY(${Math.round(line * ROW - this.top + this.top / this.scale)}px)`;
      this.fill(row, line);
    }
    this.markFocus();
    if (this.after && this.rows.get(this.after[0]) && this.rows.revision === this.state.revision) {
      const [line, action] = this.after;
      this.after = null;
      action(this.rows.get(line));
    }
  }

  addRow(line) {
    const row = make("div", "rl-row", { role: "row", "aria-rowindex": line + 2 });
    row.line = line;
    const box = make("input", "", { type: "checkbox", tabindex: "-1", "aria-hidden": "true" });
    row.append(make("div", "rl-cell rl-box", { role: "gridcell", "aria-colindex": "1", tabindex: "-1" }, box));
    this.shown.forEach((column, i) => {
      const name = `rl-cell rl-${column.kind}${column.key ? " rl-key" : ""}`;
      row.append(make("div", name, { role: "gridcell", "aria-colindex": i + 2, tabindex: "-1" }));
    });
    this.drawn.set(line, row);
    const next = [...this.drawn.keys()].filter((other) => other > line).sort((a, b) => a - b)[0];
    this.body.insertBefore(row, next === undefined ? null : this.drawn.get(next));
    return row;
  }

  fill(row, line) {
    const data = this.rows.get(line);
    row.classList.toggle("rl-loading", !data);
    if (!data) return;
    row.setAttribute("aria-selected", data.selected);
    row.firstChild.firstChild.checked = data.selected;
    row.firstChild.setAttribute("aria-label", data.selected ? "selected" : "not selected");
    if (data.number === this.state.opened) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    if (row.data === data.cells) return;
    row.data = data.cells;
    data.cells.forEach((cell, i) => this.fillCell(row.children[i + 1], this.shown[i], cell));
  }

  fillCell(element, column, cell) {
    const [text, more] = Array.isArray(cell) ? cell : [cell, cell];
    element.classList.toggle("rl-null", text === null);
    element.textContent = text ?? "–";
    if (text === null) element.setAttribute("aria-label", "null");
    else element.removeAttribute("aria-label");
    element.title = more ?? "null";
    const colour = column?.kind === "status" && Object.hasOwn(this.state.colours, text ?? "") && this.state.colours[text];
    if (!colour) return;
    const dot = make("span", "rl-dot", { "aria-hidden": "true" });
    dot.style.backgroundColor = colour;
    element.prepend(dot);
  }

  // ---- Focus

  cellAt({ line, column }) {
    return (line < 0 ? this.head : this.drawn.get(line))?.children[column];
  }

  /** Give the one cell that Tab reaches its place, or the table where the cell is out of sight. */
  markFocus() {
    this.at.line = clamp(this.at.line, -1, Math.max(-1, this.lines - 1));
    const cell = this.cellAt(this.at);
    if (this.tabbable !== (cell ?? this.table)) {
      this.tabbable?.setAttribute("tabindex", "-1");
      this.tabbable = cell ?? this.table;
      this.tabbable.setAttribute("tabindex", "0");
    }
    if (cell && document.activeElement === this.table) cell.focus({ preventScroll: true });
  }

  park() {
    this.table.setAttribute("tabindex", "-1");
    this.table.focus({ preventScroll: true });
  }

  placeFocus() {
    (this.cellAt(this.at) ?? this.table).focus({ preventScroll: true });
  }

  /** Move the focus to a cell and bring it into view; a column that a reader clicked is in view already. */
  focus(line, column, isClick = false) {
    this.at = { line: clamp(line, -1, this.lines - 1), column: clamp(column, 0, this.shown.length) };
    if (this.at.line >= 0) {
      const above = this.at.line * ROW;
      if (above < this.top) this.setTop(above);
      else if (above + ROW > this.top + this.room) this.setTop(above + ROW - this.room);
    }
    this.want();
    this.draw();
    this.placeFocus();
    if (!isClick) this.bringColumn();
  }

  bringColumn() {
    const cell = this.head.children[this.at.column];
    if (!cell || !this.at.column) return;
    const left = cell.offsetLeft - 36;
    const right = cell.offsetLeft + cell.offsetWidth - this.scroller.clientWidth;
    if (this.scroller.scrollLeft > left) this.scroller.scrollLeft = left;
    else if (this.scroller.scrollLeft < right) this.scroller.scrollLeft = Math.min(left, right);
  }

  focused(event) {
    const cell = event.target.closest(".rl-cell");
    if (!cell) return;
    const row = cell.parentElement;
    this.at = { line: row === this.head ? -1 : row.line, column: Number(cell.getAttribute("aria-colindex")) - 1 };
    this.number = this.rows.get(this.at.line)?.number ?? null;
    this.markFocus();
    this.describe();
  }

  /** Do something with a row of a line, now or when the kernel has sent it. */
  withRow(line, action) {
    const row = this.rows.get(line);
    if (row && this.rows.revision === this.state.revision) action(row);
    else {
      this.after = [line, action];
      this.want();
    }
  }

  // ---- What a reader does

  clicked(event) {
    const cell = event.target.closest(".rl-cell");
    if (!cell || !this.state || event.target.closest(".rl-handle")) return;
    const row = cell.parentElement;
    const column = Number(cell.getAttribute("aria-colindex")) - 1;
    if (row === this.head) this.clickedHead(column);
    else this.clickedRow(event, row, column);
  }

  clickedHead(column) {
    this.focus(-1, column, true);
    if (column) this.sortBy(this.shown[column - 1]);
    else this.selectAll(this.state.checked !== "all");
  }

  clickedRow(event, row, column) {
    const data = this.rows.get(row.line);
    if (!data) return;
    if (event.shiftKey && this.anchor !== null) this.extend(data);
    else if (column === 0 || event.ctrlKey || event.metaKey || event.shiftKey) this.toggle(data);
    else if (event.detail > 1 || !document.getSelection().isCollapsed) return;
    else this.open(data);
    this.focus(row.line, column, true);
  }

  toggle(row) {
    this.anchor = row.number;
    row.selected = !row.selected;
    this.draw();
    this.send({ type: "select", row: row.number, on: row.selected });
  }

  extend(row) {
    this.send({ type: "extend", start: this.anchor, end: row.number, revision: this.state.revision });
  }

  open(row) {
    this.anchor = row.number;
    this.send({ type: "open_row", row: row.number });
  }

  /** Select all that match, but not before the filter that stands there is the filter that holds. */
  selectAll(on) {
    this.allAfterFilter = on && this.search.value !== this.state.filter;
    if (this.allAfterFilter) this.flush();
    else this.send({ type: "select_all", on, revision: this.state.revision });
  }

  /** Tell whether the grid uses a key; the notebook has all others: Ctrl+S still saves, Shift+Enter still runs. */
  isOurs(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return ["a", "Home", "End"].includes(event.key);
    return event.key !== "Enter" || !event.shiftKey;
  }

  /** Keep the notebook from keys of the grid where it listens before the grid does, as older JupyterLabs do. */
  keepShortcuts(event) {
    if (!this.root.contains(event.target)) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", this.isOurs(event));
  }

  pressed(event) {
    if (!this.state || event.altKey) return;
    const key = event.key;
    const withControl = event.ctrlKey || event.metaKey;
    const screen = Math.max(1, Math.floor(this.room / ROW) - 1);
    const { line, column } = this.at;
    const acts = {
      ArrowDown: () => this.move(line + 1, column, event.shiftKey),
      ArrowUp: () => this.move(line - 1, column, event.shiftKey),
      PageDown: () => this.move(line + screen, column, event.shiftKey),
      PageUp: () => this.move(Math.max(line - screen, 0), column, event.shiftKey),
      ArrowLeft: () => (event.shiftKey && line < 0 ? this.nudge(column, -16) : this.focus(line, column - 1)),
      ArrowRight: () => (event.shiftKey && line < 0 ? this.nudge(column, 16) : this.focus(line, column + 1)),
      Home: () => (withControl ? this.move(0, 0, event.shiftKey) : this.move(0, column, event.shiftKey)),
      End: () => this.move(this.lines - 1, withControl ? this.shown.length : column, event.shiftKey),
      " ": () => (line < 0 ? this.clickedHead(column) : this.withRow(line, (row) => this.toggle(row))),
      Enter: () => (line < 0 ? this.clickedHead(column) : this.withRow(line, (row) => this.open(row))),
      Escape: () => this.state.chosen && this.send({ type: "clear" }),
    };
    const isAll = withControl && key.toLowerCase() === "a";
    if (isAll) this.selectAll(true);
    else if (!acts[key] || (withControl && !["Home", "End"].includes(key)) || (key === "Enter" && event.shiftKey)) return;
    else acts[key]();
    event.preventDefault();
    event.stopPropagation();
  }

  move(line, column, isRange) {
    if (isRange && this.at.line >= 0) {
      this.anchor ??= this.rows.get(this.at.line)?.number ?? null;
      this.focus(Math.max(0, line), column);
      if (this.anchor !== null) this.withRow(this.at.line, (row) => this.extend(row));
      return;
    }
    this.anchor = null;
    this.focus(line, column);
  }

  nudge(column, pixels) {
    if (column) this.widen(this.shown[column - 1], this.shown[column - 1].width + pixels);
  }

  // ---- All of one cell

  describe() {
    clearTimeout(this.asking);
    const { line, column } = this.at;
    const row = this.rows.get(line);
    const cell = row && column ? row.cells[column - 1] : null;
    const isLong = Array.isArray(cell);
    this.setDetail(isLong ? cell[1] : cell ?? "");
    if (!isLong) return;
    const question = { row: row.number, column: this.shown[column - 1].name };
    this.asking = setTimeout(() => this.details.put(question), 150);
  }

  setDetail(text) {
    const hint = "Enter opens a row, Space selects it, Shift+↑↓ selects a range, Ctrl+A all that match.";
    this.full.textContent = text || hint;
    this.full.classList.toggle("rl-hint", !text);
    this.more.hidden = !text || (!text.includes("\n") && this.full.scrollWidth <= this.full.clientWidth);
    if (this.more.hidden) return;
    this.more.textContent = this.detail.classList.contains("rl-expanded") ? "Less" : "All of it";
  }

  expand() {
    const isOpen = this.detail.classList.toggle("rl-expanded");
    this.more.setAttribute("aria-expanded", isOpen);
    this.more.textContent = isOpen ? "Less" : "All of it";
  }

  copied(event) {
    if (!document.getSelection().isCollapsed) return;
    const cell = this.rows.get(this.at.line)?.cells[this.at.column - 1];
    if (cell === undefined || cell === null) return;
    event.clipboardData.setData("text/plain", Array.isArray(cell) ? cell[1] : cell);
    event.preventDefault();
  }
}

function render({ model, el }) {
  const view = new GridView(model, el);
  return () => view.stop();
}

export default { render };
