// Where the cells of the map lie: as shares of the width and height of the whole map, from the top left.

import { axisScale } from "./axes.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {[number, number]} Cell row and column */
/** @typedef {[number, number, number]} Zoom scale, and shift in units of the map's width and height */

export class Grid {
  /** @param {Explored} run */
  constructor(run) {
    this.run = run;
    this.x = shares(run.x, [0, 1]); // borders of the columns
    this.y = run.y ? shares(run.y, [1, 0]) : Float64Array.from([1, 0]); // of the rows
    this.rightwards = this.x[this.x.length - 1] > this.x[0];
    this.upwards = this.y[this.y.length - 1] < this.y[0];
  }

  /**
   * The middle of a cell.
   * @param {Cell} cell
   */
  middle(cell) {
    const at = (/** @type {Float64Array} */ edges, /** @type {number} */ k) => (edges[k] + edges[k + 1]) / 2;
    return [at(this.x, cell[1]), at(this.y, cell[0])];
  }

  /**
   * The cell at a place of the zoomed map, or null outside of it.
   * @param {number} u
   * @param {number} v
   * @param {Zoom} zoom
   * @returns {Cell | null}
   */
  cellAt(u, v, [k, x, y]) {
    if (u < 0 || u > 1 || v < 0 || v > 1) return null;
    const [row, column] = [found(this.y, (v - y) / k), found(this.x, (u - x) / k)];
    return row >= 0 && column >= 0 ? [row, column] : null;
  }

  /**
   * The part of the map that is seen, as options of `tmsjax explore`.
   * @param {Zoom} zoom
   */
  part([k, x, y]) {
    const { run } = this;
    const part = (
      /** @type {import("./run.js").AxisFacts} */ axis,
      /** @type {Float64Array} */ edges,
      /** @type {number} */ shift,
    ) => {
      if (axis.scale === "names") return "";
      const seen = [-shift / k, (1 - shift) / k].map((at) => found(edges, Math.min(Math.max(at, 0), 1)));
      const first = Math.min(...seen);
      const ends = [axis.edges[first], axis.edges[Math.max(...seen) + 1]].map((edge) => Number(edge.toPrecision(6)));
      return `--region ${axis.name}=${Math.min(...ends)}:${Math.max(...ends)}`;
    };
    return [part(run.x, this.x, x), run.y ? part(run.y, this.y, y) : ""].filter(Boolean).join(" ");
  }
}

/**
 * Borders of the cells of an axis as shares of the whole map.
 * @param {import("./run.js").AxisFacts} axis
 * @param {[number, number]} range
 */
function shares(axis, range) {
  const scale = axisScale(axis, range);
  return Float64Array.from(axis.edges, (edge) => scale(edge));
}

/**
 * The position between two borders that hold `at`, -1 if there is none.
 * @param {Float64Array} edges
 * @param {number} at
 */
function found(edges, at) {
  let [low, high] = [0, edges.length - 1];
  const up = edges[high] > edges[low];
  if ((at - edges[low]) * (at - edges[high]) > 0) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at >= edges[middle] === up) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * For each of `count` pixels of the zoomed map the position of its cell.
 * @param {Float64Array} edges
 * @param {number} count
 * @param {number} k
 * @param {number} shift
 */
export function indices(edges, count, k, shift) {
  const out = new Int32Array(count);
  for (let p = 0; p < count; p++) out[p] = Math.max(found(edges, ((p + 0.5) / count - shift) / k), 0);
  return out;
}
