// Keeps the folds of a card as the user left them: the card is replaced whenever its invocation makes progress.
// It draws nothing. A fold is identified by the turn that it belongs to and by its position in it.

function keyOf(summary) {
  const turn = summary.closest("[data-turn]");
  return turn ? `${turn.dataset.turn} ${[...turn.querySelectorAll("summary")].indexOf(summary)}` : null;
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
    return summary && keyOf(summary);
  }

  /** Remember a click on a fold, which has not changed it yet; the keyboard also clicks. */
  note(element) {
    const key = this.keyAt(element);
    if (key !== null) this.open.set(key, !element.closest("details").open);
  }

  /** Forget the focus if the user moved it; a replaced card takes it away without the user. */
  leave(element) {
    const key = this.keyAt(element);
    queueMicrotask(() => { if (element.isConnected && this.focused === key) this.focused = null; });
  }

  /** Runs after the card was replaced and before the page is drawn, so nothing moves. */
  restore() {
    for (const summary of this.part.querySelectorAll("[data-turn] summary")) {
      const key = keyOf(summary), wanted = this.open.get(key), fold = summary.parentElement;
      if (wanted !== undefined && fold.open !== wanted) fold.open = wanted;
      if (key === this.focused && document.activeElement === document.body) summary.focus({ preventScroll: true });
    }
  }
}

function render({ el }) {
  let memory = null, isEnded = false;
  const start = () => {
    const part = el.closest(".rl-conversation");
    if (isEnded) return;
    if (part) memory = new FoldMemory(part);
    else requestAnimationFrame(start); // the view is not in the page yet
  };
  start();
  return () => {
    isEnded = true;
    memory?.stop();
  };
}

export default { render };
