// What all views share. Texts are appended as text, never as HTML.

function make(tag, name, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return a name for one view: a model may be shown in several. */
function newName() {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
}

const SLOW = 1_500; // ms after which waiting is said
const LOST = 12_000; // ms after which the kernel is called silent

/** Return what there is to say of a kernel that has not answered since a moment; null where nothing is asked. */
function waitingWords(since) {
  const waited = since === null ? 0 : performance.now() - since;
  if (waited > LOST) return "The kernel does not answer: it is busy, or it was restarted; then run the cell again.";
  return waited > SLOW ? "waiting for the kernel…" : "";
}

const clamp = (value, least, most) => Math.max(least, Math.min(value, most));
