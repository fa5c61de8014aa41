// The view of a grid. It holds the rows in sight and a margin; the kernel sorts, filters, selects and formats.
// Whatever comes from the kernel is set as text. grid_messages.py says what may be sent, grid_conversation.py answers.

const MARGIN = 30; // rows asked for above and below what is in sight
const MOST = 200; // rows of one page
const BEAT = 10_000; // ms between two signs of life

class GridView {
  constructor(model, el) {
    this.model = model;
    this.id = newName();
    this.state = null;
    this.rows = new Rows();
    this.at = { line: 0, column: 1 }; // the focused cell: line -1 is the header, column 0 the box
    this.number = null; // of the focused row
    this.after = null; // what waits for a line to come: [line, action]
    this.waitingSince = null;
    this.inSight = null;
    this.abort = new AbortController();
    this.page = new Question((what) => this.send({ type: "page", ...what }));
    this.build(el);
    this.listen();
  }

  // ---- The elements

  build(el) {
    const send = this.send.bind(this);
    const signal = this.abort.signal;
    this.table = make("div", "rl-table", { role: "grid", "aria-multiselectable": "true" });
    this.columns = new Columns(send, this.table, signal);
    this.filter = new Filter(send, () => this.focus(0, this.at.column), signal);
    this.detail = new Detail(send, signal);
    this.head = this.columns.head;
    this.count = make("span", "rl-count");
    this.chosen = make("span", "rl-chosen");
    this.clear = make("button", "rl-button", { type: "button" }, "Clear");
    this.busy = make("span", "rl-busy");
    const said = make("span", "rl-said", { role: "status", "aria-live": "polite" }, this.count, this.chosen);
    const { search, within } = this.filter;
    const bar = make("div", "rl-bar", {}, search, within, said, this.clear, this.busy, this.columns.chooser);
    this.note = make("div", "rl-note");
    this.error = make("div", "rl-error", { role: "alert" });
    const body = make("div", "rl-body", { role: "rowgroup" });
    this.table.append(make("div", "rl-headgroup", { role: "rowgroup" }, this.head), body);
    this.empty = make("div", "rl-empty");
    this.scroller = make("div", "rl-scroll", {}, this.table, this.empty);
    this.root = make("div", "rl-grid", {}, bar, this.note, this.error, this.scroller, this.detail.root);
    this.lines = new Lines(body);
    this.viewport = new Viewport(this.scroller, body);
    this.hands = new Hands(this, signal);
    el.append(this.root);
  }

  listen() {
    const signal = this.abort.signal;
    const on = (target, name, act, options = {}) => target.addEventListener(name, act.bind(this), { signal, ...options });
    this.model.on("msg:custom", (this.hear = this.hear.bind(this)));
    on(window, "keydown", this.keepShortcuts, { capture: true });
    on(this.root, "keydown", (event) => this.isOurs(event) && event.stopPropagation());
    on(document, "visibilitychange", this.look);
    on(this.clear, "click", () => this.send({ type: "clear" }));
    on(this.scroller, "scroll", this.scrolled);
    on(this.scroller, "wheel", this.wheeled, { passive: false });
    on(this.table, "focusin", this.focused);
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
    if (message.type === "detail") this.detail.hear(message);
  }

  /** Say whether a reader can see the grid, when that has changed. */
  look() {
    const inSight = this.viewport.isLaidOut && document.visibilityState === "visible";
    if (inSight === this.inSight) return;
    const first = this.inSight === null;
    this.inSight = inSight;
    if (first) this.waitingSince = performance.now();
    this.send({ type: "alive", in_sight: inSight, state: first || inSight });
  }

  live() {
    this.look();
    if (this.inSight) this.send({ type: "alive", in_sight: true, state: this.state === null });
    this.want(); // what was lost on its way
  }

  sayWaiting() {
    this.busy.textContent = waitingWords(this.waitingSince);
  }

  setState(state) {
    const before = this.state;
    this.state = state;
    this.setColumns();
    this.filter.set(state);
    this.count.textContent = state.count;
    this.chosen.textContent = state.chosen;
    this.clear.hidden = !state.chosen;
    this.note.textContent = state.note;
    this.error.textContent = state.error;
    this.table.setAttribute("aria-label", state.noun);
    this.table.setAttribute("aria-rowcount", state.lines + 1);
    this.table.setAttribute("aria-colcount", this.columns.shown.length + 1);
    this.empty.textContent = emptyWords(state);
    this.viewport.size(state.lines, state.height);
    const arranged = before && (before.sort !== state.sort || before.descending !== state.descending || before.filter !== state.filter);
    this.setTop(arranged ? 0 : this.viewport.top);
    if (before && before.revision !== state.revision) this.after = null;
    this.want();
  }

  setColumns() {
    const hadFocus = this.head.contains(document.activeElement);
    const { cells } = this.columns;
    if (!this.columns.set(this.state)) return;
    this.at.column = Math.min(this.at.column, this.columns.shown.length);
    this.filter.offer(this.state.columns);
    if (this.columns.cells !== cells) this.dropRows();
    if (hadFocus) this.placeFocus();
  }

