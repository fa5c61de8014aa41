// The filter field, and an action that can wait until the kernel has applied the filter.

const TYPING = 250; // ms without a key before a filter is sent
const LONGEST_SEARCH = 100_000; // characters
const WITH_ID = /(?:inv|dp|sign)_1[\w-]{22}/;

class Filter {
  /** `send` sends a message to the kernel, `down` moves the focus to the table; listeners end with `signal`. */
  constructor(send, down, signal) {
    this.send = send;
    this.down = down;
    this.typed = null; // a filter that the kernel has not confirmed
    this.typing = 0;
    this.sentAt = null;
    this.waiting = null; // an action to run after the filter is applied
    this.search = make("input", "rl-field rl-search", { type: "search", maxlength: "1000", "aria-label": "Filter", "data-focus": "search" });
    this.further = make("button", "rl-button rl-further", { type: "button", hidden: "" });
    this.search.addEventListener("input", () => this.type(), { signal });
    this.search.addEventListener("keydown", (event) => this.press(event), { signal });
    this.search.addEventListener("paste", (event) => this.paste(event), { signal });
    this.further.addEventListener("click", () => this.searchFor(this.search.value), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.typing));
  }

  type() {
    this.typed = this.search.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.flush(), TYPING);
    this.showFurther();
  }

  /** Take the ids out of any text, which may have several lines; other text is a filter. */
  paste(event) {
    const text = event.clipboardData.getData("text/plain");
    if (this.state?.can_search === false || !WITH_ID.test(text)) return; // before the first state, it may have a search
    event.preventDefault();
    this.searchFor(text);
  }

  press(event) {
    if (event.key === "Enter") this.submit();
    if (event.key === "ArrowDown") this.down();
    if (event.key === "Escape" && !this.search.value) this.down();
  }

  /** Open an id; go to the rows that match a text, or search further if there are none. */
  submit() {
    const text = this.search.value;
    if (!this.state?.can_search || !text.trim()) this.flush();
    else if (WITH_ID.test(text)) this.searchFor(text);
    else this.whenItHolds(() => (this.state.lines ? this.down() : this.searchFor(text)));
  }

  searchFor(text) {
    clearTimeout(this.typing);
    this.typed = this.waiting = null;
    this.send({ type: "search", text: text.slice(0, LONGEST_SEARCH) });
  }

  clear() {
    this.search.value = "";
    this.flush();
    this.showFurther();
    this.search.focus();
  }

  /** Send the current filter, unless the previous one has no response yet. */
  flush() {
    clearTimeout(this.typing);
    this.typed = this.search.value;
    if (this.typed === this.state?.filter) {
      this.typed = null;
      return;
    }
    if (this.sentAt !== null && performance.now() - this.sentAt < AGAIN) return;
    this.sentAt = performance.now();
    this.sent = this.typed;
    this.send({ type: "filter", text: this.typed });
  }

  /** Show the applied filter, unless the user is changing it. */
  set(state) {
    this.state = state;
    this.search.placeholder = state.can_search ? "Filter, or paste ids" : "Filter";
    const isAnswer = this.sentAt !== null && (state.error || state.filter === this.sent);
    if (isAnswer) {
      this.sentAt = null;
      if (this.typed === this.sent) this.typed = null;
      else this.flush();
    }
    if (this.typed === null) {
      if (this.search.value !== state.filter) this.search.value = state.filter;
      if (this.waiting) this.whenItHolds(this.waiting);
    }
    this.showFurther();
  }

  showFurther() {
    this.further.hidden = !this.state?.can_search || !this.search.value.trim();
    this.further.textContent = this.state?.search_label ?? "";
  }

  /** Run an action after the filter in the field is applied. */
  whenItHolds(act) {
    this.waiting = this.search.value === this.state.filter ? null : act;
    if (this.waiting) this.flush();
    else act();
  }
}
