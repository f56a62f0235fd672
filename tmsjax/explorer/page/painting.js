// Draws the map: cells, phase boundaries, frames around cells, axes.

import { axisScale, axisTicks, drawAxes } from "./axes.js";
import { MASKED, pixel } from "./colours.js";
import { sized } from "./dom.js";
import { indices } from "./grid.js";
import { borders } from "./outline.js";
import { NOTHING } from "./run.js";

/** @typedef {import("./grid.js").Cell} Cell */
/** @typedef {import("./grid.js").Grid} Grid */
/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").View} View */

const LEFT = 62;
const TOP = 8;
const RIGHT = 12;
const BOTTOM = 42;
const SHAPE = 0.8; // height over width of the cells' area
const DASHES = /** @type {Record<string, number[]>} */ ({ candidate: [5, 4], exact: [] });

export class Painting {
  /**
   * @param {Explored} run
   * @param {Grid} grid
   * @param {HTMLCanvasElement} canvas
   */
  constructor(run, grid, canvas) {
    this.run = run;
    this.grid = grid;
    this.canvas = canvas;
    /** Colour of every cell of the slice, row by row. */
    this.tones = new Uint32Array(run.rows * run.columns);
    /** @type {Record<string, import("./outline.js").Point[][]>} */
    this.lines = {};
    /** Where the cells lie on the canvas; of width 0 before the first `resize`. */
    this.box = { left: LEFT, top: TOP, width: 0, height: 0 };
    this.size = [0, 0];
    this.below = document.createElement("canvas"); // what the cursor does not change
    this.layered = ""; // what `below` shows
    this.version = 0; // of the colours and boundaries
    this.masked = false; // whether a cell has the colour for "no usable model"
  }

  /**
   * Fits the map into a width in CSS pixels.
   * @param {number} width
   */
  resize(width) {
    const inner = Math.max(width - LEFT - RIGHT, 120);
    this.box = { left: LEFT, top: TOP, width: inner, height: Math.round(inner * SHAPE) };
    this.size = [width, this.box.height + TOP + BOTTOM];
  }

  /**
   * Recolours all cells and finds the phase boundaries again.
   * @param {View} view
   * @param {import("./quantities.js").Quantity} quantity
   */
  colour(view, quantity) {
    const { run } = this;
    this.version += 1;
    this.masked = false;
    const first = run.cell(view.others, 0, 0);
    for (let k = 0; k < this.tones.length; k++) {
      const colour = quantity.colour(first + k);
      if (colour === MASKED) this.masked = true;
      this.tones[k] = pixel(colour);
    }
    for (const name of run.about.theories) {
      const phases = run.cells[`theory_${name}`];
      this.lines[name] = borders(
        (row, column) => phases.at(first + row * run.columns + column),
        run.rows,
        run.columns,
        NOTHING,
      );
    }
  }

  /**
   * @param {View} view
   * @param {Cell | null} hovered
   */
  draw(view, hovered) {
    if (!this.box.width) return;
    const wanted = [view.zoom, view.curves, this.size, this.version, window.devicePixelRatio].join();
    if (wanted !== this.layered) {
      this.layered = wanted;
      this.layer(view);
    }
    const c = sized(this.canvas, this.size[0], this.size[1]);
    c.drawImage(this.below, 0, 0, this.size[0], this.size[1]);
    if (view.beside) this.frame(c, view, view.beside, [3, 2], 2.5);
    if (view.cell) this.frame(c, view, view.cell, [], 2.5);
    if (hovered) this.frame(c, view, hovered, [], 1);
    this.axes(c, view);
  }

  /**
   * Draws what the cursor does not change: the cells and the boundaries.
   * @private
   * @param {View} view
   */
  layer(view) {
    const { box } = this;
    const c = sized(this.below, this.size[0], this.size[1]);
    c.beginPath();
    c.rect(box.left, box.top, box.width, box.height);
    c.clip();
    this.paint(c, view);
    for (const name of view.curves) this.trace(c, view, name);
  }

