// The findings of the doctor; findings.py defines the messages. All texts are set as text.

const FIRST = 3; // findings shown without "more"
const SYMBOLS = { critical: "✖", warning: "▲", note: "●" };
const VERDICTS = { healthy: "No problem found", incomplete: "Incomplete: not everything was checked" };

class FindingsView {
  constructor(model, el) {
    this.model = model;
    this.isOpen = false;
    this.whole = new Set(); // titles of the findings that are shown in full
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
    const rows = content.rows ?? [];
    const shown = content.folded ? [] : this.isOpen ? rows : rows.slice(0, FIRST);
    const parts = [this.head(content), ...shown.map((row, at) => this.row(row, at, content.revision))];
    const hidden = rows.length - shown.length + (content.more ?? 0);
    if (rows.length > FIRST && !content.folded) {
      const label = this.isOpen ? "Show fewer" : `${hidden} more`;
      const more = make("button", "rl-more", { type: "button", "aria-expanded": String(this.isOpen), "data-focus": "more" }, label);
      more.addEventListener("click", () => { this.isOpen = !this.isOpen; this.draw(); });
      parts.push(more);
    }
    this.root.replaceChildren(...parts);
    this.root.dataset.state = content.state;
    if (focused !== undefined) this.root.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  head(content) {
    const head = make("div", "rl-findingshead", { role: "status" });
    for (const [name, count] of content.counts ?? []) {
      if (count) head.append(make("span", `rl-severity rl-${name}`, {}, `${SYMBOLS[name]} ${count} ${name}${count > 1 && name !== "critical" ? "s" : ""}`));
    }
    const verdict = content.is_empty ? "Nothing is registered here" : VERDICTS[content.verdict];
    if (verdict) head.append(make("span", `rl-verdict rl-${content.verdict}`, { title: (content.gaps ?? []).join("\n") }, verdict));
    if (content.state === "failed") head.append(make("span", "rl-verdict rl-incomplete", {}, `The doctor failed: ${content.reason}`));
    this.age = make("span", "rl-age");
    const label = { running: "Running …", none: "Run doctor" }[content.state] ?? "Run again";
    const again = make("button", "rl-button", { type: "button", "data-focus": "run" }, label);
    again.disabled = content.state === "running";
    again.addEventListener("click", () => this.model.send({ type: "run" }));
    head.append(make("span", "rl-doctor", {}, this.age, again));
    this.sayAge();
    if (content.gaps?.length) {
      const gaps = make("details", "rl-gaps", {}, make("summary", "", {}, `Not checked: ${content.gaps.length}`), make("div", "", {}, content.gaps.join("\n")));
      return make("div", "", {}, head, gaps);
    }
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
