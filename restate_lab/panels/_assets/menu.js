// A button that opens a short list of commands.

/** Return a menu of commands; `items` maps labels to commands, and `act` gets the command. Listeners end with `signal`. */
function makeMenu(face, name, title, items, act, signal) {
  const head = make("summary", "rl-button", { title, "aria-label": name }, ...face);
  const list = make("div", "rl-menulist", { role: "group", "aria-label": title });
  const menu = make("details", "rl-menu", {}, head, list);
  for (const [label, command] of items) {
    const button = make("button", "rl-menuitem", { type: "button" }, label);
    button.addEventListener("click", () => { menu.open = false; head.focus(); act(command); }, { signal });
    list.append(button);
  }
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.preventDefault();
    event.stopPropagation();
    menu.open = false;
    head.focus();
  }, { signal });
  menu.addEventListener("toggle", () => menu.open && list.scrollIntoView({ block: "nearest" }), { signal });
  document.addEventListener("pointerdown", (event) => { if (!menu.contains(event.target)) menu.open = false; }, { signal });
  return menu;
}

/** Return a menu of exports. */
function makeExports(title, items, act, signal) {
  const icon = make("span", "", { "aria-hidden": "true" }, "⤓");
  return makeMenu([icon, make("span", "rl-menuname", {}, " Export")], "Export", title, items, act, signal);
}
