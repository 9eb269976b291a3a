"use strict";

// Small parts of a drawing: elements, scales and how numbers are written.

/** An SVG element; children are elements or texts, and a text stays a text whatever it says. */
function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A drawing of the width of its box, in CSS pixels, so that text has the same size on every screen. */
function drawing(box, height, label) {
  const width = Math.max(box.clientWidth - padding(box), 200);
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  box.replaceChildren(root);
  return { root, width, height };
}

function padding(box) {
  const style = getComputedStyle(box);
  return parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
}

const linear = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);

/** About `count` round numbers from 0 or below to `to`. */
function ticks(from, to, count) {
  const rough = (to - from) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const first = Math.ceil(from / step - 1e-9), last = Math.floor(to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}

/** At least three significant digits, no exponent for times that people meet. */
function milliseconds(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return `${value < 0 ? "−" : ""}${size.toFixed(digits)} ms`;
}

const scientific = (value) => (value === 0 ? "0" : value.toExponential(1).replace(/([+-])(\d)$/, "$10$2"));
const round = (value) => String(Number(value.toPrecision(6)));
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const powerOfTen = (exponent) =>
  "10" + String(exponent).replace("-", "⁻").replace(/\d/g, (digit) => SUPERSCRIPTS[digit]);

/** The end of a long name tells layers apart, so the beginning goes. */
function shortened(name, pixels) {
  const letters = Array.from(name), room = Math.max(Math.floor(pixels / 6.6), 4);
  return letters.length <= room ? name : "…" + letters.slice(letters.length - room + 1).join("");
}
