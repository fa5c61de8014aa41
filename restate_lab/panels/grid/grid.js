// The view of a grid. It holds the visible rows and a margin; the kernel sorts, filters, selects and formats.
// Texts from the kernel are set as text. messages.py defines the allowed messages, and controller.py handles them.

const MARGIN = 30; // extra rows requested above and below the visible ones
const MOST = 200; // rows in one page
const SKELETON = 8; // gray bars before the first read
const TIGHT = 620; // pixels below which the export button is only its sign
const BEAT = 10_000; // ms between two "alive" messages
const PLACES = new WeakMap(); // the layout of a grid, which its views share → the cell and the scroll position of the last one
const SILENT = ["alive", "close", "hold"]; // messages without a response
const TYPED = "input:not([type=checkbox]), textarea, select";

class GridView {
  constructor(model, el) {
    this.model = model;
    this.id = newName();
    this.state = null;
    this.rows = new Rows();
    const place = PLACES.get(model.get("layout")) ?? { at: { line: 0, column: 1 }, number: null, top: 0 };
    this.at = place.at; // the focused cell: line -1 is the header, column 0 the box
    this.number = place.number; // number of the focused row
    this.wantsFocus = false; // as soon as the focused row is drawn
    this.after = null; // an action that waits for a line: [line, action]
    this.waitingSince = null;
    this.inSight = null;
    this.heardAt = 0; // time of the last clock message from the kernel
    this.abort = new AbortController();
    this.page = new Question((what) => this.send({ type: "page", ...what }));
    this.build(el);
    this.viewport.top = place.top;
    this.listen();
  }

  // ---- The elements

  build(el) {
    const send = this.send.bind(this);
    const signal = this.abort.signal;
    this.table = make("div", "rl-table", { role: "grid", "aria-multiselectable": "true", "aria-busy": "true" });
    const body = make("div", "rl-body", { role: "rowgroup" });
    this.scroller = make("div", "rl-scroll", {}, this.table);
    this.columns = new Columns(send, this.table, signal);
    this.head = this.columns.head;
    this.table.append(make("div", "rl-headgroup", { role: "rowgroup" }, this.head), body);
    this.scroller.append(...this.buildPlaceholders());
    this.filter = new Filter(send, () => this.focus(0, this.at.column), signal);
    this.detail = new Detail(send, signal);
    const acts = {
      clear: () => this.send({ type: "clear" }),
      restore: () => this.restore(),
      sortAgain: () => this.send({ type: "sort_again" }),
      help: () => this.keys.toggle(),
      export: (form) => this.send({ type: "export", form }),
    };
    this.bar = new Bar(this.filter, this.columns.chooser, acts, signal);
    this.keys = new Keys(this.bar.help, signal);
    this.note = make("div", "rl-note");
    this.error = make("div", "rl-error", { role: "alert" });
    const parts = [this.bar.root, this.note, this.error, this.scroller, this.detail.root, this.keys.root];
    this.root = make("div", "rl-grid", {}, ...parts);
    this.lines = new Lines(body);
    this.viewport = new Viewport(this.scroller, body);
    this.interactions = new Interactions(this, signal);
    el.append(this.root);
  }

  /** Return the placeholders for rows: gray bars before the first read, later the reason for the empty table. */
  buildPlaceholders() {
    this.emptyText = make("span");
    this.emptyAction = make("button", "rl-button", { type: "button" });
    this.empty = make("div", "rl-empty", { hidden: "" }, this.emptyText, " ", this.emptyAction);
    const bars = Array.from({ length: SKELETON }, () => make("div", "rl-bone"));
    this.skeleton = make("div", "rl-skeleton", { "aria-hidden": "true" }, ...bars);
    return [this.skeleton, this.empty];
  }

