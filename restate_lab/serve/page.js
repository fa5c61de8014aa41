"use strict";
// Without this script the pages show the same: it counts the age on, and offers to copy the link.

const copy = document.querySelector("button.copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not copied";
    }
    setTimeout(() => { copy.textContent = "Copy link"; }, 2000);
  });
}

const read = document.querySelector(".facts time");
if (read) {
  const rendered = Date.now();
  const age = Number(read.dataset.age);
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  setInterval(() => {
    const seconds = Math.floor(age + (Date.now() - rendered) / 1000);
    const [unit, size] = units.find(([, each]) => seconds >= each) ?? units.at(-1);
    read.textContent = `${Math.floor(seconds / size)}${unit} ago`;
  }, 1000);
}
