// What has come from the kernel, and what was asked of it.

const KEPT = 2_000; // rows kept in the browser
const AGAIN = 10_000; // ms after which an unanswered question may be asked again

/** Rows by their line, as the kernel sent them last: {number, selected, cells}. */
class Rows {
  constructor() {
    this.byLine = new Map();
    this.revision = null;
    this.selection = null;
  }

  get(line) {
    return this.byLine.get(line);
  }

  add(page) {
    const isNew = page.revision !== this.revision || page.selection !== this.selection;
    if (isNew || this.byLine.size > KEPT) this.byLine.clear();
    this.revision = page.revision;
    this.selection = page.selection;
    page.rows.forEach(([number, selected, cells], i) => this.byLine.set(page.start + i, { number, selected, cells }));
  }

  isCurrent(state) {
    return this.revision === state.revision && this.selection === state.selection;
  }
}

/** One question at a time: the newest waits until the last is answered, or has been lost. */
class Question {
  constructor(ask) {
    this.ask = ask;
    this.seq = 0;
    this.askedAt = null;
    this.next = null;
  }

  put(what) {
    if (this.askedAt !== null && performance.now() - this.askedAt < AGAIN) {
      this.next = what;
      return;
    }
    this.askedAt = performance.now();
    this.next = null;
    this.asked = what;
    this.ask({ ...what, seq: ++this.seq });
  }

  /** Tell whether this answers the last question; an older answer is dropped. */
  answered(seq) {
    if (seq !== this.seq) return false;
    this.askedAt = null;
    const next = this.next;
    if (next) this.put(next);
    return true;
  }
}
