// The toolbar of a panel. It shows texts as text, reports whether the panel is visible, and keeps the notebook's
// shortcuts away from the panel's keys. head.py defines the allowed messages.

const BEAT = 10_000; // ms between two "alive" messages
const LONG = 2_000; // ms after which a read in progress is shown
const ENDED = ".jupyter-widgets-disconnected"; // JupyterLab sets this class on outputs that have lost their kernel
const PANEL = ".rl-panel";
const SEARCH = ".rl-list .rl-search, .rl-searchbar input";
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
    this.askedSince = null; // time of the oldest message without a response from the kernel
    this.eventShown = null; // last event text from the kernel
    this.skew = 0; // seconds by which the browser clock is ahead of the kernel clock
    this.isTrying = false; // "Try now" was clicked, and the kernel has not responded yet
    this.build();
    this.listen();
    this.draw();
  }

  build() {
    this.heading = make("span", "rl-heading");
    this.access = make("span", "rl-badge");
    this.place = make("span", "rl-place");
    this.age = make("span", "rl-age");
    this.liveBox = make("input", "", { type: "checkbox" });
    this.live = make("label", "rl-live", { title: "Refresh automatically while the panel is visible" }, this.liveBox, "live");
    this.report = button("Report", "Write an incident report of the current state of the cluster");
    this.showSql = button("SQL", "Show the statement", { "aria-expanded": "false" });
    this.copy = button("Copy as code", "");
    this.copyLink = button("Copy link", "");
    this.refresh = button("⟳", "Read again now", { "aria-label": "Refresh" });
    const tools = make("div", "rl-tools", { role: "toolbar", "aria-label": "Panel" }, this.live, this.age, this.report, this.showSql, this.copy, this.copyLink, this.refresh);
    const bar = make("div", "rl-headbar", {}, make("div", "rl-where", {}, this.heading, this.access, this.place), tools);
    this.views = make("div", "rl-views", { role: "tablist", "aria-label": "Views" });
    this.crumbs = make("nav", "rl-crumbs", { "aria-label": "Breadcrumb" });
    this.eventLine = make("div", "rl-happened", { role: "status", "aria-live": "polite" });
    this.fileName = make("span", "rl-filename");
    this.openFile = button("Open", "Open the file in a new tab");
    this.copyPath = button("Copy path", "");
    this.file = make("div", "rl-file", { role: "status", "aria-live": "polite", hidden: "" }, this.fileName, this.openFile, this.copyPath);
    // They have a place in this line, so that the content below does not move.
    const way = make("div", "rl-way", {}, this.views, this.crumbs, make("div", "rl-news", {}, this.eventLine, this.file));
    for (const group of [tools, this.views, this.crumbs]) rove(group);
    this.kernel = make("div", "rl-kernel", { role: "status" });
    this.banner = make("div", "rl-banner", { role: "status" });
    this.buildTrouble();
    this.error = make("div", "rl-error", { role: "alert" });
    this.sql = make("pre", "rl-sql", { hidden: "", tabindex: "0", "aria-label": "The statement" });
    this.root = make("div", "rl-panelhead", {}, bar, way, this.kernel, this.problem, this.spoken, this.banner, this.error, this.sql);
    const copy = `.rl-saved[data-panel="${this.model.get("copy")}"]`;
    const hidden = make("style", "", {}, `${copy}, .jp-OutputArea-child:has(${copy}) { display: none; }`);
    this.el.append(hidden, this.root);
  }

  /** Build the banner for a server that does not respond; a screen reader gets one message without the countdown, in `spoken`. */
  buildTrouble() {
    this.lead = make("span", "rl-lead", { "aria-hidden": "true" });
    this.next = make("span", "rl-next", { "aria-hidden": "true" });
    this.tryNow = make("button", "rl-button", { type: "button" }, "Try now");
    this.advice = make("div", "rl-advice");
    this.detail = make("div", "rl-detail");
    this.details = make("details", "rl-details", {}, make("summary", "", {}, "Details"), this.detail);
    const line = make("div", "rl-problemline", {}, this.lead, this.next, this.tryNow, this.details);
    this.problem = make("div", "rl-banner rl-problem", { hidden: "" }, line, this.advice);
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
    on(this.copy, "click", () => this.copyOf(this.copy, "code"));
    on(this.copyLink, "click", () => this.copyOf(this.copyLink, "link"));
    on(this.report, "click", () => this.send({ type: "report" }));
    on(this.openFile, "click", () => window.open(this.fileAddress(), "_blank", "noopener"));
    on(this.copyPath, "click", this.copyFilePath);
    on(this.showSql, "click", this.toggleSql);
    for (const nav of [this.views, this.crumbs]) on(nav, "click", this.go);
    this.beat = setInterval(() => this.look(true), BEAT);
    this.watch = setInterval(() => { this.sayKernel(); this.sayAge(); this.countDown(); }, 500);
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
    this.keeper = new FocusKeeper(this.panel, signal);
    this.panel.addEventListener("keydown", (event) => this.jump(event), { signal, capture: true });
    this.panel.addEventListener("keydown", (event) => this.stopKeys(event), { signal });
    this.panel.addEventListener("click", () => this.inSight && this.sayAlive(), { signal });
    this.observer.observe(this.panel);
    this.drawProblem();
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
    if (this.hasEnded) return;
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

  /** Show that the kernel is busy, or that it has ended and the panel no longer works. */
  sayKernel() {
    const hasEnded = this.el.closest(ENDED) !== null;
    if (hasEnded && !this.hasEnded) this.error.textContent = ""; // that a message could not be sent
    this.hasEnded = hasEnded;
    this.panel?.toggleAttribute("data-ended", hasEnded);
    const text = hasEnded
      ? "The kernel of this panel has ended or was restarted. The data is old, and the panel does not work any more. Run the cell again."
      : waitingWords(this.askedSince);
    if (this.kernel.textContent !== text) this.kernel.textContent = text;
  }

  draw() {
    const get = (name) => this.model.get(name);
    this.setText(this.heading, get("heading"));
    this.setText(this.place, get("place"));
    this.setText(this.access, get("access"));
    this.access.title = get("access") === "writable" ? "Plans in this panel can change the cluster" : "This panel cannot change anything";
    this.access.toggleAttribute("data-writable", get("access") === "writable");
    for (const name of ["banner", "error"]) this.setText(this[name], get(name));
    if (!get("busy")) this.isTrying = false;
    this.drawProblem();
    this.drawLinks(this.views, get("views"), "", { role: "tab" });
    this.drawLinks(this.crumbs, get("crumbs"), "›");
    this.turn();
    // A message of the view itself ("Copied …") stays until the kernel reports an event.
    if (this.eventShown !== get("event")) this.eventLine.textContent = this.eventLine.title = this.eventShown = get("event");
    this.drawFile(get("file"));
    this.live.hidden = get("live") === null;
    this.liveBox.checked = get("live") === true;
    this.report.hidden = !get("report");
    this.report.disabled = get("report") === "busy";
    this.copy.hidden = !get("code");
    this.copy.title = get("code");
    this.copyLink.hidden = !get("link");
    this.copyLink.title = get("link");
    this.showSql.hidden = !get("sql");
    this.setText(this.sql, get("sql"));
    if (!get("sql")) this.sql.hidden = true;
    if (!get("busy")) this.busySince = null;
    else this.busySince ??= performance.now();
    this.root.toggleAttribute("data-busy", get("busy"));
    this.sayAge();
  }

  /** Redraw the views or the breadcrumb if they have changed; the focus stays where it is. */
  drawLinks(nav, links, separator, attributes = {}) {
    const text = JSON.stringify(links);
    if (nav.drawn === text) return;
    nav.drawn = text;
    const focused = nav.contains(document.activeElement) ? document.activeElement.dataset.to : null;
    nav.replaceChildren(...links.flatMap(({ name, label, current }, at) => {
      const link = button(label, "", { "data-to": name, "data-label": label, ...attributes });
      if (current) link.setAttribute("aria-current", "page");
      if (attributes.role) link.setAttribute("aria-selected", current);
      return separator && at ? [make("span", "rl-between", { "aria-hidden": "true" }, separator), link] : [link];
    }));
    if (focused !== null) nav.querySelector(`[data-to="${focused}"]`)?.focus();
  }

  /** Move the focus when an invocation is opened, or closed. */
  turn() {
    const isList = this.model.get("views").some(({ name, current }) => current && ["overview", "invocations", "waits"].includes(name));
    const opened = isList ? (this.model.get("crumbs").at(-1)?.name ?? null) : null;
    if (this.opened !== undefined && opened !== this.opened) opened ? this.keeper?.opened() : this.keeper?.closed();
    this.opened = opened;
  }

  go(event) {
    const link = event.target.closest("[data-to]");
    if (link) this.send({ type: "go", to: link.dataset.to });
  }

  toggleSql() {
    this.sql.hidden = !this.sql.hidden;
    this.showSql.setAttribute("aria-expanded", String(!this.sql.hidden));
  }

  /** Show the age of the data, or the duration of a read in progress. */
  sayAge() {
    const waited = this.busySince === null ? 0 : performance.now() - this.busySince;
    const readAt = this.model.get("read_at");
    const age = Math.max(0, Math.floor(Date.now() / 1000 - this.skew - readAt));
    const updated = readAt ? `updated ${age < 1 ? "now" : `${formatDuration(age)} ago`}` : "";
    const reading = waited > LONG ? `reading for ${Math.round(waited / 1000)} s …` : "";
    this.setText(this.age, [updated, reading].filter(Boolean).join(" · "));
    this.age.title = this.model.get("cost");
  }

  /** Show why the panel cannot read, or hide the message. */
  drawProblem() {
    const problem = this.model.get("problem");
    const isLost = Boolean(problem.kind);
    this.panel?.toggleAttribute("data-stale", isLost && problem.stale);
    if (this.panel) this.panel.dataset.problem = problem.kind ?? (this.model.get("banner") ? "waiting" : "");
    const hadFocus = this.tryNow === document.activeElement;
    const wasLost = !this.problem.hidden;
    this.problem.hidden = !isLost;
    if (!isLost) {
      if (wasLost) this.speak("The data is up to date again.");
      if (hadFocus) this.refresh.focus();
      return;
    }
    this.setText(this.advice, problem.advice);
    this.setText(this.detail, problem.detail);
    this.details.hidden = !problem.detail;
    this.speak(`${problem.lead}, since ${problem.since_text}. ${problem.showing} ${problem.advice}`.trim());
    this.countDown();
  }

  /** Show how long the server has been unreachable, and the seconds until the next attempt. */
  countDown() {
    const problem = this.model.get("problem");
    if (!problem.kind) return;
    const now = Date.now() / 1000 - this.skew;
    const gone = problem.kind === "away" ? ` for ${formatDuration(Math.floor(now - problem.since))}` : "";
    this.setText(this.lead, `${problem.lead}${gone}. ${problem.showing}`);
    const left = problem.next_at - now;
    const isTrying = this.isTrying || this.model.get("busy") || left <= 0;
    this.setText(this.next, isTrying ? "Trying now …" : `Next try in ${formatDuration(Math.ceil(left))}`);
  }

  tryAgain() {
    this.isTrying = true;
    this.countDown();
    this.send({ type: "refresh" });
  }

  /** Send a text to a screen reader, once. */
  speak(text) {
    this.setText(this.spoken, text);
  }

  setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  /** Show a written file; a screen reader gets it once. */
  drawFile({ name = "", path = "" }) {
    this.file.hidden = !name;
    this.setText(this.fileName, name);
    this.fileName.title = path;
    this.copyPath.title = path;
    this.openFile.hidden = !this.fileAddress();
  }

  /** Return the address of the file on the Jupyter server; "" elsewhere, as in an editor or on an exported page. */
  fileAddress() {
    const { href } = this.model.get("file");
    const settings = document.getElementById("jupyter-config-data")?.textContent;
    const [, folder] = location.pathname.match(/\/(?:tree|notebooks)\/(.*\/)?[^/]*\.ipynb$/) ?? [];
    return href && settings ? `${JSON.parse(settings).baseUrl ?? "/"}files/${folder ?? ""}${href}` : "";
  }

  async copyFilePath() {
    const { path } = this.model.get("file");
    const isCopied = await copyText(path);
    this.setText(this.copyPath, isCopied ? "Copied" : path);
    setTimeout(() => this.setText(this.copyPath, "Copy path"), 2_000);
  }

  /** Copy the text of a trait, "code" or "link", and show that on its button. */
  async copyOf(copy, trait) {
    const text = this.model.get(trait);
    const isCopied = await copyText(text);
    if (!isCopied) return this.setText(this.eventLine, `The browser does not allow copying. The ${trait}: ${text}`);
    copy.textContent = "Copied";
    this.speak("Copied.");
    setTimeout(() => { copy.textContent = trait === "link" ? "Copy link" : "Copy as code"; }, 2_000);
  }

  /** Keys that work everywhere in the panel: "/" searches, "g" goes to the list, and "?" shows the keys of the list. */
  jump(event) {
    if (!["/", "g", "?"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey || event.target.matches(TYPED)) return;
    const act = { "/": () => this.focusSearch(), g: () => this.keeper.focusRow(), "?": () => this.showKeys(event) }[event.key];
    const isDone = act();
    if (!isDone && event.key === "?") return;
    event.preventDefault();
    event.stopPropagation();
    if (isDone) return;
    this.send({ type: "go", to: "invocations" });
    this.keeper.want(act);
  }

  focusSearch() {
    return this.keeper.focus(this.panel.querySelector(SEARCH));
  }

  showKeys(event) {
    const help = event.target.closest(".rl-grid") ? null : this.panel.querySelector(`${LIST} [aria-label=Keys]`);
    help?.click();
    return help !== null;
  }

  /** Return whether a key is for the panel and not for the notebook around it. */
  isOurs(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return event.target.matches(TYPED);
    return event.key !== "Enter" || !event.shiftKey;
  }

  stopKeys(event) {
    if (event.key === "Escape" && !event.defaultPrevented && !event.target.matches(TYPED)) this.close();
    if (this.isOurs(event)) event.stopPropagation();
  }

  /** Close the open item: go back to the previous view. */
  close() {
    const [view] = this.model.get("crumbs");
    if (view) this.send({ type: "go", to: "back" });
  }

  /** Keep the notebook from handling keys of the panel if it listens before the panel does. */
  keepShortcuts(event) {
    if (!this.panel?.contains(event.target) || event.target.closest(".rl-grid")) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", this.isOurs(event));
  }
}

function button(label, title, attributes = {}) {
  return make("button", "rl-button", { type: "button", title, ...attributes }, label);
}

function render({ model, el }) {
  const view = new HeadView(model, el);
  return () => view.stop();
}

/** Tell the kernel that this page can show the panel, also if the cell is not in view yet. */
function initialize({ model }) {
  try {
    model.send({ type: "ready" });
  } catch {
    // the kernel has ended: the view says so
  }
}

export default { initialize, render };
