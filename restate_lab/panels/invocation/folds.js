// A row of buttons that show and hide sections of the panel; the sections are separate widgets below it.

function render({ model, el }) {
  const root = make("div", "rl-folds", { role: "group", "aria-label": "More about this invocation" });
  const buttons = new Map();
  el.append(root);
  rove(root);
  const show = () => {
    for (const { key, title, open, offered } of model.get("sections")) {
      const button = buttons.get(key) ?? make("button", "rl-button rl-fold", { type: "button" });
      if (!buttons.has(key)) {
        button.addEventListener("click", () => model.send({ type: "toggle", key }));
        buttons.set(key, button);
        root.append(button);
      }
      button.textContent = `${open ? "▾" : "▸"} ${title}`;
      button.setAttribute("aria-expanded", open);
      button.hidden = !offered;
    }
  };
  model.on("change:sections", show);
  show();
  return () => model.off("change:sections", show);
}

export default { render };
