// The bar above the table: the filter, the counts of rows and selected rows, messages, and the columns.

const MESSAGE = 4_000; // ms that a message stays
const UNDO = 30_000; // ms in which a button offers to undo; Ctrl+Z stays

class Bar {
  /** `acts` are the handlers of its buttons; listeners end with `signal`. */
  constructor(filter, chooser, acts, signal) {
    const button = (text, act) => {
      const element = make("button", "rl-button", { type: "button" }, text);
      element.addEventListener("click", act, { signal });
      return element;
    };
    this.count = make("span", "rl-count");
    this.chosen = make("span", "rl-chosen");
    this.clear = button("Deselect", acts.clear);
    this.clear.hidden = true;
    this.deselected = make("span");
    this.cleared = make("span", "rl-cleared", { hidden: "" }, this.deselected, " ", button("Undo", acts.restore));
    this.order = make("span", "rl-order", { hidden: "" }, make("span", "rl-orderword", {}, "Order changed "), button("Sort again", acts.sortAgain));
    this.message = make("span", "rl-message");
    this.busy = make("span", "rl-busy");
    this.help = button("?", acts.help);
    this.help.setAttribute("aria-label", "Keys");
    this.help.title = "Keys (?)";
    const status = make("span", "rl-gridstatus", { role: "status", "aria-live": "polite" });
    status.append(this.count, this.chosen, this.clear, this.cleared, this.order, this.message);
    const forms = [["CSV file", "csv"], ["Excel file", "xlsx"], ["Copy ids", "ids"]];
    this.exports = makeExports("Export the selected rows, or all that match the filter", forms, acts.export, signal);
    this.tools = make("span", "rl-bartools", {}, this.exports, chooser, this.help);
    rove(this.tools);
    this.root = make("div", "rl-bar", {}, filter.search, status, filter.further, this.busy, this.tools);
    signal.addEventListener("abort", () => { clearTimeout(this.forgetting); clearTimeout(this.fading); });
  }

  set(state) {
    setText(this.count, state.count);
    this.count.title = this.order.title = state.sort === null ? state.order : "";
    setText(this.chosen, state.chosen);
    this.clear.hidden = !state.chosen;
    if (state.cleared) setText(this.deselected, `${state.cleared.toLocaleString("en")} deselected`);
    this.offerUndo(state.cleared);
    this.order.hidden = !state.is_out_of_order;
    this.exports.hidden = !state.exports.length;
    this.exports.querySelector(".rl-menuitem:last-child").hidden = !state.exports.includes("ids");
  }

  /** Offer to select the rows again, for a while. */
  offerUndo(number) {
    if (number === this.undoable) return;
    this.undoable = number;
    this.cleared.hidden = !number;
    clearTimeout(this.fading);
    if (number) this.fading = setTimeout(() => { this.cleared.hidden = true; }, UNDO);
  }

  /** Show a message for a few seconds. */
  say(text) {
    setText(this.message, text);
    clearTimeout(this.forgetting);
    this.forgetting = setTimeout(() => setText(this.message, ""), MESSAGE);
  }
}

/** Set a text only if it has changed, because a screen reader reads every text that is set. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
