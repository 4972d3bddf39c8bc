// Zooms the map of all programs into the completions that are dragged across.

const LEAST_PIXELS = 8;

export function zoomMap(figure) {
  if (figure === null) {
    return;
  }
  const svg = figure.querySelector("svg");
  const brush = figure.querySelector(".brush");
  const first = Number(figure.dataset.first);
  const last = Number(figure.dataset.last);
  let start = null;

  const share = (event) => {
    const box = svg.getBoundingClientRect();
    const view = svg.viewBox.baseVal;
    const x = view.x + ((event.clientX - box.left) / box.width) * view.width;
    return Math.max(0, Math.min(1, x / (view.width + 2 * view.x)));
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && !event.target.closest("a")) {
      start = share(event);
      svg.setPointerCapture(event.pointerId);
    }
  });
  svg.addEventListener("pointermove", (event) => {
    if (start !== null) {
      const width = svg.viewBox.baseVal.width + 2 * svg.viewBox.baseVal.x;
      brush.setAttribute("x", String(Math.min(start, share(event)) * width));
      brush.setAttribute("width", String(Math.abs(start - share(event)) * width));
    }
  });
  svg.addEventListener("pointerup", (event) => {
    const [low, high] = [start, share(event)].sort((a, b) => a - b);
    const dragged = start !== null && (high - low) * svg.getBoundingClientRect().width > LEAST_PIXELS;
    start = null;
    brush.setAttribute("width", "0");
    if (dragged) {
      const address = new URL(location.href);
      address.searchParams.set("start", String(Math.floor(first + low * (last - first))));
      address.searchParams.set("end", String(Math.ceil(first + high * (last - first))));
      location.assign(address);
    }
  });
}
