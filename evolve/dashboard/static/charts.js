// Shows a chart's values under the pointer, or at the place that the arrow keys choose.

export function readCharts(root) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    if (!figure.dataset.read) {
      figure.dataset.read = "yes";
      attach(figure, JSON.parse(figure.dataset.chart));
    }
  }
}

function attach(figure, chart) {
  const svg = figure.querySelector("svg");
  const cross = figure.querySelector(".cross");
  const reading = figure.querySelector(".reading");
  const xs = [...new Set(chart.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  let place = xs.length - 1;

  const show = (index) => {
    place = Math.max(0, Math.min(xs.length - 1, index));
    const x = xs[place];
    const across = chart.left + ((x - chart.x0) / (chart.x1 - chart.x0)) * (chart.right - chart.left);
    cross.setAttribute("d", `M${across} ${chart.top}V${chart.bottom}`);
    const values = chart.lines.map((line) => {
      const value = line.y[lastAtMost(line.x, x)];
      const name = chart.lines.length > 1 ? `${line.name} ` : "";
      return value === undefined ? "" : `${name}${short(value)}${chart.suffix ?? ""}`;
    });
    reading.textContent = `${values.filter(Boolean).join(", ")} at ${short(x)} ${chart.unit}`;
  };
  const hide = () => {
    cross.setAttribute("d", "");
    reading.textContent = "";
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const x = chart.x0 + ((across - chart.left) / (chart.right - chart.left)) * (chart.x1 - chart.x0);
    show(lastAtMost(xs, x));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(place));
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -xs.length, End: xs.length };
    if (event.key in steps) {
      event.preventDefault();
      event.stopPropagation();
      show(place + steps[event.key]);
    }
  });
}

function lastAtMost(sorted, x) {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (sorted[middle] <= x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

function short(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(9)));
}
