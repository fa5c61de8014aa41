// Keeps the folds of an invocation's texts as the user left them: each refresh replaces the texts.
// It draws nothing. A fold is identified by the turn or text that it belongs to, its position there, and its title.

function keyOf(summary, part) {
  const text = summary.closest(".widget-html");
  if (!text) return null; // a menu
  const turn = summary.closest("[data-turn]");
  const place = turn ? `turn ${turn.dataset.turn}` : [...part.querySelectorAll(".widget-html")].indexOf(text);
  return [place, [...(turn ?? text).querySelectorAll("summary")].indexOf(summary), turn ? "" : summary.textContent].join(" ");
}

class FoldMemory {
  constructor(part) {
    this.part = part;
    this.open = new Map(); // key → whether the user opened or closed it
    this.focused = null;
    this.abort = new AbortController();
    const signal = this.abort.signal;
    part.addEventListener("click", (event) => this.note(event.target), { signal });
    part.addEventListener("focusin", (event) => { this.focused = this.keyAt(event.target); }, { signal });
    part.addEventListener("focusout", (event) => this.leave(event.target), { signal });
    this.observer = new MutationObserver(() => this.restore());
    this.observer.observe(part, { childList: true, subtree: true });
  }

  stop() {
    this.abort.abort();
    this.observer.disconnect();
  }

  keyAt(element) {
    const summary = element.closest("summary");
    return summary && keyOf(summary, this.part);
  }

  /** Remember a click on a fold, which has not changed it yet; the keyboard also clicks. */
  note(element) {
    const key = this.keyAt(element);
    if (key !== null) this.open.set(key, !element.closest("details").open);
  }

  /** Forget the focus if the user moved it; a replaced text takes it away without the user. */
  leave(element) {
    const key = this.keyAt(element);
    queueMicrotask(() => { if (element.isConnected && this.focused === key) this.focused = null; });
  }

  /** Runs after a text was replaced and before the page is drawn, so nothing moves. */
  restore() {
    for (const summary of this.part.querySelectorAll(".widget-html summary")) {
      const key = keyOf(summary, this.part), wanted = this.open.get(key), fold = summary.parentElement;
      if (wanted !== undefined && fold.open !== wanted) fold.open = wanted;
      if (key === this.focused && document.activeElement === document.body) summary.focus({ preventScroll: true });
    }
  }
}

function render({ model, el }) {
  let memory = null, isEnded = false;
  const start = () => {
    const part = el.closest(".rl-onedetail");
    if (isEnded) return;
    if (part) memory = new FoldMemory(part);
    else requestAnimationFrame(start); // the view is not in the page yet
  };
  const forget = () => memory?.open.clear(); // another invocation is shown
  start();
  model.on("change:about", forget);
  return () => {
    isEnded = true;
    model.off("change:about", forget);
    memory?.stop();
  };
}

export default { render };
