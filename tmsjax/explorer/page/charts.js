// Charts: lines over one variable, and dots that answer the pointer.

import { drawAxes, scaleOf, ticksOf } from "./axes.js";
import { picture, sized } from "./dom.js";

/** @typedef {{points: [number, number][], colour: string, dash?: number[], width?: number}} Series */
/** @typedef {{x: number, y: number, colour: string, cell: number, text: string, large?: boolean}} Dot */
/**
 * An axis; `names` are those of the positions 0, 1, ...
 * @typedef {{label: string, log?: boolean, ends?: [number, number], names?: string[]}} Axis
 */

/**
 * The finite range of numbers, widened a little; positive numbers only on log axes.
 * @param {number[]} values
 * @param {boolean} log
 * @returns {[number, number]}
 */
function range(values, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    if (!Number.isFinite(v) || (log && v <= 0)) continue;
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  if (low > high) return log ? [0.1, 1] : [0, 1];
  if (log) return low === high ? [low / 2, high * 2] : [low * (low / high) ** 0.04, high * (high / low) ** 0.04];
  const more = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low - more, high + more];
}

/**
 * @param {number} width
 * @param {number} height
 */
function inside(width, height) {
  return { left: 58, top: 8, width: width - 68, height: height - 48 };
}

/**
 * @param {Axis} axis
 * @param {number[]} values
 * @param {[number, number]} pixels
 * @param {number} count
 */
function side(axis, values, pixels, count) {
  if (axis.names) {
    const scale = scaleOf(false, [-0.5, axis.names.length - 0.5], pixels);
    const stride = Math.ceil(axis.names.length / Math.max(count, 1));
    const ticks = axis.names.map((text, value) => ({ value, text })).filter(({ value }) => value % stride === 0);
    return { scale, ticks, label: axis.label };
  }
  const log = axis.log ?? false;
  const scale = scaleOf(log, axis.ends ?? range(values, log), pixels);
  return { scale, ticks: ticksOf(scale, count), label: axis.label };
}

/**
 * Lines.
 * @param {number} width
 * @param {number} height
 * @param {string} label text alternative
 * @param {Series[]} series
 * @param {Axis} x
 * @param {Axis} y
 */
export function lines(width, height, label, series, x, y) {
  return picture(width, height, label, (c) => {
    const box = inside(width, height);
    const all = series.flatMap((one) => one.points);
    const across = side(
      x,
      all.map((p) => p[0]),
      [box.left, box.left + box.width],
      Math.floor(box.width / 70),
    );
    const up = side(
      y,
      all.map((p) => p[1]),
      [box.top + box.height, box.top],
      Math.floor(box.height / 35),
    );
    drawAxes(c, box, across, up);
    c.save();
    c.beginPath();
    c.rect(box.left, box.top, box.width, box.height);
    c.clip();
    for (const one of series) {
      c.strokeStyle = one.colour;
      c.lineWidth = one.width ?? 1.8;
      c.setLineDash(one.dash ?? []);
      c.beginPath();
      let drawing = false;
      for (const [a, b] of one.points) {
        const [px, py] = [across.scale(a), up.scale(b)];
        if (!Number.isFinite(px) || !Number.isFinite(py)) drawing = false;
        else if (drawing) c.lineTo(px, py);
        else {
          c.moveTo(px, py);
          drawing = true;
        }
      }
      c.stroke();
    }
    c.restore();
  });
}

/** Dots on a canvas that stays, with the nearest one under the pointer told. */
export class Dots {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(dot: Dot | null) => void} told
   * @param {(dot: Dot) => void} chosen
   */
  constructor(canvas, told, chosen) {
    this.canvas = canvas;
    /** @type {Dot[]} */
    this.dots = [];
    /** @type {[number, number][]} */
    this.spots = [];
    canvas.addEventListener("pointermove", (event) => told(this.nearest(event, 12)));
    canvas.addEventListener("pointerleave", () => told(null));
    canvas.addEventListener("click", (event) => {
      const dot = this.nearest(event, 40);
      if (dot) chosen(dot);
    });
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {Dot[]} dots
   * @param {Series[]} series
   * @param {Axis} x
   * @param {Axis} y
   * @param {number | null} marked the x of a vertical line
   */
  draw(width, height, dots, series, x, y, marked) {
    const c = sized(this.canvas, width, height);
    const box = inside(width, height);
    const ys = [...dots.map((dot) => dot.y), ...series.flatMap((one) => one.points.map((p) => p[1]))];
    const across = side(
      x,
      dots.map((dot) => dot.x),
      [box.left, box.left + box.width],
      Math.floor(box.width / 70),
    );
    const up = side(y, ys, [box.top + box.height, box.top], Math.floor(box.height / 35));
    drawAxes(c, box, across, up);
    c.save();
    c.beginPath();
    c.rect(box.left, box.top, box.width, box.height);
    c.clip();
    if (marked !== null) {
      c.fillStyle = "rgba(128,128,128,0.25)";
      c.fillRect(across.scale(marked) - 5, box.top, 10, box.height);
    }
    for (const one of series) {
      c.strokeStyle = one.colour;
      c.lineWidth = one.width ?? 1.5;
      c.setLineDash(one.dash ?? []);
      c.beginPath();
      one.points.forEach(([a, b], k) =>
        k ? c.lineTo(across.scale(a), up.scale(b)) : c.moveTo(across.scale(a), up.scale(b)),
      );
      c.stroke();
      c.setLineDash([]);
    }
    this.dots = dots;
    this.spots = dots.map((dot) => [across.scale(dot.x), up.scale(dot.y)]);
    dots.forEach((dot, k) => {
      const [px, py] = this.spots[k];
      if (!Number.isFinite(px) || !Number.isFinite(py)) return;
      c.fillStyle = dot.colour;
      c.beginPath();
      c.arc(px, py, dot.large || dots.length < 100 ? 3.6 : 2, 0, 2 * Math.PI);
      c.fill();
    });
    c.restore();
  }

  /**
   * @private
   * @param {MouseEvent} event
   * @param {number} most distance in CSS pixels
   * @returns {Dot | null}
   */
  nearest(event, most) {
    const frame = this.canvas.getBoundingClientRect();
    let [best, distance] = [-1, most];
    this.spots.forEach(([x, y], k) => {
      const d = Math.hypot(event.clientX - frame.left - x, event.clientY - frame.top - y);
      if (d < distance) [best, distance] = [k, d];
    });
    return best < 0 ? null : this.dots[best];
  }
}
