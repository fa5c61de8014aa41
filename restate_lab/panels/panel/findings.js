// The findings of the doctor; findings.py defines the messages. All texts are set as text; only the details of a finding
// and the gaps are HTML, from a template that escapes every text.

const KNOWN = "known"; // the group of the acknowledged findings
const FIRST = 3; // findings shown without "more"
const HOUR = 3_600_000; // ms
/** The ends of an acknowledgement: label, and a function that returns a duration or a time; "" for no end. */
const ENDS = [
  ["for 1 hour", () => "1h"],
  ["for 4 hours", () => "4h"],
  ["until tomorrow 9:00", () => tomorrow().toISOString()],
  ["until …", (form) => timeOf(form)],
];

class FindingsView {
  constructor(model, el) {
    this.model = model;
    this.isOpen = false;
    this.whole = new Map(); // titles of the findings that are shown in full → their details
    this.opened = new Set(); // labels of the groups that are open
    this.root = make("section", "rl-findings", { "aria-label": "Findings of the doctor" });
    rove(this.root);
    this.noted = model.get("content").noted;
    this.signs = model.get("content").signs;
    this.noting = null; // the open form: the place and the fingerprint of its finding, null for a note about none
    this.form = make("form", "rl-noteform", { hidden: "", "aria-label": "Note" });
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.sendNote(); });
    this.form.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.preventDefault(); this.closeNote(); } });
    this.done = make("details", "rl-done", { hidden: "" });
    el.append(make("div", "rl-findingsbox", {}, this.root, this.form, this.done));
    this.model.on("change:content", (this.draw = this.draw.bind(this)));
    this.timer = setInterval(() => this.sayAge(), 1_000);
    this.draw();
  }

  draw() {
    const content = this.model.get("content");
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    const lines = this.lines(content);
    const shown = content.folded ? [] : this.isOpen ? lines : lines.slice(0, FIRST);
    const list = make("div", "rl-findinglist", {}, ...shown.flat(), ...this.known(content));
    const { scrollTop } = this.list ?? {};
    this.root.replaceChildren(this.head(content, lines.length > FIRST), list);
    this.root.dataset.state = content.state;
    this.list = list;
    if (scrollTop) list.scrollTop = scrollTop;
    if (focused !== undefined) this.root.querySelector(`[data-focus="${focused}"]`)?.focus();
    if (content.noted !== this.noted) this.closeNote();
    this.noted = content.noted;
    this.drawDone(content.done ?? []);
  }

  /** Return the line of the acknowledged findings, and the findings if it is open; they never vanish. */
  known({ rows = [], folded, revision }) {
    const known = rows.map((row, at) => [row, at]).filter(([row]) => row.known);
    if (folded || !known.length) return [];
    const label = `${known.length} known`;
    const isOpen = this.opened.has(KNOWN);
    const line = this.group({ rows: [known[0][1]], label, key: KNOWN }, "known", isOpen);
    return [line, ...(isOpen ? known.map(([row, at]) => this.row(row, at, revision)) : [])];
  }

  /** Show what this user did, newest first; it stays open or closed. */
  drawDone(actions) {
    this.done.hidden = !actions.length;
    if (JSON.stringify(actions) === this.drawnDone) return;
    this.drawnDone = JSON.stringify(actions);
    const title = "Changes and notes of this user on this machine, from the audit log";
    const lines = actions.map(({ at, text }) => make("li", "", {}, make("span", "rl-ago", { "data-at": at }), make("span", "", {}, text)));
    this.done.replaceChildren(make("summary", "", { title }, `What I did: ${actions.length} in 24 h`), make("ol", "", {}, ...lines));
    this.sayAge();
  }

  /** Open the form of a note about a finding, or about the cluster if `at` is null. */
  openNote(at, title) {
    const isAbout = at !== null;
    this.noting = { at, fingerprint: isAbout ? this.model.get("content").rows[at].fingerprint : null };
    const text = make("input", "rl-notetext", { type: "text", name: "text", maxlength: "2000", required: "", placeholder: isAbout ? "INC-42: the provider is down" : "INC-42: called the provider", "aria-label": "Text of the note" });
    const ends = make("select", "", { name: "end", "aria-label": "Known" }, ...ENDS.map(([label], index) => make("option", "", { value: index }, label)));
    const time = make("input", "", { type: "datetime-local", name: "time", "aria-label": "Known until", hidden: "" });
    ends.addEventListener("change", () => { time.hidden = Number(ends.value) !== ENDS.length - 1; time.required = !time.hidden; });
    const about = make("span", "rl-notetitle", { title }, isAbout ? `Acknowledge: ${title}` : "Note about this cluster");
    const save = make("button", "rl-button", { type: "submit" }, isAbout ? "Acknowledge" : "Note");
    const cancel = make("button", "rl-button", { type: "button" }, "Cancel");
    cancel.addEventListener("click", () => this.closeNote());
    this.form.replaceChildren(about, text, ...(isAbout ? [ends, time] : []), save, cancel, make("span", "rl-notehint", {}, "Kept on this machine for this user; nothing is sent to the cluster."));
    this.form.hidden = false;
    text.focus();
  }

  sendNote() {
    const { at, fingerprint } = this.noting;
    const { revision, rows = [] } = this.model.get("content");
    // The findings can have been read again meanwhile: the one with this fingerprint is the same.
    const finding = at === null ? null : rows.findIndex((row) => row.fingerprint === fingerprint);
    const fields = this.form.elements;
    const until = at === null ? "" : ENDS[Number(fields.end.value)][1](this.form);
    this.model.send({ type: "note", finding, text: fields.text.value, until, revision });
  }

  closeNote() {
    if (this.form.hidden) return;
    const { at } = this.noting;
    const hadFocus = this.form.contains(document.activeElement);
    this.form.hidden = true;
    this.form.replaceChildren();
    const next = [`note-${at}`, KNOWN, "note"].map((name) => this.root.querySelector(`[data-focus="${name}"]`)).find(Boolean);
    if (hadFocus) next?.focus();
  }

  /** Return a button that opens the form of a note. */
  noteButton(at, title) {
    const name = at === null ? "Note…" : `Note: ${title}`;
    const button = make("button", "rl-button", { type: "button", "aria-label": name, "data-focus": at === null ? "note" : `note-${at}` }, "Note…");
    button.addEventListener("click", () => this.openNote(at, title));
    return button;
  }

  /** Return the elements of each line: one finding, or a group of findings with its members if it is open. */
  lines({ rows = [], groups = [], revision }) {
    const starts = new Map(groups.map((group) => [group.rows[0], group]));
    const inGroups = new Set(groups.flatMap((group) => group.rows));
    const element = (at) => this.row(rows[at], at, revision);
    return rows.flatMap((row, at) => {
      if (row.known) return [];
      if (!inGroups.has(at)) return [[element(at)]];
      const group = starts.get(at);
      if (!group) return [];
      const isOpen = this.opened.has(group.label);
      return [[this.group(group, rows[at].severity, isOpen), ...(isOpen ? group.rows.map(element) : [])]];
    });
  }

  group({ rows, label, key = label }, severity, isOpen) {
    const text = make("button", "rl-findingtext rl-findinggroup", { type: "button", "aria-label": label, "aria-expanded": String(isOpen), "data-focus": key === KNOWN ? KNOWN : `group-${rows[0]}` }, label);
    text.addEventListener("click", () => {
      if (!this.opened.delete(key)) this.opened.add(key);
      this.draw();
    });
    return make("div", "rl-finding", {}, make("span", `rl-severity rl-${severity}`, { title: severity }, this.signs[severity] ?? "✓"), text);
  }

  /** Return the button that shows all findings, or only the first ones. */
  more({ rows, more }) {
    const label = this.isOpen ? "Show fewer" : `Show all ${(rows.length + (more ?? 0)).toLocaleString("en")}`;
    const button = make("button", "rl-more", { type: "button", "aria-label": label, "aria-expanded": String(this.isOpen), "data-focus": "more" }, label);
    button.addEventListener("click", () => { this.isOpen = !this.isOpen; this.draw(); });
    return button;
  }

  head(content, isLong) {
    const head = make("div", "rl-findingshead", { role: "status" });
    for (const [name, count] of content.counts ?? []) {
      if (count) head.append(make("span", `rl-severity rl-${name}`, {}, `${this.signs[name]} ${count} ${name}${count > 1 && name !== "critical" ? "s" : ""}`));
    }
    if (content.known) head.append(make("span", "rl-severity rl-known", { title: "Acknowledged by a note; also counted with their severity" }, `✓ ${content.known} known`));
    if (content.headline) head.append(make("span", `rl-verdict rl-${content.verdict}`, {}, content.headline));
    const isFoldable = isLong && !content.folded;
    if (isFoldable) head.append(this.more(content));
    if (content.state === "failed") head.append(make("span", "rl-verdict rl-incomplete", {}, `The doctor failed: ${content.reason}`));
    this.age = make("span", "rl-age");
    const label = { running: "Running …", none: "Run doctor" }[content.state] ?? "Run again";
    const again = make("button", "rl-button", { type: "button", "data-focus": "run" }, label);
    again.disabled = content.state === "running";
    again.addEventListener("click", () => this.model.send({ type: "run" }));
    if (content.gaps) head.append(drawn("rl-gaps", content.gaps));
    head.append(make("span", "rl-doctor", {}, this.age, ...(content.can_note ? [this.noteButton(null, "")] : []), again));
    this.sayAge();
    return head;
  }

  row({ severity, title, details, age, blocks, buttons, note, html }, at, revision) {
    const row = make("div", "rl-finding");
    const isWhole = this.whole.has(title);
    const attributes = { type: "button", title: isWhole ? "" : `${title}\n${details}`, "aria-expanded": String(isWhole), "data-focus": `text-${at}` };
    if (at === 0) attributes["data-first"] = "";
    const text = make("button", "rl-findingtext", attributes, title, ...(isWhole ? [] : [" ", make("span", "rl-findingdetails", {}, details)]));
    text.addEventListener("click", () => {
      if (!this.whole.delete(title)) this.whole.set(title, null);
      this.draw();
    });
    row.append(make("span", `rl-severity rl-${severity}`, { title: severity }, this.signs[severity]), text);
    const blocked = blocks && !isWhole ? `blocks ${blocks}` : "";
    row.append(make("span", "rl-context", { title: blocked }, ...(blocked ? [make("b", "", {}, blocked)] : []), age && `for ${age}`));
    const tools = make("span", "rl-findingtools");
    for (const { act, label } of buttons) {
      const button = make("button", "rl-button", { type: "button", "aria-label": `${label}: ${title}`, "data-focus": `${act}-${at}` }, label);
      button.addEventListener("click", () => this.model.send({ type: "act", finding: at, act, revision }));
      tools.append(button);
    }
    if (this.model.get("content").can_note) tools.append(this.noteButton(at, title));
    row.append(tools);
    if (isWhole) row.append(this.details(title, html, at));
    else if (note) row.append(make("span", "rl-findingnote", {}, note));
    return row;
  }

  /** Return the details of a finding; the same element, with its open fold, as long as they are the same. */
  details(title, html, at) {
    const shown = this.whole.get(title);
    const details = shown?.html === html ? shown.element : drawn("rl-findingdetails", html);
    details.querySelectorAll("summary").forEach((each) => { each.dataset.focus = `more-${at}`; });
    this.whole.set(title, { html, element: details });
    return details;
  }

  sayAge() {
    for (const each of this.done.querySelectorAll("[data-at]")) {
      const ago = `${formatDuration(Math.max(0, Math.floor(Date.now() / 1000 - Number(each.dataset.at))))} ago`;
      if (each.textContent !== ago) each.textContent = ago;
    }
    if (!this.age) return;
    const { at, checks, state } = this.model.get("content");
    const age = at ? Math.max(0, Math.round(Date.now() / 1000 - at)) : null;
    this.age.textContent = state === "none" || age === null ? "" : `doctor: ${checks}, ${age < 60 ? `${age} s` : `${Math.floor(age / 60)} min`} ago`;
  }

  stop() {
    clearInterval(this.timer);
    this.model.off("change:content", this.draw);
  }
}

/** Return an element with HTML from a template. */
function drawn(name, html) {
  const element = make("div", name);
  element.innerHTML = html;
  return element;
}

function tomorrow() {
  const time = new Date(Date.now() + 24 * HOUR);
  time.setHours(9, 0, 0, 0);
  return time;
}

/** Return the time in the field of the form in UTC; "" without one. */
function timeOf(form) {
  const { value } = form.elements.time;
  return value ? new Date(value).toISOString() : "";
}

function render({ model, el }) {
  const view = new FindingsView(model, el);
  return () => view.stop();
}

export default { render };
