// The filter field, and an action that can wait until the kernel has applied the filter.

const TYPING = 250; // ms without a key before a filter is sent

class Filter {
  /** `send` sends a message to the kernel, `down` moves the focus to the table; listeners end with `signal`. */
  constructor(send, down, signal) {
    this.send = send;
    this.down = down;
    this.typed = null; // a filter that the kernel has not confirmed
    this.typing = 0;
    this.sentAt = null;
    this.waiting = null; // an action to run after the filter is applied
    this.search = make("input", "rl-search", { type: "search", maxlength: "1000", "aria-label": "Filter", placeholder: "Filter" });
    this.hint = make("span", "rl-searchhint", { hidden: "" });
    this.search.addEventListener("input", () => this.type(), { signal });
    this.search.addEventListener("keydown", (event) => this.press(event), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.typing));
  }

  type() {
    this.typed = this.search.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.flush(), TYPING);
    this.showHint();
  }

  press(event) {
    if (event.key === "Enter") this.submit();
    if (event.key === "ArrowDown") this.down();
    if (event.key === "Escape" && !this.search.value) this.down();
  }

  submit() {
    this.flush();
    if (this.state?.can_search && this.search.value.trim()) this.send({ type: "search", text: this.search.value });
  }

  clear() {
    this.search.value = "";
    this.flush();
    this.showHint();
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
    this.showHint();
  }

  showHint() {
    this.hint.hidden = !this.state?.can_search || !this.search.value.trim();
    this.hint.textContent = `${(this.state?.rows ?? 0).toLocaleString("en")} read; also search the server ⏎`;
  }

  /** Run an action after the filter in the field is applied. */
  whenItHolds(act) {
    this.waiting = this.search.value === this.state.filter ? null : act;
    if (this.waiting) this.flush();
    else act();
  }
}
