// The map: a canvas of cells with axes, phase boundaries and a cursor; zoom, pan, hover, click and keys.

import { axisScale, axisTicks, drawAxes } from "./axes.js";
import { pixel } from "./colours.js";
import { sized } from "./dom.js";
import { borders } from "./outline.js";
import { chosenQuantity } from "./quantities.js";
import { NOTHING } from "./run.js";
import { MOST_ZOOM } from "./state.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").View} View */

const LEFT = 62;
const TOP = 8;
const RIGHT = 12;
const BOTTOM = 42;
const SHAPE = 0.8; // height over width of the cells' area
const DASHES = /** @type {Record<string, number[]>} */ ({ candidate: [5, 4], exact: [] });
const KEYS = /** @type {Record<string, [number, number]>} */ ({
  ArrowUp: [1, 0],
  ArrowDown: [-1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [10, 0],
  PageDown: [-10, 0],
});

export class PhaseMap {
  /** @param {Explored} run @param {State} state @param {HTMLCanvasElement} canvas @param {(cell: [number, number] | null) => void} told called when the pointer is over a cell */
  constructor(run, state, canvas, told) {
    this.run = run;
    this.state = state;
    this.canvas = canvas;
    this.told = told;
    this.upX = ascending(run.x.edges);
    this.upY = run.y ? ascending(run.y.edges) : true;
    /** @type {Uint32Array} colour of every cell of the slice, row by row */
    this.tones = new Uint32Array(run.rows * run.columns);
    /** @type {Record<string, import("./outline.js").Point[][]>} */
    this.lines = {};
    /** @type {[number, number] | null} */
    this.hovered = null;
    /** Where the cells lie on the canvas; of width 0 before the first `resize`. */
    this.box = { left: LEFT, top: TOP, width: 0, height: 0 };
    this.size = [0, 0];
    this.below = document.createElement("canvas");
    this.layered = "";
    this.version = 0; // of the colours and boundaries
    this.edges = { x: shares(run.x, [0, 1]), y: run.y ? shares(run.y, [1, 0]) : Float64Array.from([1, 0]) };
    this.zoom = d3.zoom();
    this.listen();
  }

  /** @private */
  listen() {
    const { canvas } = this;
    const selected = /** @type {any} */ (d3.select(canvas));
    this.zoom
      .scaleExtent([1, MOST_ZOOM])
      .filter((/** @type {any} */ event) => {
        if (event.type === "wheel") return event.ctrlKey || event.metaKey || document.activeElement === canvas;
        if (event.type.startsWith("touch")) return event.touches.length > 1 || this.state.view.zoom[0] > 1;
        return !event.button;
      })
      .on("zoom", (/** @type {any} */ event) => {
        const { k, x, y } = event.transform; // of places on the canvas
        const { left, top, width, height } = this.box;
        const zoom = /** @type {[number, number, number]} */ ([k, (x + left * (k - 1)) / width, (y + top * (k - 1)) / height]);
        if (event.sourceEvent) this.state.change({ zoom });
      });
    selected.call(this.zoom).on("dblclick.zoom", null);
    canvas.addEventListener("click", (event) => {
      const cell = this.under(event);
      if (cell) this.state.change(event.shiftKey ? { beside: cell } : { cell, model: "" });
    });
    canvas.addEventListener("pointermove", (event) => this.hover(this.under(event)));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("keydown", (event) => this.press(event));
  }

  /** @private @param {[number, number] | null} cell */
  hover(cell) {
    if (String(cell) === String(this.hovered)) return;
    this.hovered = cell;
    this.told(cell);
    this.draw();
  }

  /** @private @param {KeyboardEvent} event */
  press(event) {
    const { view } = this.state;
    const { rows, columns } = this.run;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in KEYS) {
      const [up, right] = KEYS[event.key];
      const [row, column] = view.cell ?? [Math.floor(rows / 2), Math.floor(columns / 2)];
      const within = (/** @type {number} */ v, /** @type {number} */ size) => Math.min(Math.max(v, 0), size - 1);
      const step = event.shiftKey ? 10 : 1;
      const cell = /** @type {[number, number]} */ ([
        within(row + step * (this.upY ? up : -up), rows),
        within(column + step * (this.upX ? right : -right), columns),
      ]);
      this.state.change({ cell: view.cell ? cell : [row, column], model: "" });
      this.show(this.state.view.cell);
    } else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.reset();
    else if (event.key === "b") this.state.change({ beside: view.beside ? null : view.cell });
    else if (event.key === "Escape") this.state.change({ cell: null, beside: null });
    else return;
    event.preventDefault();
  }

  /** Zooms around the chosen cell, or else the middle. @param {number} factor */
  zoomBy(factor) {
    const { view } = this.state;
    const [k, x, y] = view.zoom;
    const next = Math.min(Math.max(k * factor, 1), MOST_ZOOM);
    const [u, v] = view.cell ? this.middle(view.cell) : [(0.5 - x) / k, (0.5 - y) / k];
    this.moveTo(next, 0.5 - u * next, 0.5 - v * next);
  }

  reset() {
    this.moveTo(1, 0, 0);
  }

  /** The part of the map that is seen, as options of `tmsjax explore`. */
  shownPart() {
    const { run } = this;
    const [k, x, y] = this.state.view.zoom;
    const part = (/** @type {import("./run.js").AxisFacts} */ axis, /** @type {Float64Array} */ edges, /** @type {number} */ shift) => {
      if (axis.scale === "names") return "";
      const ends = [-shift / k, (1 - shift) / k].map((at) => Number(axis.values[Math.max(found(edges, Math.min(Math.max(at, 0), 1)), 0)]));
      return `--region ${axis.name}=${Math.min(...ends)}:${Math.max(...ends)}`;
    };
    return [part(run.x, this.edges.x, x), run.y ? part(run.y, this.edges.y, y) : ""].filter(Boolean).join(" ");
  }

  /** Moves the map so that a cell can be seen. @private @param {[number, number] | null} cell */
  show(cell) {
    if (!cell) return;
    const [k, x, y] = this.state.view.zoom;
    const [u, v] = this.middle(cell);
    const seen = (/** @type {number} */ at) => at >= 0 && at <= 1;
    if (!seen(u * k + x) || !seen(v * k + y)) this.moveTo(k, 0.5 - u * k, 0.5 - v * k);
  }

  /** @private @param {number} k @param {number} x @param {number} y */
  moveTo(k, x, y) {
    const within = (/** @type {number} */ shift) => Math.min(Math.max(shift, 1 - k), 0);
    this.state.change({ zoom: [k, within(x), within(y)] });
  }

  /** The middle of a cell as shares of the width and height of the whole map, from the top left. @private @param {[number, number]} cell */
  middle(cell) {
    const at = (/** @type {Float64Array} */ edges, /** @type {number} */ k) => (edges[k] + edges[k + 1]) / 2;
    return [at(this.edges.x, cell[1]), at(this.edges.y, cell[0])];
  }

  /** Fits the map into a width in CSS pixels. @param {number} width */
  resize(width) {
    const inner = Math.max(width - LEFT - RIGHT, 120);
    this.box = { left: LEFT, top: TOP, width: inner, height: Math.round(inner * SHAPE) };
    this.size = [width, this.box.height + TOP + BOTTOM];
    const { box } = this;
    const corners = /** @type {[[number, number], [number, number]]} */ ([[box.left, box.top], [box.left + box.width, box.top + box.height]]);
    this.zoom.extent(corners).translateExtent(corners);
    this.draw();
  }

  /** Recolours all cells and finds the phase boundaries again. */
  colour() {
    const { run } = this;
    const { view } = this.state;
    const quantity = chosenQuantity(run, view);
    this.version += 1;
    const first = run.cell(view.others, 0, 0);
    for (let k = 0; k < this.tones.length; k++) this.tones[k] = pixel(quantity.colour(first + k));
    for (const name of run.about.theories) {
      const phases = run.cells[`theory_${name}`];
      this.lines[name] = borders((row, column) => phases.at(first + row * run.columns + column), run.rows, run.columns, NOTHING);
    }
    this.draw();
  }

  draw() {
    const { canvas, box } = this;
    if (!box.width) return;
    const { view } = this.state;
    const [k, x, y] = view.zoom;
    const transform = d3.zoomIdentity.translate(x * box.width, y * box.height).scale(k);
    /** @type {any} */ (canvas).__zoom = d3.zoomIdentity.translate(x * box.width - box.left * (k - 1), y * box.height - box.top * (k - 1)).scale(k);
    const wanted = [view.zoom, view.curves, this.size, this.version, window.devicePixelRatio].join();
    if (wanted !== this.layered) {
      this.layered = wanted;
      this.layer();
    }
    const c = sized(canvas, this.size[0], this.size[1]);
    c.drawImage(this.below, 0, 0, this.size[0], this.size[1]);
    for (const [cell, dash] of /** @type {[[number, number] | null, number[]][]} */ ([[view.beside, [3, 2]], [view.cell, []]])) if (cell) this.frame(c, cell, dash, 2.5);
    if (this.hovered) this.frame(c, this.hovered, [], 1);
    this.axes(c, transform);
  }

  /** Draws what the cursor does not change: the cells and the boundaries. @private */
  layer() {
    const { box } = this;
    const c = sized(this.below, this.size[0], this.size[1]);
    c.beginPath();
    c.rect(box.left, box.top, box.width, box.height);
    c.clip();
    this.paint(c);
    for (const name of this.state.view.curves) this.trace(c, name);
  }

  /** Cells, one pixel of the screen after the other: each has the colour of the cell at its middle. @private @param {CanvasRenderingContext2D} c */
  paint(c) {
    const { box, tones, run } = this;
    const [k, x, y] = this.state.view.zoom;
    const dense = c.getTransform().a;
    const [width, height] = [Math.round(box.width * dense), Math.round(box.height * dense)];
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const columns = indices(this.edges.x, width, k, x);
    const rows = indices(this.edges.y, height, k, y);
    for (let v = 0; v < height; v++) {
      if (v > 0 && rows[v] === rows[v - 1]) {
        pixels.copyWithin(v * width, (v - 1) * width, v * width);
        continue;
      }
      const start = rows[v] * run.columns;
      for (let u = 0; u < width; u++) pixels[v * width + u] = tones[start + columns[u]];
    }
    c.putImageData(image, Math.round(box.left * dense), Math.round(box.top * dense));
  }

  /** The boundary of a theory's phases. @private @param {CanvasRenderingContext2D} c @param {string} name */
  trace(c, name) {
    const at = (/** @type {Float64Array} */ edges, /** @type {number} */ k) => {
      const below = Math.floor(k);
      const middle = (/** @type {number} */ j) => (edges[j] + edges[j + 1]) / 2;
      return k === below ? middle(below) : edges[below + 1];
    };
    for (const [width, colour] of /** @type {[number, string][]} */ ([[3.2, "rgba(255,255,255,0.75)"], [1.4, "#000000"]])) {
      c.lineWidth = width;
      c.strokeStyle = colour;
      c.setLineDash(DASHES[name] ?? []);
      c.beginPath();
      for (const points of this.lines[name] ?? []) {
        points.forEach(([column, row], k) => {
          const place = this.spot(at(this.edges.x, column), at(this.edges.y, row));
          if (k) c.lineTo(...place);
          else c.moveTo(...place);
        });
      }
      c.stroke();
    }
    c.setLineDash([]);
  }

  /** The place on the canvas of shares of the whole map. @private @param {number} u @param {number} v @returns {[number, number]} */
  spot(u, v) {
    const { left, top, width, height } = this.box;
    const [k, x, y] = this.state.view.zoom;
    return [left + (u * k + x) * width, top + (v * k + y) * height];
  }

  /** @private @param {CanvasRenderingContext2D} c @param {[number, number]} cell @param {number[]} dash @param {number} width */
  frame(c, cell, dash, width) {
    const { box } = this;
    const { x, y } = this.edges;
    const corners = [this.spot(x[cell[1]], y[cell[0]]), this.spot(x[cell[1] + 1], y[cell[0] + 1])];
    const [left, right] = [corners[0][0], corners[1][0]].sort((a, b) => a - b);
    const [top, bottom] = [corners[0][1], corners[1][1]].sort((a, b) => a - b);
    if (right < box.left || left > box.left + box.width || bottom < box.top || top > box.top + box.height) return;
    const more = Math.max(0, (9 - (right - left)) / 2); // a frame around a tiny cell is larger than the cell
    const place = /** @type {[number, number, number, number]} */ ([left - more, top - more, right - left + 2 * more, bottom - top + 2 * more]);
    c.strokeStyle = "#ffffff";
    c.lineWidth = width + 2;
    c.strokeRect(...place);
    c.strokeStyle = "#000000";
    c.lineWidth = width;
    c.setLineDash(dash);
    c.strokeRect(...place);
    c.setLineDash([]);
  }

  /** @private @param {CanvasRenderingContext2D} c @param {any} transform */
  axes(c, transform) {
    const { run, box } = this;
    const placed = (/** @type {any} */ scale, /** @type {number} */ start) => {
      const out = scale.copy();
      const range = scale.range();
      return out.range(range.map((/** @type {number} */ v) => v + start));
    };
    const xScale = transform.rescaleX(axisScale(run.x, [0, box.width]));
    const yScale = run.y ? transform.rescaleY(axisScale(run.y, [box.height, 0])) : null;
    const x = { scale: placed(xScale, box.left), ticks: axisTicks(run.x, xScale, Math.floor(box.width / 80)), label: run.x.label };
    const y = run.y && yScale
      ? { scale: placed(yScale, box.top), ticks: axisTicks(run.y, yScale, Math.floor(box.height / 50)), label: run.y.label }
      : { scale: d3.scaleLinear(), ticks: [], label: "" };
    drawAxes(c, box, x, y);
  }

  /** The cell under the pointer. @private @param {MouseEvent} event @returns {[number, number] | null} */
  under(event) {
    if (!this.box.width) return null;
    const { left, top, width, height } = this.box;
    const frame = this.canvas.getBoundingClientRect();
    const [k, x, y] = this.state.view.zoom;
    const u = ((event.clientX - frame.left - left) / width - x) / k;
    const v = ((event.clientY - frame.top - top) / height - y) / k;
    const column = found(this.edges.x, u);
    const row = found(this.edges.y, v);
    const inside = event.clientX >= frame.left + left && event.clientX <= frame.left + left + width && event.clientY <= frame.top + top + height;
    return inside && row >= 0 && column >= 0 ? [row, column] : null;
  }
}

/** Borders of the cells of an axis as shares of the whole map. @param {import("./run.js").AxisFacts} axis @param {[number, number]} range */
function shares(axis, range) {
  const scale = axisScale(axis, range);
  return Float64Array.from(axis.edges, (edge) => scale(edge));
}

/** @param {number[]} edges */
function ascending(edges) {
  return edges[edges.length - 1] >= edges[0];
}

/** The position between two borders that hold `at`, -1 if there is none. @param {Float64Array} edges @param {number} at */
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

/** For each of `count` pixels of the zoomed map the position of its cell. @param {Float64Array} edges @param {number} count @param {number} k @param {number} shift */
function indices(edges, count, k, shift) {
  const out = new Int32Array(count);
  for (let p = 0; p < count; p++) out[p] = Math.max(found(edges, ((p + 0.5) / count - shift) / k), 0);
  return out;
}
