// The strip above the list of invocations; strip.py defines the messages. All texts are set as text.

const KINDS = { created: ["created"], ended: ["succeeded", "failed", "cancelled"] };
const HEIGHT = 22; // pixels of a histogram
const FEW = 8; // services shown without "more"
const SERVICE = 110; // pixels of one service beside the filter of the table
const AROUND = 324; // pixels of "All services", the field and the button beside them
const MANY = 12; // services above which a field finds them by their names
const NARROW = 800; // pixels below which statuses and services are folded
const WIDE = 1_060; // pixels from which the filter of the table is beside the services

class StripView {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.showsAllServices = false;
    this.showsAllChips = false;
    this.isUnfolded = false; // on a narrow page
    this.root = make("div", "rl-strip");
    el.append(this.root);
    this.build();
    this.model.on("change:content", (this.draw = this.draw.bind(this)));
    this.observer = new ResizeObserver(() => this.fold());
    this.observer.observe(this.root);
    this.observer.observe(this.serviceRow);
    this.draw();
  }

  build() {
    this.times = make("div", "rl-times");
    this.histograms = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, new Histogram(kind, (start, end) => this.send({ type: "time", kind, start, end }))]));
    this.window = make("select", "rl-field rl-window", { "aria-label": "Time window of the histograms" });
    this.window.addEventListener("change", () => this.send({ type: "window", name: this.window.value }));
    this.bar = make("div", "rl-statusbar", { "aria-hidden": "true" }); // it repeats the chips, for the mouse
    this.barCaption = make("div", "rl-ends", { "aria-hidden": "true" }, "by status");
    const byStatus = make("div", "rl-bystatus", {}, this.bar, this.barCaption);
    this.times.append(...Object.values(this.histograms).map((each) => each.root), byStatus, make("label", "rl-last", {}, "last ", this.window));
    this.presets = make("div", "rl-presets", { role: "group", "aria-label": "Presets" });
    this.chips = make("div", "rl-chips", { role: "group", "aria-label": "Status" });
    this.services = make("div", "rl-services", { role: "group", "aria-label": "Service" });
    this.more = make("button", "rl-button rl-morefilters", { type: "button", "aria-expanded": "false", "aria-label": "More filters" }, "More filters");
    this.more.addEventListener("click", () => this.toggleFields());
    this.fields = make("div", "rl-morefields", { hidden: "" });
    this.active = make("div", "rl-active", { role: "group", "aria-label": "Active filters" });
    this.unfold = make("button", "rl-button rl-unfold", { type: "button", "aria-expanded": "false" });
    this.unfold.addEventListener("click", () => { this.isUnfolded = !this.isUnfolded; this.fold(); });
    this.find = make("input", "rl-field rl-findservice", { type: "text", placeholder: "find a service", "aria-label": "Find a service", spellcheck: "false" });
    this.names = make("datalist", "", { id: newName() });
    this.find.setAttribute("list", this.names.id);
    this.find.addEventListener("input", () => this.chooseService());
    const first = make("div", "rl-striprow", {}, this.presets, this.chips, this.unfold);
    this.serviceRow = make("div", "rl-striprow rl-servicerow", {}, this.services, this.find, this.names, this.more);
    // The bar of the table is beside the last row if there is room: strip.css.
    this.root.append(this.times, first, this.fields, this.active, this.serviceRow);
    rove(this.root);
  }

  send(message) {
    this.model.send(message);
  }

  /** Fold statuses and services into one button on a narrow page; show fewer services beside the filter of the table. */
  fold() {
    const content = this.model.get("content");
    if (!content.presets) return;
    const width = this.root.clientWidth;
    if (!width) return; // not on the page yet
    const isNarrow = width < NARROW;
    this.isWide = width >= WIDE;
    this.root.classList.toggle("rl-wide", this.isWide);
    const widths = `${width} ${this.serviceRow.clientWidth}`;
    if (widths !== this.widths) keepFocus(this.root, () => this.drawServices(content));
    this.widths = widths;
    const isFolded = isNarrow && !this.isUnfolded;
    const chosen = [...content.chips, ...content.services].filter((each) => each.pressed).length + content.active.length;
    const label = `Filter${chosen ? ` (${chosen})` : ""}`;
    if (this.unfold.textContent !== label) {
      this.unfold.textContent = label;
      this.unfold.setAttribute("aria-label", label); // without the arrow
    }
    this.unfold.hidden = !isNarrow;
    this.unfold.setAttribute("aria-expanded", String(!isFolded));
    this.root.classList.toggle("rl-folded", isFolded);
    this.root.classList.toggle("rl-narrow", isNarrow);
  }

  draw() {
    const content = this.model.get("content");
    if (!content.presets) return;
    keepFocus(this.root, () => {
      this.drawTimes(content);
      this.drawBar(content);
      this.presets.replaceChildren(...content.presets.map((preset) => this.toggle(preset, { type: "status" }, content, preset.label)));
      this.drawChips(content);
      this.drawServices(content);
      this.drawFields(content);
      this.drawActive(content);
    });
    this.fold();
  }

  drawTimes({ histogram, brush, window, windows, times }) {
    this.times.hidden = !times;
    this.window.replaceChildren(...windows.map((name) => {
      const option = make("option", "", { value: name }, name);
      option.selected = name === window;
      return option;
    }));
    for (const [kind, each] of Object.entries(this.histograms)) each.draw(histogram, brush[kind]);
  }

  drawBar({ bar }) {
    const total = bar.reduce((sum, part) => sum + part.count, 0);
    this.bar.parentElement.hidden = total === 0;
    this.bar.replaceChildren(...bar.map(({ name, count, colour }) => {
      const label = `${name}: ${count.toLocaleString("en")}`;
      const part = make("button", "rl-part", { type: "button", title: label, tabindex: "-1" });
      part.style.flexGrow = String(count);
      part.style.backgroundColor = colour;
      part.addEventListener("click", (event) => this.send({ type: "status", name, add: event.ctrlKey || event.metaKey }));
      return part;
    }));
  }

  drawChips(content) {
    const shown = content.chips.filter((chip) => this.showsAllChips || chip.count || chip.pressed || !content.is_counted);
    const hidden = content.chips.length - shown.length;
    const chips = shown.map((chip) => this.toggle(chip, { type: "status" }, content, chip.name));
    if (hidden || this.showsAllChips) chips.push(this.folder(this.showsAllChips ? "fewer" : `+${hidden}`, "statuses without invocations", "chips", () => { this.showsAllChips = !this.showsAllChips; }));
    this.chips.replaceChildren(...chips);
  }

  drawServices(content) {
    const services = content.services;
    const all = { name: "", count: null, pressed: services.every((each) => !each.pressed) };
    const isLong = services.length > MANY;
    const few = this.isWide ? Math.max(0, Math.floor((this.serviceRow.clientWidth - AROUND) / SERVICE)) : FEW;
    const shown = this.showsAllServices && !isLong ? services : services.filter((each, at) => at < few || each.pressed);
    const hidden = isLong ? 0 : services.length - shown.length;
    const tabs = [all, ...shown].map((each) => this.toggle(each, { type: "service" }, content, each.name || "All services"));
    this.find.hidden = !isLong;
    this.find.placeholder = `${services.length.toLocaleString("en")} services`;
    const names = JSON.stringify(isLong && services);
    if (this.drawnNames !== names) this.names.replaceChildren(...(isLong ? services.map(optionOf) : []));
    this.drawnNames = names;
    if (!isLong && (hidden || this.showsAllServices)) tabs.push(this.folder(this.showsAllServices ? "fewer" : `${hidden} more`, "services", "services", () => { this.showsAllServices = !this.showsAllServices; }));
    this.services.replaceChildren(...tabs);
  }

  /** Filter by the service whose name was chosen from the list, or typed in full. */
  chooseService() {
    const { services } = this.model.get("content");
    const name = this.find.value.trim();
    if (!services.some((each) => each.name === name)) return;
    this.find.value = "";
    this.send({ type: "service", name, add: services.some((each) => each.pressed) });
  }

  /** Return a button that filters by one name; Ctrl-click adds the name to the others. */
  toggle({ name, count, colour, pressed, trouble }, message, content, label) {
    const button = make("button", "rl-chip", { type: "button", "aria-pressed": String(pressed), "data-focus": `${message.type}-${name}`, title: `${trouble ? `${trouble.toLocaleString("en")} need attention. ` : ""}Click to filter; Ctrl-click to add` });
    if (colour) {
      const dot = make("span", "rl-dot", { "aria-hidden": "true" });
      dot.style.backgroundColor = colour;
      button.append(dot);
    }
    button.append(label);
    button.toggleAttribute("data-trouble", Boolean(trouble));
    button.toggleAttribute("data-first", pressed && message.type === "status");
    if (content.is_counted && count !== null) button.append(make("b", "rl-count", {}, ` ${count.toLocaleString("en")}`));
    button.addEventListener("click", (event) => this.send({ ...message, name, add: event.ctrlKey || event.metaKey }));
    return button;
  }

  folder(label, what, name, act) {
    const button = make("button", "rl-chip rl-folder", { type: "button", "aria-label": `${label} ${what}`, "data-focus": `fold-${name}` }, label);
    button.addEventListener("click", () => { act(); this.draw(); });
    return button;
  }

  toggleFields(show = this.fields.hidden) {
    this.fields.hidden = !show;
    this.more.setAttribute("aria-expanded", String(show));
    if (show) this.fields.querySelector("input")?.focus();
  }

  drawFields({ fields, group }) {
    if (!this.inputs) {
      this.inputs = Object.fromEntries(fields.map((field) => [field.name, this.field(field)]));
      this.group = make("input", "", { type: "checkbox" });
      this.group.addEventListener("change", () => this.send({ type: "group", on: this.group.checked }));
      this.fields.append(...Object.values(this.inputs).map((each) => each.label), make("label", "rl-groupbox", {}, this.group, "group equal failures"));
    }
    this.group.checked = group;
    for (const field of fields) {
      const { input } = this.inputs[field.name];
      if (input !== document.activeElement) input.value = field.value;
      input.sentValue = field.value;
    }
  }

  field({ name, label, hint }) {
    const input = make("input", "rl-field rl-fieldinput", { type: "text", placeholder: hint, spellcheck: "false", "data-name": name });
    const apply = () => {
      if (input.value !== (input.sentValue ?? "")) this.send({ type: "field", name, value: (input.sentValue = input.value) });
    };
    input.addEventListener("keydown", (event) => event.key === "Enter" && apply());
    input.addEventListener("blur", apply);
    return { input, label: make("label", "rl-fieldlabel", {}, label, input) };
  }

  drawActive({ active }) {
    const pills = active.map(({ name, text }) => {
      const remove = make("button", "rl-remove", { type: "button", "aria-label": `Remove the filter ${text}`, "data-focus": `active-${name}` }, "×");
      remove.addEventListener("click", () => this.send({ type: "clear", names: [name] }));
      return make("span", "rl-pill", {}, make("span", "rl-pilltext", { title: text }, text), remove);
    });
    if (pills.length) {
      const clear = make("button", "rl-button", { type: "button", "data-focus": "clear" }, "Clear all");
      clear.addEventListener("click", () => this.send({ type: "clear", names: [] }));
      pills.push(clear);
    }
    this.active.hidden = !pills.length;
    this.active.replaceChildren(...pills);
  }

  stop() {
    this.observer.disconnect();
    this.model.off("change:content", this.draw);
  }
}