  listen() {
    const signal = this.abort.signal;
    const on = (target, name, act, options = {}) => target.addEventListener(name, act.bind(this), { signal, ...options });
    this.model.on("msg:custom", (this.receive = this.receive.bind(this)));
    on(window, "keydown", this.keepShortcuts, { capture: true });
    on(window, "resize", () => this.state && this.setHeight());
    on(this.root, "keydown", this.press);
    on(document, "visibilitychange", this.look);
    on(this.emptyAction, "click", this.actOnEmpty);
    on(this.scroller, "scroll", this.scrolled);
    on(this.scroller, "wheel", this.wheeled, { passive: false });
    on(this.table, "focusin", this.focused);
    on(this.root, "rl-focus", this.takeFocus);
    on(this.table, "focusout", this.blurred);
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.scroller);
    const every = (pause, act) => setInterval(act.bind(this), pause);
    this.timers = [every(BEAT, this.live), every(500, this.showWaiting), every(1_000, this.tick)];
    this.look();
  }

  stop() {
    PLACES.set(this.model.get("layout"), { at: this.at, number: this.number, top: this.viewport.top });
    this.abort.abort();
    this.observer.disconnect();
    this.timers.forEach(clearInterval);
    this.model.off("msg:custom", this.receive);
    this.send({ type: "close" });
  }

  // ---- Messages to and from the kernel: the kernel responds to an action with a new state

  send(message) {
    if (!SILENT.includes(message.type)) this.waitingSince ??= performance.now();
    try {
      this.model.send({ ...message, view: this.id });
    } catch (error) {
      setText(this.bar.busy, `The kernel cannot be reached: ${error.message}`);
    }
  }

  receive(message) {
    if (message.view !== undefined && message.view !== this.id) return;
    this.waitingSince = null;
    this.showWaiting();
    if (message.type === "state") this.setState(message);
    const asked = this.page.asked;
    if (message.type === "page" && this.page.answered(message.seq)) this.setPage(message, asked);
    if (message.type === "detail") this.detail.receive(message);
    if (message.type === "copy") this.copyIds(message);
  }

  /** Copy ids to the clipboard; if the browser does not allow that, the kernel writes them to a file. */
  async copyIds({ text, count }) {
    if (await copyText(text)) this.bar.say(`${count.toLocaleString("en")} ids copied`);
    else this.send({ type: "export", form: "txt" });
  }

  /** Tell the kernel whether the user can see the grid, if that has changed. */
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
    this.want(); // in case a response was lost
  }

  /** Show that the kernel is busy; in a panel, its head says so, and a table without a first answer is hidden. */
  showWaiting() {
    const text = waitingWords(this.waitingSince);
    const panel = this.root.closest(".rl-panel");
    setText(this.bar.busy, panel ? "" : text);
    if (text) panel?.dispatchEvent(new CustomEvent("rl-waits"));
    this.root.style.visibility = panel && text && this.state === null ? "hidden" : "";
  }

  setState(state) {
    const before = this.state;
    this.state = state;
    this.heardAt = performance.now();
    this.root.classList.toggle("rl-compact", state.is_compact);
    this.setColumns();
    this.filter.set(state);
    this.bar.set(state);
    this.keys.set(state);
    setText(this.note, state.note);
    setText(this.error, state.error);
    this.describeTable(state);
    this.setPlaceholders(state);
    this.setHeight();
    const arranged = before && ["sort", "descending", "filter"].some((name) => before[name] !== state[name]);
    this.setTop(arranged ? 0 : this.viewport.top);
    if (before && before.members !== state.members) this.after = null;
    this.want();
  }

  describeTable(state) {
    this.table.setAttribute("role", state.is_grouped ? "treegrid" : "grid");
    this.table.setAttribute("aria-label", state.noun);
    this.table.setAttribute("aria-busy", !state.is_read);
    this.table.setAttribute("aria-multiselectable", !state.is_compact);
    this.table.setAttribute("aria-rowcount", state.lines + 1);
    this.table.setAttribute("aria-colcount", this.columns.shown.length + 1);
  }

  setPlaceholders(state) {
    this.skeleton.hidden = state.is_read;
    this.empty.hidden = !state.is_read || state.lines > 0;
    this.root.classList.toggle("rl-nothing", state.is_compact && !this.empty.hidden && !state.filter);
    const loaded = state.can_search ? ` in the ${state.rows.toLocaleString("en")} loaded` : "";
    setText(this.emptyText, state.filter ? `Nothing matches “${state.filter}”${loaded}.` : state.empty || `No ${state.noun}.`);
    setText(this.emptyAction, state.filter ? "Clear filter" : state.empty_action);
    this.emptyAction.hidden = !this.emptyAction.textContent;
  }

  actOnEmpty() {
    if (this.state.filter) this.filter.clear();
    else this.send({ type: "empty_action" });
  }

  setHeight() {
    const { lines, is_read: isRead, height } = this.state;
    this.viewport.size(lines, isRead ? 3 : SKELETON, height ?? Math.round(window.innerHeight * 0.6));
  }

  setColumns() {
    const hadFocus = this.head.contains(document.activeElement);
    const { cells } = this.columns;
    if (!this.columns.set(this.state)) return;
    this.at.column = Math.min(this.at.column, this.columns.shown.length);
    if (this.columns.cells !== cells) this.dropRows();
    else if (this.columns.isOther) this.lines.keep(0, 0, (row) => this.leave(row));
    this.setRow();
    if (hadFocus) this.placeFocus();
  }

  setRow() {
    const row = this.columns.isTall ? TALL : ROW;
    if (row === this.viewport.row) return;
    this.viewport.setRow(row);
    this.setHeight();
  }

  /** Drop the rows, because their cells belong to other columns. */
  dropRows() {
    this.lines.keep(0, 0, (row) => this.leave(row));
    this.rows = new Rows();
  }

  setPage(page, asked) {
    const isSame = page.members === this.state.members && asked.find === this.number;
    if (isSame && page.found !== null && page.found !== this.at.line) this.follow(page.found);
    this.rows.add(page);
    this.draw();
    this.showDetail();
    this.want();
    if (this.wantsFocus) this.takeFocus();
  }

  /** Focus the current cell, now or as soon as the page with it is there. */
  takeFocus(event) {
    event?.preventDefault();
    this.wantsFocus = !this.state || !this.rows.isCurrent(this.state);
    if (this.wantsFocus) return;
    this.at.line = Math.max(this.at.line, Math.min(0, this.state.lines - 1));
    this.focus(this.at.line, this.at.column);
  }

  /** Move the focus with its row, which is on another line now. */
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
    this.root.classList.toggle("rl-tight", this.root.clientWidth < TIGHT);
    if (this.state && this.viewport.isLaidOut && this.columns.choose()) {
      this.lines.keep(0, 0, (row) => this.leave(row));
      this.at.column = Math.min(this.at.column, this.columns.shown.length);
      this.setRow();
    }
    // An element outside of the page has lost its scroll position.
    if (this.state && this.viewport.isLaidOut) this.setTop(this.viewport.top);
    this.want();
  }

  /** Request visible rows that are missing or outdated. */
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
    const hasMoved = this.rows.members !== this.state.members;
    this.page.put(hasMoved && this.number !== null ? { ...question, find: this.number } : question);
  }

  draw() {
    if (!this.state || !this.viewport.isLaidOut) return;
    const [first, end] = this.viewport.inView();
    this.lines.keep(first, end, (row) => this.leave(row));
    const context = { state: this.state, now: this.now(), leaving: (row) => this.leave(row) };
    for (let line = first; line < end; line += 1) {
      this.lines.show(line, this.viewport.place(line), this.columns.shown, this.rows.get(line), context);
    }
    this.markFocus();
    if (this.after && this.rows.get(this.after[0]) && this.rows.members === this.state.members) {
      const [line, action] = this.after;
      this.after = null;
      action(this.rows.get(line));
    }
  }

  /** Return the reference time of ages, in milliseconds. */
  now() {
    return this.state.clock + (this.state.ticks ? performance.now() - this.heardAt : 0);
  }

  tick() {
    if (this.state?.ticks && this.inSight) this.lines.tick(this.columns.shown, this.now());
  }

  // ---- Focus

  cellAt({ line, column }) {
    const row = line < 0 ? this.head : this.lines.get(line);
    return row?.children[row.isGroup ? Math.min(column, 1) : column];
  }

  /** Make one cell reachable by Tab, or the table if that cell is not visible. */
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

  /** Keep the focus in the table when the focused row is removed. */
  leave(row) {
    if (!row.contains(document.activeElement)) return;
    this.table.setAttribute("tabindex", "-1");
    this.table.focus({ preventScroll: true });
  }

  placeFocus() {
    (this.cellAt(this.at) ?? this.table).focus({ preventScroll: true });
  }

  /** Move the focus to a cell and scroll it into view; after a click, its column is visible already. */
  focus(line, column, isClick = false) {
    if (!this.state) return;
    this.at = { line: clamp(line, -1, this.state.lines - 1), column: clamp(column, this.columns.box ? 0 : 1, this.columns.shown.length) };
    if (this.at.line >= 0) this.viewport.reveal(this.at.line);
    this.want();
    this.draw();
    this.placeFocus();
    if (!isClick) this.bringColumn();
  }

  /** Restore the selection from before it was cleared; its button disappears and may have the focus. */
  restore() {
    this.send({ type: "restore" });
    if (this.bar.cleared.contains(document.activeElement)) this.placeFocus();
  }

  /** Close one item per press of Escape: the expanded text, then the selection. */
  escape() {
    if (!this.detail.collapse() && this.state.chosen) this.send({ type: "clear" });
  }

  bringColumn() {
    const cell = this.head.children[this.at.column];
    if (!cell || !this.at.column) return;
    const left = cell.offsetLeft - this.columns.box;
    const right = cell.offsetLeft + cell.offsetWidth - this.scroller.clientWidth;
    if (this.scroller.scrollLeft > left) this.scroller.scrollLeft = left;
    else if (this.scroller.scrollLeft < right) this.scroller.scrollLeft = Math.min(left, right);
  }

  focused(event) {
    const cell = event.target.closest(".rl-cell");
    if (!cell) return;
    const row = cell.parentElement;
    const index = Number(cell.getAttribute("aria-colindex")) - 1;
    const column = row.isGroup && index ? Math.max(1, this.at.column) : index; // a group has one cell for all columns
    this.at = { line: row === this.head ? -1 : row.line, column };
    this.number = this.rows.get(this.at.line)?.number ?? null;
    this.markFocus();
    this.isFocused = true;
    this.showDetail();
    if (!this.state.is_compact && this.detail.root.hidden && takeHint()) this.detail.hint(HINT);
  }

  blurred(event) {
    if (this.root.contains(event.relatedTarget)) return;
    this.isFocused = false;
    if (this.detail.full.classList.contains("rl-hint")) this.detail.set(null);
  }

  /** Show the full text of the focused cell below the table if it is cut off, and keep it current. */
  showDetail() {
    const element = this.isFocused && this.cellAt(this.at);
    if (!element) return;
    const row = this.rows.get(this.at.line);
    const column = this.columns.shown[this.at.column - 1];
    this.detail.show(element, row, column, this.cellData(this.at));
  }

  /** Copy the id of a row, from the key column or from a column with ids, even if it is hidden. */
  copyId(line) {
    if (this.rows.get(line)?.isGroup) return;
    const { shown } = this.columns;
    const index = [shown.findIndex((column) => column.key), shown.findIndex((column) => column.form === "id")].find((i) => i >= 0);
    if (index !== undefined) this.copyCell(line, index + 1);
    else this.withRow(line, (row) => this.detail.fetch(row, this.state.key, (text) => this.copy(text)));
  }

  /** Return the data of a cell; null if it has none. */
  cellData({ line, column }) {
    return this.rows.get(line)?.cells[this.columns.shown[column - 1]?.at] ?? null;
  }

  copyCell(line, column) {
    const cell = this.cellData({ line, column });
    if (cell !== null) this.copy(Array.isArray(cell) ? cell[1] : cell);
  }

  async copy(text) {
    const isCopied = await copyText(text);
    this.bar.say(isCopied ? `Copied ${text.length > 60 ? `${text.slice(0, 60)}…` : text}` : "The browser does not allow copying.");
  }

  /** Run an action on the row of a line, now or after the kernel has sent the row. */
  withRow(line, action) {
    const row = this.rows.get(line);
    if (row && this.rows.members === this.state.members) action(row);
    else {
      this.after = [line, action];
      this.want();
    }
  }

  /** Handle keys that work everywhere in the grid, and keep them away from the notebook. */
  press(event) {
    const isCommand = !event.target.matches(TYPED) && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (isCommand && event.key === "/" && this.state?.is_compact) return; // there is no filter
    if (isCommand && event.key === "/") this.filter.search.focus();
    if (isCommand && event.key === "?") this.keys.toggle();
    if (isCommand && ["/", "?"].includes(event.key)) event.preventDefault();
    if (this.isOurs(event)) event.stopPropagation();
  }

  /** Return whether the grid uses a key; the notebook gets all others, such as Ctrl+S and Shift+Enter. */
  isOurs(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return ["a", "Home", "End"].includes(event.key) || (event.key === "z" && Boolean(this.state?.cleared));
    return event.key !== "Enter" || !event.shiftKey;
  }

  /** Keep the notebook from handling keys of the grid if it listens first, as older versions of JupyterLab do. */
  keepShortcuts(event) {
    if (!this.root.contains(event.target)) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", this.isOurs(event));
  }
}

function render({ model, el }) {
  const view = new GridView(model, el);
  return () => view.stop();
}

export default { render };
