// The head of a panel. It shows texts as text, says whether the panel is in sight, and keeps the notebook's shortcuts
// away from the panel's keys. head.py says what may be sent.

const BEAT = 10_000; // ms between two signs of life
const LONG = 2_000; // ms after which a read is said to be under way
const ENDED = ".jupyter-widgets-disconnected"; // JupyterLab marks with it what has no kernel any more
const PANEL = ".rl-panel";
const TYPED = "input:not([type=checkbox]):not([type=radio]), textarea, select";

class HeadView {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.id = newName();
    this.abort = new AbortController();
    this.inSight = null;
    this.inWindow = false;
    this.busySince = null;
    this.askedSince = null; // when the kernel was asked what it has not answered
    this.saidLast = null; // what the kernel said last
    this.skew = 0; // seconds by which the clock of this browser is ahead of the kernel's
    this.isTrying = false; // "Try now" was clicked, and nothing was heard of it yet
    this.build();
    this.listen();
    this.draw();
  }

  build() {
    this.heading = make("span", "rl-heading");
    this.place = make("span", "rl-place");
    this.cost = make("span", "rl-cost");
    this.liveBox = make("input", "", { type: "checkbox" });
    this.live = make("label", "rl-live", {}, this.liveBox, "live");
    this.refresh = make("button", "rl-button", { type: "button" }, "Refresh");
    this.copy = make("button", "rl-button", { type: "button" }, "Copy as code");
    const tools = make("div", "rl-tools", {}, this.cost, this.live, this.refresh, this.copy);
    const bar = make("div", "rl-headbar", {}, make("div", "rl-where", {}, this.heading, this.place), tools);
    this.kernel = make("div", "rl-kernel", { role: "status" });
    this.banner = make("div", "rl-banner", { role: "status" });
    this.buildTrouble();
    this.error = make("div", "rl-error", { role: "alert" });
    this.said = make("div", "rl-happened", { role: "status", "aria-live": "polite" });
    this.brief = make("span", "rl-brief");
    this.whole = make("pre", "rl-sql");
    const summary = make("summary", "", {}, make("b", "", {}, "SQL"), " ", this.brief);
    this.sql = make("details", "rl-sqlbox", {}, summary, this.whole);
    this.root = make("div", "rl-panelhead", {}, bar, this.kernel, this.trouble, this.spoken, this.banner, this.error, this.said, this.sql);
    this.el.append(this.root);
  }

  /** Make the banner for a server that does not answer. What counts is seen; a screen reader is told once, in `spoken`. */
  buildTrouble() {
    this.lead = make("span", "rl-lead", { "aria-hidden": "true" });
    this.next = make("span", "rl-next", { "aria-hidden": "true" });
    this.tryNow = make("button", "rl-button", { type: "button" }, "Try now");
    this.advice = make("div", "rl-advice");
    this.detail = make("div", "rl-detail");
    this.details = make("details", "rl-details", {}, make("summary", "", {}, "Details"), this.detail);
    const line = make("div", "rl-troubleline", {}, this.lead, this.next, this.tryNow, this.details);
    this.trouble = make("div", "rl-banner rl-trouble", { hidden: "" }, line, this.advice);
    this.spoken = make("div", "rl-spoken", { role: "status", "aria-live": "polite" });
  }

  listen() {
    const signal = this.abort.signal;
    const on = (target, name, act, options = {}) => target.addEventListener(name, act.bind(this), { signal, ...options });
    this.model.on("change", (this.draw = this.draw.bind(this)));
    this.model.on("msg:custom", (this.hear = this.hear.bind(this)));
    on(window, "keydown", this.keepShortcuts, { capture: true });
    on(document, "visibilitychange", this.look);
    on(this.refresh, "click", () => this.send({ type: "refresh" }));
    on(this.tryNow, "click", this.tryAgain);
    on(this.liveBox, "change", () => this.send({ type: "live", on: this.liveBox.checked }));
    on(this.copy, "click", this.copyCode);
    this.beat = setInterval(() => this.look(true), BEAT);
    this.watch = setInterval(() => { this.sayKernel(); this.sayWaiting(); this.countDown(); }, 500);
    this.observer = new IntersectionObserver((entries) => {
      this.inWindow = entries.some((entry) => entry.isIntersecting);
      this.look();
    });
    requestAnimationFrame(() => this.observe());
  }

  observe() {
    if (this.abort.signal.aborted) return;
    this.panel = this.el.closest(PANEL);
    if (!this.panel) return requestAnimationFrame(() => this.observe());
    const signal = this.abort.signal;
    this.panel.addEventListener("keydown", (event) => this.stopKeys(event), { signal });
    this.panel.addEventListener("click", () => this.inSight && this.sayAlive(), { signal });
    this.observer.observe(this.panel);
    this.drawTrouble();
  }

  stop() {
    this.abort.abort();
    this.observer.disconnect();
    clearInterval(this.beat);
    clearInterval(this.watch);
    this.model.off("change", this.draw);
    this.model.off("msg:custom", this.hear);
    this.send({ type: "close" });
  }

  send(message) {
    try {
      this.model.send({ ...message, view: this.id });
    } catch (error) {
      this.error.textContent = `The kernel cannot be reached: ${error.message}`;
    }
  }

  look(always = false) {
    const now = this.inWindow && document.visibilityState === "visible";
    if (now === this.inSight && !(always && now)) return;
    this.inSight = now;
    this.sayAlive();
  }

  sayAlive() {
    if (this.inSight) this.askedSince ??= performance.now();
    this.send({ type: "alive", in_sight: this.inSight });
  }

  hear(message) {
    if (message.type !== "heard" || message.view !== this.id) return;
    this.askedSince = null;
    this.skew = Date.now() / 1000 - message.now;
    this.sayKernel();
  }

  /** Say that the kernel is busy, or that it is gone and nothing here does anything. */
  sayKernel() {
    const hasEnded = this.el.closest(ENDED) !== null;
    this.panel?.toggleAttribute("data-ended", hasEnded);
    const words = hasEnded
      ? "The kernel of this panel has ended or was restarted: what is shown is old, and nothing can be done here. Run the cell again."
      : waitingWords(this.askedSince);
    if (this.kernel.textContent !== words) this.kernel.textContent = words;
  }

  draw() {
    const get = (name) => this.model.get(name);
    this.heading.textContent = get("heading");
    this.place.textContent = get("place");
    this.cost.textContent = get("cost");
    for (const name of ["banner", "error"]) {
      if (this[name].textContent !== get(name)) this[name].textContent = get(name);
    }
    if (!get("busy")) this.isTrying = false;
    this.drawTrouble();
    // What the view says by itself ("Copied: …") stays until the kernel says something else.
    if (this.saidLast !== get("said")) this.said.textContent = this.saidLast = get("said");
    this.live.hidden = get("live") === null;
    this.liveBox.checked = get("live") === true;
    this.copy.hidden = !get("code");
    this.copy.title = get("code");
    const sql = get("sql");
    this.sql.hidden = !sql;
    this.brief.textContent = brief(sql);
    this.whole.textContent = sql;
    if (!get("busy")) this.busySince = null;
    else this.busySince ??= performance.now();
    this.root.toggleAttribute("data-busy", get("busy"));
    this.sayWaiting();
  }

  sayWaiting() {
    if (this.busySince === null) return;
    const waited = performance.now() - this.busySince;
    if (waited <= LONG) return;
    const before = this.model.get("cost").split(",")[0]; // when it was read that is shown
    this.cost.textContent = `${before && `${before} · `}reading, ${Math.round(waited / 1000)} s so far …`;
  }

  /** Show why the panel cannot read, or take that away. */
  drawTrouble() {
    const trouble = this.model.get("trouble");
    const isLost = Boolean(trouble.kind);
    this.panel?.toggleAttribute("data-stale", isLost && trouble.stale);
    if (this.panel) this.panel.dataset.trouble = trouble.kind ?? (this.model.get("banner") ? "waiting" : "");
    const hadFocus = this.tryNow === document.activeElement;
    const wasLost = !this.trouble.hidden;
    this.trouble.hidden = !isLost;
    if (!isLost) {
      if (wasLost) this.speak("The data is up to date again.");
      if (hadFocus) this.refresh.focus();
      return;
    }
    this.setText(this.advice, trouble.advice);
    this.setText(this.detail, trouble.detail);
    this.details.hidden = !trouble.detail;
    this.speak(`${trouble.lead}, since ${trouble.since_text}. ${trouble.showing} ${trouble.advice}`.trim());
    this.countDown();
  }

  /** Write how long the server has been away, and in how many seconds it is asked again. */
  countDown() {
    const trouble = this.model.get("trouble");
    if (!trouble.kind) return;
    const now = Date.now() / 1000 - this.skew;
    const gone = trouble.kind === "away" ? ` for ${formatDuration(Math.floor(now - trouble.since))}` : "";
    this.setText(this.lead, `${trouble.lead}${gone}. ${trouble.showing}`);
    const left = trouble.next_at - now;
    const isTrying = this.isTrying || this.model.get("busy") || left <= 0;
    this.setText(this.next, isTrying ? "Trying now …" : `Next try in ${formatDuration(Math.ceil(left))}`);
  }

  tryAgain() {
    this.isTrying = true;
    this.countDown();
    this.send({ type: "refresh" });
  }

  /** Tell a screen reader something, once. */
  speak(text) {
    this.setText(this.spoken, text);
  }

  setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  async copyCode() {
    const code = this.model.get("code");
    const isCopied = await navigator.clipboard?.writeText(code).then(() => true, () => false) || copyOldWay(code);
    this.said.textContent = isCopied ? `Copied: ${code}` : `Copying is not allowed here; this is the line: ${code}`;
  }

  /** Tell whether a key is meant for the panel and not for the notebook around it. */
  isOurs(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return event.target.matches(TYPED);
    return event.key !== "Enter" || !event.shiftKey;
  }

  stopKeys(event) {
    if (this.isOurs(event)) event.stopPropagation();
  }

  /** Keep the notebook from keys of the panel where it listens before the panel does. */
  keepShortcuts(event) {
    if (!this.panel?.contains(event.target) || event.target.closest(".rl-grid")) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", this.isOurs(event));
  }
}

