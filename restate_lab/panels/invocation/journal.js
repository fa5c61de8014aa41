// The journal of an invocation: a tree grid with a time bar in each row, which grows with the clock of the browser.
// Texts from the kernel are set as text. view.py defines the fields of a row; drawing.py has the same scales.

const LOG_UNIT = 10, FIT_UNIT = 1; // ms
const BEAT = 1_000; // ms between two updates of open entries
const BETWEEN_TICKS = 0.012; // of the axis; with more ticks a bar would be black
const SCALES = { linear: "Linear", log: "Log", fit: "Fit" };
const HINTS = {
  linear: "Proportional to time",
  log: "More room for the first seconds",
  fit: "Some room for every entry",
};
const BARS = 3; // gray ones while the journal is read
const NOTHING = { rows: [], knots: [[0, 0]], ticks: {}, outcomes: {}, first: 0, last: 0, ended: true };
const HELP = "Arrow keys move, right and left expand and collapse, Enter opens the called invocation or shows the full text, C copies the error or the id";

/** The positions of times on the axis, from 0 to 1. */
class Scale {
  constructor(content, kind, now) {
    this.kind = kind;
    this.first = content.first;
    this.last = content.ended ? content.last : Math.max(now, content.first);
    this.past = content.ended ? 1 : 1 - content.future;
    this.future = Math.max(this.last, ...content.rows.map((row) => Math.max(row.next ?? 0, row.wakes ?? 0)));
    const [at, width] = content.knots.at(-1);
    this.knots = content.ended || this.last <= at
      ? content.knots
      : [...content.knots, [this.last, width + Math.log1p((this.last - at) / FIT_UNIT)]];
  }

  position(time) {
    if (time > this.last) {
      if (this.past === 1) return 1;
      return Math.min(1, this.past + (1 - this.past) * 0.8 * (time - this.last) / Math.max(this.future - this.last, 1e-6));
    }
    const passed = Math.max(0, time - this.first), span = this.last - this.first;
    return span > 0 ? this.past * Math.min(1, this.share(passed, span)) : 0;
  }

  share(passed, span) {
    if (this.kind === "linear") return passed / span;
    if (this.kind === "log") return Math.log1p(passed / LOG_UNIT) / Math.log1p(span / LOG_UNIT);
    const time = this.first + passed, total = this.knots.at(-1)[1];
    const after = Math.max(1, this.knots.findIndex(([at]) => at > time));
    const [[start, before], [end, width]] = this.knots.slice(after - 1, after + 1);
    return passed === span || !total ? 1 : (before + (width - before) * (time - start) / (end - start)) / total;
  }
}

class JournalPage {
  constructor(model, el) {
    this.model = model;
    this.kind = "linear";
    this.collapsed = new Set();
    this.wanted = new Set(); // calls whose callee journal was requested
    this.whole = new Set(); // rows that show their full text
    this.rows = new Map(); // key → its element and its data
    this.focused = null;
    this.abort = new AbortController();
    this.build(el);
    this.model.on("change:content", (this.show = this.show.bind(this)));
    this.model.on("change:links change:error", (this.showLinks = this.showLinks.bind(this)));
    this.timer = setInterval(() => !document.hidden && this.content.live && this.place(), BEAT);
    this.show();
    this.showLinks();
  }

  stop() {
    clearInterval(this.timer);
    this.abort.abort();
    this.model.off("change:content", this.show);
    this.model.off("change:links change:error", this.showLinks);
  }

  get content() {
    return { ...NOTHING, ...this.model.get("content") };
  }

  /** Whether the kernel has answered: before that, nothing is known about the entries. */
  get isRead() {
    return Boolean(this.model.get("content").rows);
  }

  // ---- The elements