/** Return a service in the list of the field that finds one. */
function optionOf({ name, count, trouble }) {
  const text = `${count.toLocaleString("en")}${trouble ? `, ${trouble.toLocaleString("en")} need attention` : ""}`;
  return make("option", "", { value: name, label: `${name}: ${text}` });
}

/** The bars of one kind of time, and a brush over them: drag to select a time span, click to remove it. */
class Histogram {
  constructor(kind, choose) {
    this.kind = kind;
    this.choose = choose;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("class", "rl-bars");
    this.svg.setAttribute("tabindex", "-1");
    this.svg.setAttribute("role", "img");
    this.caption = make("span", "rl-caption", {}, kind);
    this.start = make("span");
    this.end = make("span");
    this.root = make("div", "rl-histogram", {}, this.svg, make("div", "rl-ends", {}, this.start, this.caption, this.end));
    this.svg.addEventListener("pointerdown", (event) => this.begin(event));
    this.svg.addEventListener("keydown", (event) => this.step(event));
  }

  draw(histogram, [start, end]) {
    this.data = histogram;
    if (this.isDragging) return;
    const bins = histogram ? histogram[KINDS[this.kind][0]].length : 1;
    const sums = Array.from({ length: bins }, (_, at) => (histogram ? KINDS[this.kind].reduce((sum, name) => sum + histogram[name][at], 0) : 0));
    const most = Math.max(1, ...sums);
    this.bins = bins;
    this.svg.setAttribute("viewBox", `0 0 ${bins} ${HEIGHT}`);
    const parts = [];
    sums.forEach((sum, at) => {
      let top = HEIGHT;
      for (const name of KINDS[this.kind]) {
        const count = histogram ? histogram[name][at] : 0;
        if (!count) continue;
        const height = Math.max(1.5, (HEIGHT - 2) * (count / most));
        top -= height;
        const bar = rect(at + 0.08, top, 0.84, height, "rl-bin");
        bar.style.fill = histogram.colours[name];
        parts.push(bar);
      }
    });
    this.brush = rect(0, 0, 0, HEIGHT, "rl-brush");
    this.svg.replaceChildren(...parts, this.brush);
    this.range = start === null && end === null || !histogram ? null : [this.toBin(start ?? histogram.start), this.toBin(end ?? histogram.start + bins * histogram.span)];
    this.drawBrush();
    const total = sums.reduce((sum, each) => sum + each, 0);
    const failed = this.kind === "ended" && histogram ? histogram.failed.reduce((sum, each) => sum + each, 0) : 0;
    const text = histogram ? `${this.kind} ${total.toLocaleString("en")}${failed ? `, ${failed.toLocaleString("en")} failed` : ""}` : this.kind;
    this.caption.textContent = text;
    [this.start.textContent, this.end.textContent] = histogram?.ends ?? ["", ""];
    this.svg.setAttribute("aria-label", `${text} from ${histogram?.ends.join(" to ") ?? "then to now"}. Drag, or use the arrow keys with Shift, to filter; Delete removes the filter.`);
  }

