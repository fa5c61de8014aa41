// Functions shared by all views. Texts are appended as text, never as HTML.

function make(tag, name, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return a unique name for a view, because a model can have several views. */
function newName() {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
}

const SLOW = 1_500; // ms after which the wait is shown
const STEP = 10_000; // ms

/** Return the message about a kernel that is busy since a time, in steps of 10 s; `since` is null without an open request. */
function waitingWords(since) {
  const waited = since === null ? 0 : performance.now() - since;
  if (waited > STEP) return `The kernel has been busy for more than ${Math.floor(waited / STEP) * (STEP / 1_000)} s. The panel waits for it.`;
  return waited > SLOW ? "waiting for the kernel…" : "";
}

const clamp = (value, least, most) => Math.max(least, Math.min(value, most));

/** Copy a text; return whether the browser allowed it. */
async function copyText(text) {
  return (await navigator.clipboard?.writeText(text).then(() => true, () => false)) || copyWithoutClipboard(text);
}

/** Copy on a page that is not served over https, which has no clipboard API. */
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