  build(el) {
    const signal = this.abort.signal;
    this.state = make("span", "rl-jstate");
    this.scales = Object.entries(SCALES).map(([kind, label]) => {
      const button = make("button", "rl-button rl-jbutton", { type: "button", title: HINTS[kind], "data-kind": kind }, label);
      button.addEventListener("click", () => { this.kind = kind; this.place(); }, { signal });
      return button;
    });
    const scale = make("span", "rl-jscales", { role: "group", "aria-label": "Scale of time" }, ...this.scales);
    this.copyId = this.copyButton("Copy id", () => this.content.id);
    this.copyError = this.copyButton("Copy error", () => this.failing()?.value ?? "");
    const forms = [["CSV file", "csv"], ["Excel file", "xlsx"]];
    const exports = makeExports("Export the entries of the journal", forms, (form) => this.model.send({ type: "export", form }), signal);
    this.tools = make("span", "rl-jtools", {}, scale, this.copyId, this.copyError, exports);
    this.bar = make("div", "rl-jbar", {}, make("b", "", {}, "Journal"), this.state, this.tools);
    this.reading = make("div", "rl-jreading", { "aria-hidden": "true" }, ...Array.from({ length: BARS }, () => make("div", "rl-bone")));
    this.axis = make("div", "rl-jaxis", { role: "columnheader", "aria-label": "Time" });
    const names = ["#", "Entry", "Result or error"].map((name) => make("div", "", { role: "columnheader" }, name));
    const head = make("div", "rl-jrow rl-jhead", { role: "row" }, ...names, this.axis, make("div", "rl-jtime", { role: "columnheader" }, "Took"));
    this.body = make("div", "rl-jbody", { role: "rowgroup" });
    const headGroup = make("div", "rl-jheadgroup", { role: "rowgroup" }, head);
    this.table = make("div", "rl-jtable", { role: "treegrid", "aria-label": `Journal. ${HELP}.` }, headGroup, this.body);
    this.more = make("button", "rl-button rl-jbutton", { type: "button" });
    this.more.addEventListener("click", () => this.model.send({ type: "more" }), { signal });
    this.legend = make("div", "rl-jlegend");
    this.links = make("div", "rl-jlinks");
    this.spoken = make("span", "rl-spoken", { role: "status", "aria-live": "polite" });
    for (const group of [this.bar, this.links]) rove(group);
    this.root = make("div", "rl-journal", {}, this.bar, this.reading, this.table, this.more, this.legend, this.links, this.spoken);
    this.body.addEventListener("keydown", (event) => this.press(event), { signal });
    this.body.addEventListener("focusin", (event) => this.follow(event), { signal });
    el.append(this.root);
  }

  copyButton(label, text) {
    const button = make("button", "rl-button rl-jbutton", { type: "button" }, label);
    button.addEventListener("click", () => this.copy(text()), { signal: this.abort.signal });
    return button;
  }

  /** Return the current time of the server; `skew` is the difference from the browser clock in milliseconds. */
  now() {
    const { live, last, skew } = this.content;
    return live ? Math.max(last, Date.now() + skew) : last;
  }

  // ---- Rows

  show() {
    const content = this.content;
    if (this.shownId !== content.id) {
      for (const set of [this.collapsed, this.wanted, this.whole]) set.clear();
      this.shownId = content.id;
      this.focused = null;
    }
    const hadFocus = this.body.contains(document.activeElement);
    this.parents = new Set(content.rows.map((row) => row.parent));
    const old = this.rows;
    this.rows = new Map(content.rows.map((row) => [row.key, this.keep(old.get(row.key), row)]));
    this.body.replaceChildren(...[...this.rows.values()].map((each) => each.element));
    if (!this.rows.has(this.focused)) this.focused = (this.failing() ?? content.rows[0])?.key ?? null;
    this.fold();
    this.place();
    this.showRest(content);
    if (hadFocus) this.focus(this.focused);
  }

  /** Return the element of a row: the existing one if its data is the same. */
  keep(known, row) {
    const text = JSON.stringify({ ...row, duration: row.open ? "" : row.duration, about: "" }) + this.parents.has(row.key);
    if (known?.text !== text) return { row, text, ...this.makeRow(row) };
    known.row = row;
    return known;
  }

