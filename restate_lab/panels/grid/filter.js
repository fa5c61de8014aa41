// The field that filters, and what may wait for the kernel to have taken it.

const TYPING = 250; // ms without a key before a filter is sent

class Filter {
  /** `send` tells the kernel, `down` moves on into the table; listeners end with `signal`. */
  constructor(send, down, signal) {
    this.send = send;
    this.typed = null; // a filter that the kernel has not confirmed
    this.typing = 0;
    this.sentAt = null;
    this.waiting = null; // what is done once the filter holds
    this.search = make("input", "rl-search", { type: "search", placeholder: "Filter", maxlength: "1000", "aria-label": "Filter" });
    this.within = make("select", "rl-within", { "aria-label": "Where the filter looks" });
    this.search.addEventListener("input", () => this.type(), { signal });
    this.search.addEventListener("keydown", (event) => this.pressed(event, down), { signal });
    this.within.addEventListener("change", () => this.flush(), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.typing));
  }

  /** Offer columns to look in. */
  offer(columns) {
    const where = this.within.value;
    const searched = columns.filter((column) => column.searched);
    this.within.replaceChildren(make("option", "", { value: "" }, "in all text columns"));
    this.within.append(...searched.map((column) => make("option", "", { value: column.name }, `in ${column.label}`)));
    this.within.value = columns.some((column) => column.name === where) ? where : "";
  }

  type() {
    this.typed = this.search.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.flush(), TYPING);
  }

  pressed(event, down) {
    if (event.key === "Enter") this.flush();
    if (event.key === "ArrowDown") down();
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
    if (this.sentAt !== null && performance.now() - this.sentAt < AGAIN) return;
    this.sentAt = performance.now();
    this.sent = this.typed;
    this.sentWithin = this.within.value || null;
    this.send({ type: "filter", text: this.typed, within: this.sentWithin });
  }

  /** Take the filter that holds, unless a reader is about to change it. */
  set(state) {
    this.state = state;
    const { filter, within, error } = state;
    const isAnswer = this.sentAt !== null && (error || (filter === this.sent && within === this.sentWithin));
    if (isAnswer) {
      this.sentAt = null;
      if (this.typed === this.sent) this.typed = null;
      else this.flush();
    }
    if (this.typed !== null) return;
    if (this.search.value !== filter) this.search.value = filter;
    if ((this.within.value || null) !== within && this.sentAt === null) this.within.value = within ?? "";
    if (this.waiting) this.whenItHolds(this.waiting);
  }

  /** Do something once the filter that stands there is the filter that holds. */
  whenItHolds(act) {
    this.waiting = this.search.value === this.state.filter ? null : act;
    if (this.waiting) this.flush();
    else act();
  }
}
