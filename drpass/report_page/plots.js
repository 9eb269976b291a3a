/** Time saved from the original to the rewritten model: one bar a step, each beginning where the last one ended. */
function drawWaterfall(box, { start, end, steps }, select) {
  const bars = [{ name: "original", layer: null, from: 0, to: start, kind: "total" }];
  let time = start;
  for (const step of steps) {
    bars.push({ ...step, from: time, to: time - step.saved, kind: step.saved < 0 ? "lost" : "saved" });
    time -= step.saved;
  }
  bars.push({ name: "rewritten", layer: null, from: 0, to: end, kind: "total" });

  const row = 24, foot = 24;
  const { root, width, height } = drawing(
    box, bars.length * row + foot, `Waterfall from ${milliseconds(start)} to ${milliseconds(end)}`,
  );
  const left = Math.min(width * 0.36, 300), right = 70;
  const ends = bars.flatMap((bar) => [bar.from, bar.to]);
  const low = Math.min(0, ...ends), high = Math.max(...ends);
  const x = linear(low, high, left, width - right);
  for (const tick of ticks(low, high, width < 500 ? 3 : 6)) {
    root.append(svg("line", { class: tick === 0 ? "zero" : "grid", x1: x(tick), x2: x(tick), y1: 0, y2: height - foot }));
    root.append(svg("text", { x: x(tick), y: height - 7, "text-anchor": "middle" }, round(tick)));
  }
  bars.forEach((bar, place) => root.append(waterfallStep(bar, place * row, row, { width, left, x }, select)));
}

function waterfallStep(bar, y, row, { width, left, x }, select) {
  const from = Math.min(x(bar.from), x(bar.to)), to = Math.max(x(bar.from), x(bar.to));
  const value = bar.kind === "total" ? milliseconds(bar.to) : (bar.saved < 0 ? "+" : "") + milliseconds(-bar.saved);
  const group = svg(
    "g", { class: "step" },
    svg("title", {}, `${bar.name}: ${value}`),
    svg("rect", { class: "line", x: 0, y, width, height: row }), // so that all of the line can be clicked
    svg("text", { class: "strong", x: left - 10, y: y + row * 0.68, "text-anchor": "end" }, shortened(bar.name, left - 10)),
    svg("rect", { class: `bar ${bar.kind}`, x: from, y: y + 4, width: Math.max(to - from, 1), height: row - 8, rx: 2 }),
    svg("text", { x: to + 6, y: y + row * 0.68 }, value),
  );
  if (bar.layer !== null) {
    group.dataset.layer = bar.layer;
    group.addEventListener("click", () => select(bar.layer));
  }
  return group;
}

/** All settings of a layer: error to the right in decades (exact ones in a place of their own), time upwards. */
function drawTrials(box, layer, readout) {
  const known = layer.trials.filter((trial) => trial.error !== null);
  const timed = known.filter((trial) => trial.ms !== null);
  const { root, width, height } = drawing(box, 260, `${known.length} settings by error and time`);
  const area = { left: 52, right: width - 14, top: 26, bottom: height - 40 };
  const x = errorScale(known.map((trial) => trial.error), area);
  const high = Math.max(layer.dense ?? 0, ...timed.map((trial) => trial.ms)) * 1.06 || 1;
  const y = linear(0, high, area.bottom, area.top);

  for (const tick of ticks(0, high, 5)) {
    root.append(svg("line", { class: tick === 0 ? "zero" : "grid", x1: area.left, x2: area.right, y1: y(tick), y2: y(tick) }));
    root.append(svg("text", { x: area.left - 7, y: y(tick) + 4, "text-anchor": "end" }, round(tick)));
  }
  for (const { place, text } of x.ticks) {
    root.append(svg("line", { class: "grid", x1: place, x2: place, y1: area.top, y2: area.bottom }));
    root.append(svg("text", { x: place, y: area.bottom + 17, "text-anchor": "middle" }, text));
  }
  root.append(svg("text", { x: area.left - 7, y: 12, "text-anchor": "end" }, "ms"));
  root.append(svg("text", { x: area.right, y: height - 4, "text-anchor": "end" }, "relative rms error of the layer"));
  if (layer.dense !== null) {
    root.append(svg("line", { class: "dense", x1: area.left, x2: area.right, y1: y(layer.dense), y2: y(layer.dense) }));
    root.append(svg("text", { class: "strong", x: area.right, y: y(layer.dense) - 5, "text-anchor": "end" }, `dense ${milliseconds(layer.dense)}`));
  }
  drawPoints(root, layer, x, y, area, readout);
}

