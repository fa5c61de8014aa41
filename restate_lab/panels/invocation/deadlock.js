// The line about the deadlock of an invocation: the other members are links. All texts are set as text.

function render({ model, el }) {
  const root = make("div", "rl-deadlock", { role: "group", "aria-label": "Deadlock" });
  const link = (label, title, message, name) => {
    const button = make("button", "rl-jlink", { type: "button", title, "data-focus": name }, label);
    button.addEventListener("click", () => model.send(message));
    return button;
  };
  const draw = () => {
    const { text = "", members = [] } = model.get("content");
    root.hidden = !text;
    if (!text) return root.replaceChildren();
    const links = members.map(({ id, label }) => link(label, `Open ${id}`, { type: "open", id }, `deadlock-${id}`));
    root.replaceChildren(make("b", "", {}, text), ...links, link("Show the picture", "Show this part of the wait-for graph", { type: "picture" }, "deadlock-picture"));
  };
  el.append(root);
  rove(root);
  model.on("change:content", draw);
  draw();
  return () => model.off("change:content", draw);
}

export default { render };
