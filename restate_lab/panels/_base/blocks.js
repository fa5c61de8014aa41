// Blocks of text, each under its title. Texts are set as text, never as HTML; blocks.py describes the fields.

/** Copy the text of a block; if copying is not allowed, select it, so that the user can copy it with the keyboard. */
async function copy(button, pre) {
  const isCopied = await navigator.clipboard?.writeText(pre.textContent).then(() => true, () => false);
  if (!isCopied) getSelection().selectAllChildren(pre);
  button.textContent = isCopied ? "Copied" : "Selected: copy with the keyboard";
  setTimeout(() => { button.textContent = "Copy"; }, 3_000);
}

function draw(block) {
  const head = make("div", "rl-block-head");
  head.append(make("span", "rl-block-title", {}, block.title));
  const isMono = block.code || block.value;
  const body = make(isMono ? "pre" : "div", isMono ? "rl-block-mono" : "rl-block-text", {}, block.text);
  if (isMono) body.tabIndex = 0; // so that the keyboard can scroll the text
  if (block.code) {
    const label = `Copy: ${block.title}`;
    const button = make("button", "rl-block-copy", { type: "button", "aria-label": label }, "Copy");
    button.addEventListener("click", () => copy(button, body));
    head.append(button);
  }
  const label = { "data-tone": block.tone, "data-value": block.value, "aria-label": block.title || "text" };
  const section = make("section", "rl-block", label);
  if (block.title || block.code) section.append(head);
  section.append(body);
  return section;
}

function render({ model, el }) {
  const root = make("div", "rl-blocks", { "aria-live": "polite" });
  el.append(root);
  const show = () => {
    root.classList.toggle("rl-columns", model.get("side_by_side"));
    root.replaceChildren(...model.get("blocks").map(draw));
  };
  model.on("change", show);
  show();
  return () => model.off("change", show);
}

export default { render };