  /** Forget the rows: their cells are those of other columns now. */
  dropRows() {
    this.lines.keep(0, 0, (row) => this.leave(row));
    this.rows = new Rows();
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

  // ---- Scrolling and drawing

  setTop(top) {
    this.viewport.setTop(top);
    this.draw();
  }

  scrolled() {
    if (!this.viewport.isLaidOut) return;
    this.viewport.follow();
    this.draw();
    this.want();
  }

  wheeled(event) {
    if (!this.viewport.wheel(event)) return;
    event.preventDefault();
    this.draw();
    this.want();
  }

  resized() {
    this.look();
    // What was out of the page has lost its scroll position.
    if (this.state && this.viewport.isLaidOut) this.setTop(this.viewport.top);
    this.want();
  }

  /** Ask for rows in view that are missing or old. */
  want() {
    if (!this.state || !this.viewport.isLaidOut) return;
    const [first, end] = this.viewport.inView();
    const wanted = this.after ? [Math.min(first, this.after[0]), Math.max(end, this.after[0] + 1)] : [first, end];
    const from = wanted[1] - wanted[0] > MOST ? this.after[0] : wanted[0];
    const to = Math.min(wanted[1], from + MOST);
    const isCurrent = this.rows.isCurrent(this.state);
    let missing = !isCurrent && to > from;
    for (let line = from; line < to && !missing; line += 1) missing = !this.rows.get(line);
    if (!missing) return;
    const start = Math.max(0, from - MARGIN);
    const question = { start, count: Math.min(MOST, this.state.lines - start, to - start + MARGIN) };
    const hasMoved = this.rows.revision !== null && this.rows.revision !== this.state.revision;
    this.page.put(hasMoved && this.number !== null ? { ...question, find: this.number } : question);
  }

  draw() {
    if (!this.state) return;
    const [first, end] = this.viewport.inView();
    this.lines.keep(first, end, (row) => this.leave(row));
    for (let line = first; line < end; line += 1) {
      this.lines.show(line, this.viewport.place(line), this.columns.shown, this.rows.get(line), this.state);
    }
    this.markFocus();
    if (this.after && this.rows.get(this.after[0]) && this.rows.revision === this.state.revision) {
      const [line, action] = this.after;
      this.after = null;
      action(this.rows.get(line));
    }
  }

  // ---- Focus

  cellAt({ line, column }) {
    return (line < 0 ? this.head : this.lines.get(line))?.children[column];
  }

  /** Give the one cell that Tab reaches its place, or the table where the cell is out of sight. */
  markFocus() {
    this.at.line = clamp(this.at.line, -1, Math.max(-1, this.state.lines - 1));
    const cell = this.cellAt(this.at);
    if (this.tabbable !== (cell ?? this.table)) {
      this.tabbable?.setAttribute("tabindex", "-1");
      this.tabbable = cell ?? this.table;
      this.tabbable.setAttribute("tabindex", "0");
    }
    if (cell && document.activeElement === this.table) cell.focus({ preventScroll: true });
  }

  /** Keep the focus within the table when the row that has it goes. */
  leave(row) {
    if (!row.contains(document.activeElement)) return;
    this.table.setAttribute("tabindex", "-1");
    this.table.focus({ preventScroll: true });
  }

  placeFocus() {
    (this.cellAt(this.at) ?? this.table).focus({ preventScroll: true });
  }

  /** Move the focus to a cell and bring it into view; a column that a reader clicked is in view already. */
  focus(line, column, isClick = false) {
    if (!this.state) return;
    this.at = { line: clamp(line, -1, this.state.lines - 1), column: clamp(column, 0, this.columns.shown.length) };
    if (this.at.line >= 0) this.viewport.reveal(this.at.line);
    this.want();
    this.draw();
    this.placeFocus();
    if (!isClick) this.bringColumn();
  }

  bringColumn() {
    const cell = this.head.children[this.at.column];
    if (!cell || !this.at.column) return;
    const left = cell.offsetLeft - BOX;
    const right = cell.offsetLeft + cell.offsetWidth - this.scroller.clientWidth;
    if (this.scroller.scrollLeft > left) this.scroller.scrollLeft = left;
    else if (this.scroller.scrollLeft < right) this.scroller.scrollLeft = Math.min(left, right);
  }

  focused(event) {
    const cell = event.target.closest(".rl-cell");
    if (!cell) return;
    const row = cell.parentElement;
    const column = Number(cell.getAttribute("aria-colindex")) - 1;
    this.at = { line: row === this.head ? -1 : row.line, column };
    const data = this.rows.get(this.at.line);
    this.number = data?.number ?? null;
    this.markFocus();
    this.detail.show(data, this.columns.shown[column - 1], data && column ? data.cells[column - 1] : null);
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
}

/** Return what stands in a table without rows. */
function emptyWords(state) {
  if (state.lines) return "";
  if (!state.is_read) return "Not read yet.";
  return state.filter ? `Nothing matches “${state.filter}”.` : `No ${state.noun}.`;
}

function render({ model, el }) {
  const view = new GridView(model, el);
  return () => view.stop();
}

export default { render };
