// The story of invocations: the card comes from a template that escapes every text, and its targets are buttons.

function render({ model, el }) {
  const root = make("section", "rl-story", { "aria-label": "Story" });
  root.addEventListener("click", (event) => {
    const target = event.target.closest("[data-open], [data-list]");
    if (!target) return;
    const { open, list } = target.dataset;
    model.send(open === undefined ? { type: "list", id: list } : { type: "open", id: open });
  });
  let drawn = null;
  const draw = () => {
    const { html = "" } = model.get("content");
    root.hidden = !html;
    if (html === drawn) return; // the card keeps its place and its focus
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    drawn = html;
    root.innerHTML = html;
    if (focused !== undefined) root.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  };
  el.append(root);
  rove(root);
  model.on("change:content", draw);
  draw();
  return () => model.off("change:content", draw);
}

export default { render };
