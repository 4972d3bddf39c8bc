// Pages are complete without this file; it keeps them fresh, reads charts out, and steps by keyboard.
import { readCharts } from "./charts.js";
import { keepFresh } from "./live.js";
import { stepByKey } from "./keys.js";
import { zoomMap } from "./map.js";

readCharts(document);
keepFresh(document.body.dataset.events, () => readCharts(document));
stepByKey();
zoomMap(document.querySelector("[data-map]"));
