// The line below the table: the full text of a focused cell that is cut off, or a hint.

const PAUSE = 150; // ms on a cell before its full text is requested

class Detail {
  /** `send` sends a message to the kernel; listeners end with `signal`. */
  constructor(send, signal) {
    this.question = new Question(({ act, ...what }) => send({ type: "detail", ...what }));
    this.more = make("button", "rl-button rl-more", { type: "button", "aria-expanded": "false" }, "All of it");
    this.full = make("div", "rl-full", { "aria-live": "off" });
    this.root = make("div", "rl-detail", { hidden: "" }, this.full, this.more);
    this.more.addEventListener("click", () => this.expand(), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.asking));
  }

  /** Show a cell that is cut off or, with keyboard focus, has a longer text; request the rest of the text. */
  show(element, row, column, cell) {
    const isLong = Array.isArray(cell);
    const isText = column?.form === "text" || column?.form === "status";
    const isCut = element.scrollWidth > element.clientWidth;
    const text = isCut || (isLong && (isText || element.matches(":focus-visible"))) ? (isLong ? cell[1] : cell) : null;
    const shown = `${row?.number} ${column?.name} ${text}`;
    if (shown === this.shown) return;
    this.shown = shown;
    clearTimeout(this.asking);
    this.set(text);
    if (!isLong || text === null) return;
    this.asking = setTimeout(() => this.question.put({ row: row.number, column: column.name }), PAUSE);
  }

  /** Call `act` with the full text of one cell. */
  fetch(row, column, act) {
    clearTimeout(this.asking);
    this.question.put({ row: row.number, column, act });
  }

  receive(message) {
    const { act } = this.question.asked ?? {};
    if (!this.question.answered(message.seq)) return;
    if (act) act(message.text);
    else if (!this.root.hidden) this.set(message.text);
  }

  /** Show a text; null hides the line. */
  set(text) {
    this.root.hidden = text === null;
    this.full.classList.remove("rl-hint");
    setText(this.full, text ?? "");
    this.more.hidden = text === null || (!text.includes("\n") && this.full.scrollWidth <= this.full.clientWidth);
    this.showState();
  }

  hint(text) {
    if (!this.root.hidden) return;
    this.set(text);
    this.more.hidden = true;
    this.full.classList.add("rl-hint");
  }

  expand() {
    this.root.classList.toggle("rl-expanded");
    this.showState();
  }

  /** Show the text on one line again; return whether it was expanded. */
  collapse() {
    if (this.root.hidden || !this.root.classList.contains("rl-expanded")) return false;
    this.expand();
    return true;
  }

  showState() {
    const isOpen = this.root.classList.contains("rl-expanded");
    this.more.setAttribute("aria-expanded", isOpen);
    this.more.textContent = isOpen ? "Less" : "All of it";
  }
}
