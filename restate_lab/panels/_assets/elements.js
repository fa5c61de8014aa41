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

/** Copy a text; tell whether the page may. */
async function copyText(text) {
  return (await navigator.clipboard?.writeText(text).then(() => true, () => false)) || copyWithoutClipboard(text);
}

/** Copy where a page is not served over https: there is no clipboard API then. */
function copyWithoutClipboard(text) {
  const area = make("textarea", "", { "aria-hidden": "true", style: "position:fixed;opacity:0" });
  const before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  before?.focus({ preventScroll: true });
  return isCopied;
}

/** Return a number of whole seconds in its two largest units, as format_duration of _text.py does: "2h 13m". */
export function formatDuration(seconds) {
  let rest = Math.max(0, seconds);
  const parts = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]].map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return [count, unit];
  });
  const first = parts.findIndex(([count]) => count);
  const shown = first < 0 ? [] : parts.slice(first, first + 2).filter(([count]) => count);
  return shown.map(([count, unit]) => `${count}${unit}`).join(" ") || "0s";
}