  /**
   * Cells, one pixel of the screen after the other: each has the colour of the cell at its middle.
   * @private
   * @param {CanvasRenderingContext2D} c
   * @param {View} view
   */
  paint(c, view) {
    const { box, tones, run, grid } = this;
    const [k, x, y] = view.zoom;
    const dense = c.getTransform().a;
    const [width, height] = [Math.round(box.width * dense), Math.round(box.height * dense)];
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const columns = indices(grid.x, width, k, x);
    const rows = indices(grid.y, height, k, y);
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

  /**
   * The boundary of a theory's phases.
   * @private
   * @param {CanvasRenderingContext2D} c
   * @param {View} view
   * @param {string} name
   */
  trace(c, view, name) {
    const { grid } = this;
    const at = (/** @type {Float64Array} */ edges, /** @type {number} */ k) => {
      const below = Math.floor(k);
      const middle = (/** @type {number} */ j) => (edges[j] + edges[j + 1]) / 2;
      return k === below ? middle(below) : edges[below + 1];
    };
    for (const [width, colour] of /** @type {[number, string][]} */ ([
      [3.2, "rgba(255,255,255,0.75)"],
      [1.4, "#000000"],
    ])) {
      c.lineWidth = width;
      c.strokeStyle = colour;
      c.setLineDash(DASHES[name] ?? []);
      c.beginPath();
      for (const points of this.lines[name] ?? []) {
        points.forEach(([column, row], k) => {
          const place = this.spot(view, at(grid.x, column), at(grid.y, row));
          if (k) c.lineTo(...place);
          else c.moveTo(...place);
        });
      }
      c.stroke();
    }
    c.setLineDash([]);
  }

  /**
   * The place on the canvas of shares of the whole map.
   * @private
   * @param {View} view
   * @param {number} u
   * @param {number} v
   * @returns {[number, number]}
   */
  spot(view, u, v) {
    const { left, top, width, height } = this.box;
    const [k, x, y] = view.zoom;
    return [left + (u * k + x) * width, top + (v * k + y) * height];
  }

  /**
   * @private
   * @param {CanvasRenderingContext2D} c
   * @param {View} view
   * @param {Cell} cell
   * @param {number[]} dash
   * @param {number} width
   */
  frame(c, view, cell, dash, width) {
    const { box } = this;
    const { x, y } = this.grid;
    const corners = [this.spot(view, x[cell[1]], y[cell[0]]), this.spot(view, x[cell[1] + 1], y[cell[0] + 1])];
    const [left, right] = [corners[0][0], corners[1][0]].sort((a, b) => a - b);
    const [top, bottom] = [corners[0][1], corners[1][1]].sort((a, b) => a - b);
    if (right < box.left || left > box.left + box.width || bottom < box.top || top > box.top + box.height) return;
    const more = Math.max(0, (9 - (right - left)) / 2); // a frame around a tiny cell is larger than the cell
    const place = /** @type {[number, number, number, number]} */ ([
      left - more,
      top - more,
      right - left + 2 * more,
      bottom - top + 2 * more,
    ]);
    c.strokeStyle = "#ffffff";
    c.lineWidth = width + 2;
    c.strokeRect(...place);
    c.strokeStyle = "#000000";
    c.lineWidth = width;
    c.setLineDash(dash);
    c.strokeRect(...place);
    c.setLineDash([]);
  }

  /**
   * @private
   * @param {CanvasRenderingContext2D} c
   * @param {View} view
   */
  axes(c, view) {
    const { run, box } = this;
    const [k, shiftX, shiftY] = view.zoom;
    const transform = d3.zoomIdentity.translate(shiftX * box.width, shiftY * box.height).scale(k);
    const placed = (/** @type {any} */ scale, /** @type {number} */ start) => {
      const out = scale.copy();
      const range = scale.range();
      return out.range(range.map((/** @type {number} */ v) => v + start));
    };
    const xScale = transform.rescaleX(axisScale(run.x, [0, box.width]));
    const yScale = run.y ? transform.rescaleY(axisScale(run.y, [box.height, 0])) : null;
    const x = {
      scale: placed(xScale, box.left),
      ticks: axisTicks(run.x, xScale, Math.floor(box.width / 80)),
      label: run.x.label,
    };
    const y =
      run.y && yScale
        ? {
            scale: placed(yScale, box.top),
            ticks: axisTicks(run.y, yScale, Math.floor(box.height / 50)),
            label: run.y.label,
          }
        : { scale: d3.scaleLinear(), ticks: [], label: "" };
    drawAxes(c, box, x, y);
  }
}