  makeRow(row) {
    const outcome = this.content.outcomes[row.outcome];
    const hasRows = this.parents.has(row.key);
    const canExpand = hasRows || row.expand;
    const toggle = make("span", "rl-jtoggle", { "aria-hidden": "true" }, canExpand ? "▾" : "");
    if (canExpand) toggle.addEventListener("click", () => this.toggle(row.key));
    const sign = make("span", "rl-jsign", { title: row.word }, outcome.sign);
    const label = row.callee ? this.link(row.callee, row.label || row.callee) : make("span", "", {}, row.label);
    const entry = make("div", "rl-jentry", { role: "gridcell" }, toggle, sign, make("span", "rl-jtype", {}, row.type), " ", label);
    entry.style.paddingInlineStart = `${16 * (row.depth - 1)}px`;
    const value = make("div", "rl-jvalue", { role: "gridcell" }, make("span", "rl-jtext", {}, row.value));
    if (row.failed) value.append(make("span", "rl-jfailed", {}, row.failed));
    value.addEventListener("click", () => !getSelection().toString() && this.enlarge(row.key));
    const track = make("div", "rl-jtrack", { role: "gridcell" });
    const bar = make("div", "rl-jbar-of-time");
    const ticks = row.attempts.map(() => make("i", "rl-jtick"));
    const later = row.next || row.wakes ? [make("i", "rl-jnext")] : [];
    track.append(bar, ...ticks, ...later);
    const time = make("div", "rl-jtime", { role: "gridcell" });
    const index = make("div", "rl-jindex", { role: "gridcell" }, row.index === null ? "–" : String(row.index));
    const attributes = { role: "row", tabindex: "-1", "data-outcome": row.outcome, "aria-level": row.depth };
    const element = make("div", "rl-jrow", attributes, index, entry, value, track, time);
    element.dataset.key = row.key;
    return { element, toggle, bar, ticks, next: later[0], track, time, canExpand, hasRows };
  }

  link(id, text) {
    const button = make("button", "rl-jlink", { type: "button", tabindex: "-1", title: `Open ${id}` }, text);
    button.addEventListener("click", () => this.model.send({ type: "open", id }));
    return button;
  }

  /** Show all rows except those below a collapsed row. */
  fold() {
    const hidden = new Set();
    for (const [key, each] of this.rows) {
      const parent = each.row.parent;
      const isHidden = parent !== null && (hidden.has(parent) || this.collapsed.has(parent));
      if (isHidden) hidden.add(key);
      each.element.hidden = isHidden;
      each.element.tabIndex = key === this.focused ? 0 : -1;
      each.element.classList.toggle("rl-jwhole", this.whole.has(key));
      if (!each.canExpand) continue;
      const isOpen = each.hasRows && !this.collapsed.has(key);
      each.element.setAttribute("aria-expanded", isOpen);
      each.toggle.textContent = isOpen ? "▾" : this.wanted.has(key) && !each.hasRows ? "…" : "▸";
    }
  }

  // ---- Times

  place() {
    const content = this.content;
    const scale = new Scale(content, this.kind, this.now());
    for (const button of this.scales) button.setAttribute("aria-pressed", button.dataset.kind === this.kind);
    this.root.style.setProperty("--rl-jnow", content.ended ? "200%" : `${100 * scale.past}%`);
    for (const each of this.rows.values()) if (!each.element.hidden) this.placeRow(each, scale);
    this.placeTicks(content.ticks[this.kind] ?? [], scale);
    this.showState();
  }

