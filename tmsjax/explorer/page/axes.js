// Scales of axes, from values to pixels, and how they are drawn.

import { ink } from "./dom.js";

/** @typedef {import("./run.js").AxisFacts} AxisFacts */
/** @typedef {{left: number, top: number, width: number, height: number}} Box */

/**
 * A logarithmic or linear scale of d3 over `ends`.
 * @param {boolean} log
 * @param {[number, number]} ends
 * @param {[number, number]} range
 * @returns {any}
 */
export function scaleOf(log, ends, range) {
  return (log ? d3.scaleLog() : d3.scaleLinear()).domain(ends).range(range);
}

/**
 * The scale of an axis of the sweep, such that its cells fill `range`; names lie at equal distances.
 * @param {AxisFacts} axis @param {[number, number]} range
 */
export function axisScale(axis, range) {
  const { edges } = axis;
  const ends = [edges[0], edges[edges.length - 1]].sort((a, b) => a - b);
  return scaleOf(axis.scale === "log", /** @type {[number, number]} */ (ends), range);
}

/**
 * Ticks of a scale with their labels: at most about `count`.
 * @param {any} scale
 * @param {number} count
 * @returns {{value: number, text: string}[]}
 */
export function ticksOf(scale, count) {
  const [low, high] = scale.domain();
  const short = high / low < 6; // too little for powers of ten
  let ticks = "base" in scale && short ? d3.scaleLinear().domain([low, high]).ticks(count) : scale.ticks(count);
  if ("base" in scale && !short) {
    const leading = (/** @type {number} */ v) => Math.round(v / 10 ** Math.floor(Math.log10(v) + 1e-9));
    for (const kept of [[1, 2, 5], [1]])
      if (ticks.length > count + 2) ticks = ticks.filter((/** @type {number} */ v) => kept.includes(leading(v)));
  }
  const stride = Math.ceil(ticks.length / (count + 2));
  return ticks
    .filter((/** @type {number} */ _, /** @type {number} */ k) => k % stride === 0)
    .map((/** @type {number} */ value) => ({ value, text: tickText(value) }));
}

/** @param {number} value */
function tickText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5))
    return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
  return String(Number(value.toPrecision(6))).replace(/^-/, "\u2212");
}

/**
 * Ticks of an axis of the sweep on a (zoomed) scale.
 * @param {AxisFacts} axis @param {any} scale @param {number} count
 */
export function axisTicks(axis, scale, count) {
  if (axis.scale !== "names") return ticksOf(scale, count);
  const [low, high] = scale.domain();
  const all = axis.values.map((value, k) => ({
    value: k + 0.5,
    text: typeof value === "string" ? value : tickText(value),
  }));
  const seen = all.filter((tick) => tick.value >= low && tick.value <= high);
  const stride = Math.ceil(seen.length / Math.max(count, 1));
  return seen.filter((_, k) => k % stride === 0);
}

/**
 * @param {string} text
 * @param {number} most
 */
function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}\u2026`;
}

/**
 * Draws the frame, ticks and labels of a plot.
 * @param {CanvasRenderingContext2D} c @param {Box} box
 * @param {{scale: any, ticks: {value: number, text: string}[], label: string}} x
 * @param {{scale: any, ticks: {value: number, text: string}[], label: string}} y
 */
export function drawAxes(c, box, x, y) {
  const { text, muted } = ink();
  const bottom = box.top + box.height;
  c.strokeStyle = muted;
  c.lineWidth = 1;
  c.strokeRect(box.left + 0.5, box.top + 0.5, box.width - 1, box.height - 1);
  c.fillStyle = text;
  c.textAlign = "center";
  c.textBaseline = "top";
  for (const tick of x.ticks) {
    const at = x.scale(tick.value);
    if (at < box.left - 0.5 || at > box.left + box.width + 0.5) continue;
    line(c, at, bottom, at, bottom + 4);
    c.fillText(cut(tick.text, 14), at, bottom + 6);
  }
  c.fillText(cut(x.label, Math.floor(box.width / 6)), box.left + box.width / 2, bottom + 21);
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const tick of y.ticks) {
    const at = y.scale(tick.value);
    if (at < box.top - 0.5 || at > bottom + 0.5) continue;
    line(c, box.left - 4, at, box.left, at);
    c.fillText(cut(tick.text, 12), box.left - 6, at);
  }
  c.save();
  c.translate(11, box.top + box.height / 2);
  c.rotate(-Math.PI / 2);
  c.textAlign = "center";
  c.fillText(cut(y.label, Math.floor(box.height / 6)), 0, 0);
  c.restore();
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 */
export function line(c, x0, y0, x1, y1) {
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  c.stroke();
}
