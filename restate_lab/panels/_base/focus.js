// The focus in a panel: it is never lost when the part that has it is replaced, hidden or disabled.

const HEADING = ".rl-invocation > .rl-top > .widget-html .widget-html-content";
const LIST = ".rl-list .rl-grid";
const FOCUSABLE = "button, input, select, textarea, summary, a[href], [tabindex]";
const PATIENCE = 1_000; // ms to wait for the control that opened an item
const SOON = 150; // ms in which a message of the kernel can say where the focus belongs

class FocusKeeper {
  /** Keep the focus in `panel`; listeners end with `signal`. */
  constructor(panel, signal) {
    this.panel = panel;
    this.path = []; // the element with the focus and its ancestors; empty while the user is not in the panel
    this.last = ""; // the name of the control that the user focused last, if it has one
    this.origin = null; // the name of the control that opened an item; "" is a row
    this.wanted = null; // a function that moves the focus and returns true, or false while its element does not exist
    panel.addEventListener("focusin", (event) => this.note(event.target), { signal });
    panel.addEventListener("focusout", (event) => this.leave(event), { signal });
    for (const name of ["keydown", "pointerdown"]) panel.addEventListener(name, () => { this.wanted = null; }, { signal, capture: true });
    this.observer = new MutationObserver(() => this.check());
    this.observer.observe(panel, { childList: true, subtree: true, attributeFilter: ["style", "hidden", "disabled", "class"] });
    signal.addEventListener("abort", () => { this.observer.disconnect(); clearTimeout(this.timer); });
    this.check();
  }

  note(target) {
    this.path = [];
    for (let each = target; each && each !== this.panel; each = each.parentElement) this.path.push(each);
    if (!this.isRestoring) this.last = target.closest("[data-focus]")?.dataset.focus ?? "";
  }

  /** Forget the focus if the user moves it out of the panel; an element that is removed or hidden also loses it. */
  leave({ target, relatedTarget }) {
    if (this.panel.contains(relatedTarget)) return;
    queueMicrotask(() => { // the browser reports the loss before the element is gone
      if (!this.hasFocus && document.hasFocus() && isUsable(target)) this.path = [];
    });
  }

  get hasFocus() {
    return this.panel.contains(document.activeElement);
  }

  get isLost() {
    return this.path.length > 0 && document.activeElement === document.body && !isUsable(this.path[0]);
  }

  /** An item was opened: focus its heading. If code opened it, the focus stays outside of the panel. */
  opened() {
    if (!this.path.length) return;
    this.origin ??= this.last;
    this.want(() => this.focusHeading());
  }

  /** The item was closed: return to the control that opened it, unless the user chose another view. */
  closed() {
    const { origin } = this;
    this.origin = null;
    if (!this.path.length || this.hasFocus) return;
    const until = performance.now() + PATIENCE;
    const isThere = () => this.focus(this.panel.querySelector(`[data-focus="${CSS.escape(origin)}"]`));
    this.want(() => (origin && isThere()) || ((!origin || performance.now() > until) && this.focusRow()));
  }

  /** Move the focus with `act`, now or as soon as it returns true. */
  want(act) {
    this.wanted = act;
    this.check();
  }

  /** Runs after each change of the panel. */
  check() {
    this.panel.querySelectorAll(".rl-action-row:not([data-roving])").forEach(rove);
    clearTimeout(this.timer);
    if (this.wanted) {
      if (this.wanted()) this.wanted = null;
    } else if (this.isLost) this.timer = setTimeout(() => this.restore(), SOON);
  }

  /** Focus the nearest control to the one that is gone. */
  restore() {
    if (!this.isLost || this.wanted) return;
    const home = this.path.slice(1).find((each) => isUsable(each) && firstIn(each));
    const isInView = home && !home.matches(".rl-view");
    this.isRestoring = true;
    (isInView && this.focus(firstIn(home))) || this.focusHeading() || this.focusRow() || this.focus(firstIn(home ?? this.panel));
    this.isRestoring = false;
  }

  focus(element) {
    element?.focus({ preventScroll: true });
    return Boolean(element) && document.activeElement === element;
  }

  focusHeading() {
    const heading = this.panel.querySelector(HEADING);
    if (!heading) return false;
    for (const [name, value] of [["tabindex", "-1"], ["role", "heading"], ["aria-level", "2"]]) heading.setAttribute(name, value);
    heading.focus();
    return document.activeElement === heading;
  }

  /** Focus the current cell of the list; the list does so as soon as it has its rows. */
  focusRow() {
    const list = this.panel.querySelector(LIST);
    return list !== null && !list.dispatchEvent(new Event("rl-focus", { cancelable: true }));
  }
}

function isUsable(element) {
  return element.isConnected && !element.disabled && element.checkVisibility({ visibilityProperty: true });
}

/** Return the first element in another one that the Tab key reaches. */
function firstIn(element) {
  return [...element.querySelectorAll(FOCUSABLE)].find((each) => each.tabIndex >= 0 && isUsable(each));
}