  placeRow({ row, bar, ticks, next, track, time }, scale) {
    const end = row.open ? scale.last : row.end ?? row.start ?? scale.last;
    const start = row.start ?? end;
    const left = scale.position(start), right = Math.max(left, scale.position(end));
    bar.style.left = `min(${100 * left}%, 100% - 3px)`;
    bar.style.width = `${100 * (right - left)}%`;
    let before = -Infinity; // attempts too close together to tell apart share a tick
    ticks.forEach((tick, at) => {
      const position = scale.position(row.attempts[at]);
      tick.hidden = position - before < BETWEEN_TICKS;
      if (!tick.hidden) before = position;
      tick.style.left = `${100 * position}%`;
    });
    const later = row.next ?? row.wakes;
    if (next) next.style.left = `${100 * Math.max(scale.past + 0.015, scale.position(later))}%`;
    const took = row.open && row.start !== null ? duration(scale.last - row.start) : row.duration;
    const wait = later && !this.content.ended ? remaining(later - scale.last, row.next ? "next" : "wakes") : "";
    time.replaceChildren(took, ...(wait ? [make("span", "rl-jwait", {}, wait)] : []));
    track.title = row.about;
    track.setAttribute("aria-label", row.about);
  }

  placeTicks(ticks, scale) {
    this.axis.replaceChildren(...ticks.map(([at, label], number) => {
      const isLast = number === ticks.length - 1 && number > 0;
      const tick = make("span", "rl-jlabel", {}, label);
      tick.style.left = `${100 * (isLast ? scale.past : scale.position(at))}%`;
      tick.classList.toggle("rl-jend", isLast && scale.past === 1);
      return tick;
    }));
    this.hideCollisions([...this.axis.children]);
  }

  /** Hide inner labels that have no room. */
  hideCollisions(labels) {
    const boxes = labels.map((label) => label.getBoundingClientRect());
    let right = boxes[0]?.right ?? 0;
    for (const [at, box] of boxes.entries()) {
      if (at === 0 || at === boxes.length - 1) continue;
      const fits = box.left >= right + 2 && box.right + 2 <= boxes.at(-1).left;
      labels[at].style.visibility = fits ? "visible" : "hidden";
      if (fits) right = box.right;
    }
  }

  failing() {
    return this.content.rows.find((row) => row.outcome === "retrying") ?? this.content.rows.findLast((row) => row.outcome === "failed");
  }

  showState() {
    const row = this.content.rows.find((each) => each.outcome === "retrying" && each.depth === 1);
    const next = row?.next ? `next attempt ${remaining(row.next - this.now(), "")}` : "";
    this.state.textContent = [row?.failed, next].filter(Boolean).join(" · ");
    this.copyError.hidden = !this.failing();
  }

  showRest({ rows, hidden, note, outcomes }) {
    this.more.hidden = !hidden;
    this.more.textContent = `Show more: ${hidden?.toLocaleString("en")} entries are not shown`;
    this.table.hidden = !rows.length;
    this.reading.hidden = this.isRead;
    this.tools.style.visibility = this.isRead ? "" : "hidden"; // they keep their place
    this.root.setAttribute("aria-busy", !this.isRead);
    const wordsOf = (name) => [...new Set(rows.filter((row) => row.outcome === name).map((row) => row.word))].join(" or ");
    const used = Object.entries(outcomes).filter(([name]) => wordsOf(name));
    const parts = used.map(([name, { sign }]) => make("span", "rl-jkey", { "data-outcome": name }, make("i", "rl-jsquare"), `${sign} ${wordsOf(name)}`));
    if (rows.some((row) => row.attempts.length)) parts.push(make("span", "rl-jkey", {}, "│ failed attempt"));
    if (rows.some((row) => row.next)) parts.push(make("span", "rl-jkey", {}, "○ next attempt"));
    const nothing = this.isRead ? [`There is no journal: ${note || "it has no entries"}.`] : [];
    this.legend.replaceChildren(...(rows.length ? parts : nothing));
    for (const [name, { colour }] of Object.entries(outcomes)) this.root.style.setProperty(`--rl-j${name}`, colour);
  }

