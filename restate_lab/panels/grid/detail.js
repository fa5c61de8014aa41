// The line below the table: all of the focused cell, which may be longer than what the table was sent.

const HINT = "Enter opens a row, Space selects it, Shift+↑↓ selects a range, Ctrl+A all that match.";
const PAUSE = 150; // ms on a cell before all of it is asked for

class Detail {
  /** `send` tells the kernel; listeners end with `signal`. */
  constructor(send, signal) {
    this.question = new Question((what) => send({ type: "detail", ...what }));
    this.more = make("button", "rl-button rl-more", { type: "button", "aria-expanded": "false" }, "All of it");
    this.full = make("div", "rl-full", { "aria-live": "off" });
    this.root = make("div", "rl-detail", {}, this.full, this.more);
    this.more.addEventListener("click", () => this.expand(), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.asking));
    this.set("");
  }

  /** Show a cell of a row, and ask for the rest of it where there is more. */
  show(row, column, cell) {
    clearTimeout(this.asking);
    const isLong = Array.isArray(cell);
    this.set(isLong ? cell[1] : cell ?? "");
    if (!isLong) return;
    this.asking = setTimeout(() => this.question.put({ row: row.number, column: column.name }), PAUSE);
  }

  hear(message) {
    if (this.question.answered(message.seq)) this.set(message.text);
  }

  set(text) {
    this.full.textContent = text || HINT;
    this.full.classList.toggle("rl-hint", !text);
    this.more.hidden = !text || (!text.includes("\n") && this.full.scrollWidth <= this.full.clientWidth);
    this.sayMore();
  }

  expand() {
    this.root.classList.toggle("rl-expanded");
    this.sayMore();
  }

  sayMore() {
    const isOpen = this.root.classList.contains("rl-expanded");
    this.more.setAttribute("aria-expanded", isOpen);
    this.more.textContent = isOpen ? "Less" : "All of it";
  }
}
