// A button that sends the values of its fields along with the click; submit.py explains why.

function render({ model, el }) {
  const button = document.createElement("button");
  const error = document.createElement("span");
  button.type = "button";
  error.setAttribute("role", "alert");
  el.append(button, error);

  const draw = () => {
    const style = model.get("button_style");
    button.className = `jupyter-button widget-button${style ? ` mod-${style}` : ""}`;
    button.textContent = model.get("description");
    button.title = model.get("tooltip");
    // Not "disabled": Tab would skip the button while the kernel has not yet received the last letter.
    button.setAttribute("aria-disabled", model.get("disabled"));
    error.textContent = model.get("error");
  };

  const press = async () => {
    const seen = model.get("shown");
    try {
      const fields = model.get("fields").map(({ model: id, name }) => model.widget_manager.get_model(id).then((field) => field.get(name)));
      model.send({ type: "press", seen, values: await Promise.all(fields) });
    } catch (problem) {
      error.textContent = `Nothing was done: ${problem.message}`;
    }
  };

  button.addEventListener("click", press);
  model.on("change", draw);
  draw();
  return () => model.off("change", draw);
}

export default { render };
