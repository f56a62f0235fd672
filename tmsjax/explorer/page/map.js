// The map: a canvas of cells with axes, phase boundaries and a cursor; zoom, pan, hover, click and keys.

import { Grid } from "./grid.js";
import { Painting } from "./painting.js";
import { MOST_ZOOM } from "./state.js";

/** @typedef {import("./grid.js").Cell} Cell */
/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").State} State */

const KEYS = /** @type {Record<string, [number, number]>} */ ({
  ArrowUp: [1, 0],
  ArrowDown: [-1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [10, 0],
  PageDown: [-10, 0],
});

export class PhaseMap {
  /**
   * @param {Explored} run
   * @param {State} state
   * @param {HTMLCanvasElement} canvas
   * @param {(cell: Cell | null) => void} told called when the pointer is over a cell
   */
  constructor(run, state, canvas, told) {
    this.run = run;
    this.state = state;
    this.canvas = canvas;
    this.told = told;
    this.grid = new Grid(run);
    this.painting = new Painting(run, this.grid, canvas);
    /** @type {Cell | null} */
    this.hovered = null;
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
        const { left, top, width, height } = this.painting.box;
        const zoom = /** @type {[number, number, number]} */ ([
          k,
          (x + left * (k - 1)) / width,
          (y + top * (k - 1)) / height,
        ]);
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

  /**
   * @private
   * @param {Cell | null} cell
   */
  hover(cell) {
    if (String(cell) === String(this.hovered)) return;
    this.hovered = cell;
    this.told(cell);
    this.draw();
  }

  /**
   * @private
   * @param {KeyboardEvent} event
   */
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
        within(row + step * (this.grid.upwards ? up : -up), rows),
        within(column + step * (this.grid.rightwards ? right : -right), columns),
      ]);
      this.state.change({ cell: view.cell ? cell : [row, column], model: "" });
      this.show(this.state.view.cell);
    } else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  /** Zooms around the chosen cell, or else the middle. @param {number} factor */
  zoomBy(factor) {
    const { view } = this.state;
    const [k, x, y] = view.zoom;
    const next = Math.min(Math.max(k * factor, 1), MOST_ZOOM);
    const [u, v] = view.cell ? this.grid.middle(view.cell) : [(0.5 - x) / k, (0.5 - y) / k];
    this.moveTo(next, 0.5 - u * next, 0.5 - v * next);
  }

  reset() {
    this.moveTo(1, 0, 0);
  }

  /**
   * Moves the map so that a cell can be seen.
   * @private
   * @param {Cell | null} cell
   */
  show(cell) {
    if (!cell) return;
    const [k, x, y] = this.state.view.zoom;
    const [u, v] = this.grid.middle(cell);
    const seen = (/** @type {number} */ at) => at >= 0 && at <= 1;
    if (!seen(u * k + x) || !seen(v * k + y)) this.moveTo(k, 0.5 - u * k, 0.5 - v * k);
  }

  /**
   * @private
   * @param {number} k
   * @param {number} x
   * @param {number} y
   */
  moveTo(k, x, y) {
    const within = (/** @type {number} */ shift) => Math.min(Math.max(shift, 1 - k), 0);
    this.state.change({ zoom: [k, within(x), within(y)] });
  }

  /**
   * Fits the map into a width in CSS pixels.
   * @param {number} width
   */
  resize(width) {
    this.painting.resize(width);
    const { left, top, width: across, height } = this.painting.box;
    const corners = /** @type {[Cell, Cell]} */ ([
      [left, top],
      [left + across, top + height],
    ]);
    this.zoom.extent(corners).translateExtent(corners);
    this.draw();
  }

  /**
   * Recolours all cells and finds the phase boundaries again.
   * @param {import("./quantities.js").Quantity} quantity
   */
  colour(quantity) {
    this.painting.colour(this.state.view, quantity);
    this.draw();
  }

  draw() {
    const { view } = this.state;
    const { left, top, width, height } = this.painting.box;
    const [k, x, y] = view.zoom;
    /** @type {any} */ (this.canvas).__zoom = d3.zoomIdentity
      .translate(x * width - left * (k - 1), y * height - top * (k - 1))
      .scale(k);
    this.painting.draw(view, this.hovered);
  }

  /** Whether a cell has no usable model. */
  get masked() {
    return this.painting.masked;
  }

  /** The part of the map that is seen, as options of `tmsjax explore`. */
  shownPart() {
    return this.grid.part(this.state.view.zoom);
  }

  /**
   * The cell under the pointer.
   * @private
   * @param {MouseEvent} event
   * @returns {Cell | null}
   */
  under(event) {
    const { left, top, width, height } = this.painting.box;
    const frame = this.canvas.getBoundingClientRect();
    const [u, v] = [(event.clientX - frame.left - left) / width, (event.clientY - frame.top - top) / height];
    return width ? this.grid.cellAt(u, v, this.state.view.zoom) : null;
  }
}
