// The wait-for graph: the picture comes from a template that escapes every text, and its boxes are buttons.

class WaitsPicture {
  constructor(model, el) {
    this.model = model;
    this.about = make("span", "rl-waitabout");
    this.whole = make("button", "rl-button", { type: "button", "data-focus": "whole" }, "Show the whole graph");
    this.whole.addEventListener("click", () => this.model.send({ type: "whole" }));
    this.head = make("div", "rl-waithead", {}, this.about, this.whole);
    this.body = make("div", "rl-waitbody");
    this.root = make("section", "rl-waits", { "aria-label": "Wait-for graph" }, this.head, this.body);
    this.body.addEventListener("click", (event) => this.act(event.target.closest("[data-open], [data-list]")));
    rove(this.body);
    el.append(this.root);
    this.model.on("change:content", (this.draw = this.draw.bind(this)));
    this.draw();
  }

  act(box) {
    if (!box) return;
    const { open, list } = box.dataset;
    this.model.send(open === undefined ? { type: "list", id: list } : { type: "open", id: open });
  }

  draw() {
    const { html = "", about = "", is_part: isPart = false } = this.model.get("content");
    this.about.textContent = about;
    this.head.hidden = !about;
    this.whole.hidden = !isPart;
    if (html === this.drawn) return; // the picture keeps its place and its focus
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    const { scrollLeft = null, scrollTop = 0 } = this.frame ?? {};
    const isOther = about !== this.drawnFor;
    [this.drawn, this.drawnFor] = [html, about];
    this.body.innerHTML = html;
    this.frame = this.body.querySelector(".rl-waitframe");
    if (this.frame) isOther || scrollLeft === null ? this.frame.scrollTo(this.start()) : this.frame.scrollTo(scrollLeft, scrollTop);
    if (focused !== undefined) this.root.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  /** Return where a new picture begins: at its selected box. */
  start() {
    const box = this.frame.querySelector("[data-selected]");
    if (!box) return { left: 0, top: 0 };
    const [inner, outer] = [box.getBoundingClientRect(), this.frame.getBoundingClientRect()];
    return { left: inner.right - outer.right + 40, top: inner.top - outer.top - 60 };
  }

  stop() {
    this.model.off("change:content", this.draw);
  }
}

function render({ model, el }) {
  const view = new WaitsPicture(model, el);
  return () => view.stop();
}

export default { render };