  toBin(seconds) {
    return clamp((seconds - this.data.start) / this.data.span, 0, this.bins);
  }

  drawBrush() {
    const [first, last] = this.range ?? [0, 0];
    this.brush.setAttribute("x", first);
    this.brush.setAttribute("width", Math.max(0, last - first));
  }

  begin(event) {
    if (!this.data || event.button !== 0) return;
    const at = (each) => {
      const box = this.svg.getBoundingClientRect();
      return clamp(((each.clientX - box.left) / box.width) * this.bins, 0, this.bins);
    };
    const from = at(event);
    this.isDragging = true;
    this.svg.setPointerCapture(event.pointerId);
    const move = (each) => {
      const to = at(each);
      this.range = [Math.floor(Math.min(from, to)), Math.ceil(Math.max(from, to))];
      this.drawBrush();
    };
    const end = (each) => {
      this.svg.removeEventListener("pointermove", move);
      this.isDragging = false;
      if (Math.abs(at(each) - from) < 0.5 && this.hadRange) this.clear();
      else { move(each); this.apply(); }
    };
    this.hadRange = this.range !== null;
    this.svg.addEventListener("pointermove", move);
    this.svg.addEventListener("pointerup", end, { once: true });
  }

  apply() {
    this.choose(this.data.start + this.range[0] * this.data.span, this.data.start + this.range[1] * this.data.span);
  }

  clear() {
    this.range = null;
    this.choose(null, null);
  }

  /** Select with the keyboard: Shift with an arrow extends the span from the newest bin, Delete removes it. */
  step(event) {
    if (!this.data) return;
    if (event.key === "Delete" || event.key === "Backspace") return this.clear();
    if (!event.shiftKey || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    const [first, last] = this.range ?? [this.bins, this.bins];
    this.range = [clamp(first + (event.key === "ArrowLeft" ? -1 : 1), 0, last - 1), last];
    this.drawBrush();
    this.apply();
  }
}

function rect(x, y, width, height, name) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({ x, y, width, height, class: name })) element.setAttribute(key, value);
  return element;
}

/** Redraw, and restore the focus. */
function keepFocus(root, draw) {
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  draw();
  if (focused !== undefined) root.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

function render({ model, el }) {
  const view = new StripView(model, el);
  return () => view.stop();
}

export default { render };