function drawPoints(root, layer, x, y, area, readout) {
  layer.trials.forEach((trial, place) => {
    if (trial.error === null) return;
    const best = place === layer.chosen, at = x(trial.error);
    const kind = (best ? " best" : "") + (trial.ratio === null ? "" : " clusters");
    const mark = trial.ms === null
      ? svg("line", { class: "untimed", x1: at, x2: at, y1: area.top - 12, y2: area.top - 4 })
      : svg("circle", { class: `trial${kind}`, cx: at, cy: y(trial.ms), r: best ? 6 : 4.5 });
    mark.append(svg("title", {}, describeTrial(trial)));
    for (const event of ["pointerenter", "click"]) {
      mark.addEventListener(event, () => { readout.textContent = describeTrial(trial); });
    }
    if (best && trial.ms !== null) root.append(svg("circle", { class: "ring", cx: at, cy: y(trial.ms), r: 10 }));
    root.append(mark);
  });
}

function describeTrial(trial) {
  const time = trial.ms === null ? "not timed" : milliseconds(trial.ms);
  const ratio = trial.ratio === null ? "" : `, r_c ${trial.ratio.toFixed(3)}`;
  const error = trial.error === null ? "error not known" : `error ${scientific(trial.error)}`;
  return `${trial.setting}: ${time}, ${error}${ratio}`;
}

/** Decades; errors of zero, which a logarithm has no place for, stand at the left as "0". */
function errorScale(errors, area) {
  const positive = errors.filter((error) => error > 0);
  const zero = positive.length < errors.length;
  const exponents = positive.map(Math.log10);
  const first = positive.length ? Math.floor(Math.min(...exponents)) : 0;
  const last = Math.max(positive.length ? Math.ceil(Math.max(...exponents)) : 0, first + 1);
  const place = linear(first - (zero ? 1 : 0), last, area.left + 14, area.right - 14);
  const scale = (error) => place(error > 0 ? Math.log10(error) : first - 1);
  const stride = Math.ceil((last - first) / Math.max((area.right - area.left) / 60, 1));
  scale.ticks = [];
  if (positive.length) {
    for (let e = last; e >= first; e -= stride) scale.ticks.push({ place: place(e), text: powerOfTen(e) });
  }
  if (zero) scale.ticks.push({ place: place(first - 1), text: "0" });
  return scale;
}

/** How many sub-vector groups have which r_c, from 0 (all vectors alike) to 1 (none). */
function drawRatios(box, { counts, chosen, median }) {
  const { root, width, height } = drawing(box, 260, `Histogram of r_c, median ${median.toFixed(3)}`);
  const area = { left: 40, right: width - 8, top: 26, bottom: height - 40 };
  const high = Math.max(...counts) * 1.06;
  const x = linear(0, 1, area.left, area.right), y = linear(0, high, area.bottom, area.top);
  for (const tick of ticks(0, high, 4).filter(Number.isInteger)) {
    root.append(svg("line", { class: tick === 0 ? "zero" : "grid", x1: area.left, x2: area.right, y1: y(tick), y2: y(tick) }));
    root.append(svg("text", { x: area.left - 7, y: y(tick) + 4, "text-anchor": "end" }, round(tick)));
  }
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    root.append(svg("text", { x: x(tick), y: area.bottom + 17, "text-anchor": "middle" }, String(tick)));
  }
  counts.forEach((count, place) => {
    const from = x(place / counts.length), to = x((place + 1) / counts.length);
    const text = `r_c ${round(place / counts.length)} to ${round((place + 1) / counts.length)}: ${count} groups`;
    root.append(svg("rect", {
      class: `bar ${chosen ? "ratio" : "tried"}`, x: from + 0.5, y: y(count), width: Math.max(to - from - 1, 0.5), height: area.bottom - y(count),
    }, svg("title", {}, text)));
  });
  root.append(svg("line", { class: "median", x1: x(median), x2: x(median), y1: area.top, y2: area.bottom }));
  const anchor = median > 0.5 ? "end" : "start", side = median > 0.5 ? -5 : 5;
  root.append(svg("text", { class: "strong", x: x(median) + side, y: area.top - 6, "text-anchor": anchor }, `median ${median.toFixed(3)}`));
  root.append(svg("text", { x: area.right, y: height - 4, "text-anchor": "end" }, "r_c"));
}
