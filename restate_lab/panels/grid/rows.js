// The rows from the kernel, and the requests to the kernel.

const KEPT = 2_000; // rows kept in the browser
const AGAIN = 10_000; // ms after which a request without a response can be repeated

/** The latest rows from the kernel by line: {number, selected, cells}, or the description of a group. */
class Rows {
  constructor() {
    this.byLine = new Map();
    this.values = null;
    this.members = null;
    this.selection = null;
  }

  get(line) {
    return this.byLine.get(line);
  }

  add(page) {
    if (!this.isCurrent(page) || this.byLine.size > KEPT) this.byLine.clear();
    this.values = page.values;
    this.members = page.members;
    this.selection = page.selection;
    page.rows.forEach((row, i) => this.byLine.set(page.start + i, Array.isArray(row) ? rowOf(row) : groupOf(row)));
  }

  isCurrent(state) {
    return this.values === state.values && this.members === state.members && this.selection === state.selection;
  }
}

function rowOf([number, selected, cells, isMember = false]) {
  return { number, selected, cells, isMember, isGroup: false };
}

function groupOf(group) {
  return { ...group, selected: group.checked === "all", cells: [], isMember: false, isGroup: true };
}

/** One request at a time: the newest waits until the last one has a response or was lost. */
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

  /** Return whether this is the response to the last request; older responses are dropped. */
  answered(seq) {
    if (seq !== this.seq) return false;
    this.askedAt = null;
    const next = this.next;
    if (next) this.put(next);
    return true;
  }
}