/** Return a number of whole seconds in its two largest units, as format_duration of _text.py does: "2h 13m". */
export function formatDuration(seconds) {
  let rest = Math.max(0, seconds);
  const parts = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]].map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return [count, unit];
  });
  const first = parts.findIndex(([count]) => count);
  const shown = first < 0 ? [] : parts.slice(first, first + 2).filter(([count]) => count);
  return shown.map(([count, unit]) => `${count}${unit}`).join(" ") || "0s";
}

/** Return what a statement asks for, on one line: its conditions and all from there on, or all where it has parts. */
function brief(statement) {
  const sql = statement.replaceAll(/\n+(?=:\w+ = )/g, " · "); // the values stand below the statement
  const own = sql.lastIndexOf("WHERE s.");
  const where = own < 0 ? sql.indexOf("WHERE") : own;
  const asked = sql.slice(Math.max(where, 0)).replaceAll(/\s+/g, " ").replaceAll("))", "").replace(" WHERE ", " AND ");
  const isWhole = [...asked].reduce((depth, c) => (depth < 0 ? depth : depth + (c === "(") - (c === ")")), 0) === 0;
  return isWhole ? asked : sql.replaceAll(/\s+/g, " ");
}

/** Copy where a page is not served over https: there is no clipboard API then. */
function copyOldWay(text) {
  const area = make("textarea", "", { "aria-hidden": "true", style: "position:fixed;opacity:0" });
  const before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  before?.focus();
  return isCopied;
}

function render({ model, el }) {
  const view = new HeadView(model, el);
  return () => view.stop();
}

export default { render };
