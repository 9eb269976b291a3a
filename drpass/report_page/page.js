// The page: headings that sort, rows that select a layer, and the plots of what is selected.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const body = byId("layers").tBodies[0];
let selected = 0;

function select(place) {
  selected = place;
  for (const row of body.rows) {
    if (Number(row.dataset.layer) === place) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  showLayer();
}

/** Selects for a person, who then wants to see the plots. */
function show(place) {
  select(place);
  byId("layer").scrollIntoView({ block: "nearest" });
}

function showLayer() {
  const layer = data.layers[selected], { trials, ratios } = layer;
  byId("layer-name").textContent = layer.name;
  byId("layer-reason").textContent = layer.reason;
  byId("trial-count").textContent = `${trials.length} ${trials.length === 1 ? "setting" : "settings"} tried`;
  byId("layer").querySelector("details").hidden = !trials.length;
  if (trials.length) {
    drawTrials(byId("trials"), layer, byId("trial-readout"));
    byId("trial-readout").textContent = `${choice(layer)}. ${legend(trials)}`;
  } else {
    byId("trials").textContent = "No setting was tried.";
    byId("trial-readout").textContent = "";
  }
  if (ratios) drawRatios(byId("ratios"), ratios);
  else byId("ratios").textContent = "No setting that clusters was tried.";
  byId("ratios-caption").textContent = ratios ? (ratios.chosen ? "Chosen: " : "Only tried: ") + ratios.setting : "";
  showTrials(trials, layer.chosen);
}

function choice({ trials, chosen, setting }) {
  if (chosen !== null) return `Chosen: ${describeTrial(trials[chosen])}`;
  return setting === null ? "Nothing was chosen: the node is kept" : `Chosen, but not among these: ${setting}`;
}

function legend(trials) {
  const open = trials.some((trial) => trial.ratio !== null) ? "Open circles cluster. " : "";
  const untimed = trials.some((trial) => trial.ms === null && trial.error !== null);
  return open + (untimed ? "Strokes at the top were not timed." : "");
}

function showTrials(trials, chosen) {
  const cells = (kind, texts) => texts.map((text, place) => {
    const cell = document.createElement(kind);
    if (place) cell.className = "number";
    cell.textContent = text;
    return cell;
  });
  const row = (parent, kind, texts) => {
    const line = parent.insertRow();
    line.append(...cells(kind, texts));
    return line;
  };
  const table = byId("trial-table");
  table.replaceChildren();
  row(table.createTHead(), "th", ["setting", "ms", "error", "effect on outputs", "r_c"]);
  const rows = table.createTBody();
  const text = (value, write) => (value === null ? "–" : write(value));
  trials.forEach((trial, place) => {
    const line = row(rows, "td", [
      trial.setting,
      text(trial.ms, (value) => value.toFixed(3)),
      text(trial.error, scientific),
      text(trial.effect, scientific),
      text(trial.ratio, (value) => value.toFixed(3)),
    ]);
    if (place === chosen) line.dataset.best = "";
  });
}

/** Numbers begin with the largest, texts with the first; what has no value is last in both directions. */
function sort(heading, column) {
  const number = "number" in heading.dataset;
  const before = heading.getAttribute("aria-sort");
  const down = before === "none" ? number : before === "ascending";
  for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[column];
    return number ? parseFloat(cell.dataset.value ?? "NaN") : cell.textContent;
  };
  const compare = number ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
  const rows = Array.from(body.rows, (row) => ({ row, key: key(row) }));
  rows.sort((a, b) => {
    if (number && (isNaN(a.key) || isNaN(b.key))) return isNaN(a.key) - isNaN(b.key);
    return down ? compare(b.key, a.key) : compare(a.key, b.key);
  });
  body.append(...rows.map(({ row }) => row));
}

function button(parent) {
  const element = document.createElement("button");
  element.type = "button";
  element.append(...parent.childNodes);
  parent.append(element);
  return element;
}

function begin() {
  Array.from(byId("layers").tHead.rows[0].cells).forEach((heading, column) => {
    button(heading).addEventListener("click", () => sort(heading, column));
  });
  if (!data.layers.length) return;
  for (const row of body.rows) button(row.cells[0]);
  byId("layers").classList.add("selectable");
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) show(Number(row.dataset.layer));
  });
  byId("overview").hidden = byId("layer").hidden = false;
  byId("waterfall-caption").textContent = data.waterfall.measured
    ? "Of one call. Layers are timed inside the network; “everything else” is what they do not explain: " +
      "absorbed nodes, layout, noise."
    : "Sum of the layers' times; the whole model was not timed with a replacement.";
  const cost = ({ dense, trials }) => (trials.length ? 1 + (dense ?? 0) : 0);
  drawWaterfall(byId("waterfall"), data.waterfall, show);
  select(data.layers.reduce((best, layer, place) => (cost(layer) > cost(data.layers[best]) ? place : best), 0));
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    drawWaterfall(byId("waterfall"), data.waterfall, show);
    showLayer();
  });
}

begin();
