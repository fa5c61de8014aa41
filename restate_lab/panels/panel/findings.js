// The findings of the doctor; findings.py defines the messages. All texts are set as text.

const FIRST = 3; // findings shown without "more"
const SYMBOLS = { critical: "✖", warning: "▲", note: "●" };
const VERDICTS = { healthy: "No problem found", incomplete: "Incomplete" };

class FindingsView {
  constructor(model, el) {
    this.model = model;
    this.isOpen = false;
    this.whole = new Set(); // titles of the findings that are shown in full
    this.opened = new Set(); // labels of the groups that are open
    this.root = make("section", "rl-findings", { "aria-label": "Findings of the doctor" });
    rove(this.root);
    el.append(make("div", "rl-findingsbox", {}, this.root));
    this.model.on("change:content", (this.draw = this.draw.bind(this)));
    this.timer = setInterval(() => this.sayAge(), 1_000);
    this.draw();
  }

  draw() {
    const content = this.model.get("content");
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    const lines = this.lines(content);
    const shown = content.folded ? [] : this.isOpen ? lines : lines.slice(0, FIRST);
    const list = make("div", "rl-findinglist", {}, ...shown.flat());
    const { scrollTop } = this.list ?? {};
    this.root.replaceChildren(this.head(content, lines.length > FIRST), list);
    this.root.dataset.state = content.state;
    this.list = list;
    if (scrollTop) list.scrollTop = scrollTop;
    if (focused !== undefined) this.root.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  /** Return the elements of each line: one finding, or a group of findings with its members if it is open. */
  lines({ rows = [], groups = [], revision }) {
    const starts = new Map(groups.map((group) => [group.rows[0], group]));
    const inGroups = new Set(groups.flatMap((group) => group.rows));
    const element = (at) => this.row(rows[at], at, revision);
    return rows.flatMap((_, at) => {
      if (!inGroups.has(at)) return [[element(at)]];
      const group = starts.get(at);
      if (!group) return [];
      const isOpen = this.opened.has(group.label);
      return [[this.group(group, rows[at].severity, isOpen), ...(isOpen ? group.rows.map(element) : [])]];
    });
  }

  group({ rows, label }, severity, isOpen) {
    const text = make("button", "rl-findingtext rl-findinggroup", { type: "button", "aria-label": label, "aria-expanded": String(isOpen), "data-focus": `group-${rows[0]}` }, label);
    text.addEventListener("click", () => {
      if (!this.opened.delete(label)) this.opened.add(label);
      this.draw();
    });
    return make("div", "rl-finding", {}, make("span", `rl-severity rl-${severity}`, { title: severity }, SYMBOLS[severity]), text);
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
      if (count) head.append(make("span", `rl-severity rl-${name}`, {}, `${SYMBOLS[name]} ${count} ${name}${count > 1 && name !== "critical" ? "s" : ""}`));
    }
    const verdict = content.is_empty ? "Nothing is registered here" : VERDICTS[content.verdict];
    if (verdict) head.append(make("span", `rl-verdict rl-${content.verdict}`, { title: (content.gaps ?? []).join("\n") }, verdict));
    const isFoldable = isLong && !content.folded;
    if (isFoldable) head.append(this.more(content));
    if (content.state === "failed") head.append(make("span", "rl-verdict rl-incomplete", {}, `The doctor failed: ${content.reason}`));
    this.age = make("span", "rl-age");
    const label = { running: "Running …", none: "Run doctor" }[content.state] ?? "Run again";
    const again = make("button", "rl-button", { type: "button", "data-focus": "run" }, label);
    again.disabled = content.state === "running";
    again.addEventListener("click", () => this.model.send({ type: "run" }));
    if (content.gaps?.length) {
      head.append(make("details", "rl-gaps", {}, make("summary", "", {}, `Not checked: ${content.gaps.length}`), make("div", "", {}, content.gaps.join("\n"))));
    }
    head.append(make("span", "rl-doctor", {}, this.age, again));
    this.sayAge();
    return head;
  }

  row({ severity, title, details, age, blocks, buttons }, at, revision) {
    const row = make("div", "rl-finding");
    const isWhole = this.whole.has(title);
    const attributes = { type: "button", title: isWhole ? "" : `${title}\n${details}`, "aria-expanded": String(isWhole), "data-focus": `text-${at}` };
    if (at === 0) attributes["data-first"] = "";
    const text = make("button", "rl-findingtext", attributes, title, " ", make("span", "rl-findingdetails", {}, details));
    text.addEventListener("click", () => {
      if (!this.whole.delete(title)) this.whole.add(title);
      this.draw();
    });
    row.append(make("span", `rl-severity rl-${severity}`, { title: severity }, SYMBOLS[severity]), text);
    row.append(make("span", "rl-context", { title: blocks }, ...(blocks ? [make("b", "", {}, blocks)] : []), age));
    const tools = make("span", "rl-findingtools");
    for (const { act, label } of buttons) {
      const button = make("button", "rl-button", { type: "button", "aria-label": `${label}: ${title}`, "data-focus": `${act}-${at}` }, label);
      button.addEventListener("click", () => this.model.send({ type: "act", finding: at, act, revision }));
      tools.append(button);
    }
    row.append(tools);
    return row;
  }

  sayAge() {
    const { at, took, checks, state } = this.model.get("content");
    const age = at ? Math.max(0, Math.round(Date.now() / 1000 - at)) : null;
    this.age.textContent = state === "none" || age === null ? "" : `doctor: ${checks} in ${took}, ${age < 60 ? `${age} s` : `${Math.floor(age / 60)} min`} ago`;
  }

  stop() {
    clearInterval(this.timer);
    this.model.off("change:content", this.draw);
  }
}

function render({ model, el }) {
  const view = new FindingsView(model, el);
  return () => view.stop();
}

export default { render };
