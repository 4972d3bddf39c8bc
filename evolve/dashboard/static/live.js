// Keeps a page fresh: when the server says that something is new, the page is asked for again and the parts that are
// marked `data-live` are replaced. The parts come from our own templates; a script in them would not be run.

const PAUSE_MS = 1500;

export function keepFresh(address, replaced) {
  if (!address) {
    return;
  }
  const sign = document.querySelector("[data-live-sign]");
  let source = null;
  let last = 0;
  let waiting = null;

  const refresh = async () => {
    waiting = null;
    last = Date.now();
    const answer = await fetch(location.href, { credentials: "same-origin" }).catch(() => null);
    if (answer?.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      replaceParts(fresh);
      replaced();
    }
  };
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("open", () => (sign.hidden = false));
    source.addEventListener("error", () => (sign.hidden = true));
    source.addEventListener("message", () => {
      waiting ??= setTimeout(refresh, Math.max(0, last + PAUSE_MS - Date.now()));
    });
  };
  const close = () => {
    source?.close();
    source = null;
    sign.hidden = true;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
    } else if (source === null) {
      refresh();
      open();
    }
  });
  addEventListener("pagehide", close);
  open();
}

function replaceParts(fresh) {
  const chosen = new Set([...document.querySelectorAll("input:checked")].map((box) => box.id));
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = fresh.getElementById(part.id);
    if (newer !== null && newer.innerHTML !== part.dataset.before) {
      const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      part.dataset.before = newer.innerHTML;
      part.replaceChildren(...[...newer.childNodes].map((node) => document.adoptNode(node)));
      if (focused) {
        [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
      }
    }
  }
  for (const box of document.querySelectorAll("input[type=checkbox]")) {
    box.checked = box.checked || chosen.has(box.id);
  }
  document.title = fresh.title;
}