  showLinks() {
    const parts = [...groupByRelation(this.model.get("links"))].map(([how, links]) => make(
      "span", "rl-jgroup", {}, `${how}${how === "blocks" ? ` ${links.length}` : ""}:`,
      ...links.map(({ id, label }) => {
        const chip = this.link(id, label);
        chip.classList.add("rl-jchip");
        chip.tabIndex = 0;
        return chip;
      }),
    ));
    this.links.replaceChildren(...parts);
    if (this.model.get("error")) this.spoken.textContent = this.model.get("error");
  }

  // ---- Actions of the user

  /** Expand or collapse a call; the journal of its callee is requested if it was not read yet. */
  toggle(key, wanted = null) {
    const each = this.rows.get(key);
    if (!each?.canExpand) return;
    const isOpen = each.hasRows && !this.collapsed.has(key);
    if (wanted === isOpen) return;
    if (!each.hasRows) {
      this.wanted.add(key);
      this.model.send({ type: "expand", id: each.row.callee });
    } else if (isOpen) this.collapsed.add(key);
    else this.collapsed.delete(key);
    this.fold();
    this.place();
  }

  enlarge(key) {
    if (!this.whole.delete(key)) this.whole.add(key);
    this.fold();
  }

  follow(event) {
    const key = event.target.closest(".rl-jrow")?.dataset.key;
    if (!key || key === this.focused) return;
    this.focused = key;
    this.fold();
  }

  focus(key) {
    this.focused = key;
    this.fold();
    this.rows.get(key)?.element.focus({ preventScroll: false });
  }

  /** Move between the visible rows, as in a tree grid. */
  press(event) {
    const isModified = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
    const key = event.target.closest(".rl-jrow")?.dataset.key;
    if (!key || isModified) return;
    const { row, hasRows } = this.rows.get(key);
    const keys = [...this.rows.keys()].filter((each) => !this.rows.get(each).element.hidden);
    const at = keys.indexOf(key);
    const isOnLink = event.target !== this.rows.get(key).element;
    const isOpen = hasRows && !this.collapsed.has(key);
    const acts = {
      ArrowDown: () => this.focus(keys[Math.min(at + 1, keys.length - 1)]),
      ArrowUp: () => this.focus(keys[Math.max(at - 1, 0)]),
      Home: () => this.focus(keys[0]),
      End: () => this.focus(keys.at(-1)),
      ArrowRight: () => (isOpen ? this.focus(keys[at + 1]) : this.toggle(key, true)),
      ArrowLeft: () => (isOpen || row.parent === null ? this.toggle(key, false) : this.focus(row.parent)),
      Enter: () => (row.callee ? this.model.send({ type: "open", id: row.callee }) : this.enlarge(key)),
      c: () => this.copy(["failed", "retrying"].includes(row.outcome) ? row.value : row.callee ?? this.content.id),
    };
    const act = event.key === "Enter" && isOnLink ? null : acts[event.key === "C" ? "c" : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async copy(text) {
    const isCopied = await copyText(text);
    const what = text.length > 60 ? `${text.slice(0, 60)}…` : text;
    this.state.textContent = this.spoken.textContent = isCopied ? `Copied: ${what}` : "The browser does not allow copying.";
  }
}

/** Format milliseconds like format_duration of _text.py: "2h 13m", "4s"; below a second in ms. */
function duration(milliseconds) {
  if (milliseconds < 1_000) return `${Math.max(0, Math.round(milliseconds))}ms`;
  return formatDuration(Math.floor(milliseconds / 1_000));
}

/** Return the time until an event: "next in 4s", or "due" if it has passed. */
function remaining(milliseconds, what) {
  return `${what} ${milliseconds < 1_000 ? "due" : `in ${duration(milliseconds)}`}`.trim();
}

function groupByRelation(links) {
  const groups = new Map();
  for (const link of links) groups.set(link.how, [...groups.get(link.how) ?? [], link]);
  return groups;
}

function render({ model, el }) {
  const page = new JournalPage(model, el);
  return () => page.stop();
}

export default { render };
