// Steps by keyboard: a link that names a key is followed when that key is pressed outside of fields and charts.

const SAME = { ArrowLeft: "k", ArrowRight: "j" };

export function stepByKey() {
  document.addEventListener("keydown", (event) => {
    const inField = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || inField) {
      return;
    }
    if (event.key in SAME && event.target.closest("[tabindex]")) {
      return; // arrows scroll what has the focus
    }
    const key = SAME[event.key] ?? event.key;
    [...document.querySelectorAll("a[data-key]")].find((link) => link.dataset.key === key)?.click();
  });
}
