// The view of sweeps that are no map: a chart of a measure along the axis, and a picture of every cell.

import { Dots } from "./charts.js";
import { ink, make, percent, short } from "./dom.js";
import { dimensionality, dimensionsPerFeature, norms } from "./measures.js";
import { settingOf } from "./cards.js";
import { featureTones, modelPicture, pictureKind } from "./pictures.js";
import { valueText } from "./run.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./charts.js").Dot} Dot */

const MOST_PICTURES = 60; // cells shown as pictures; of more, evenly spaced ones
const THUMB = 104;

/**
 * A measure along the axis. `of`: its values for one stored model; `best`: whether only the best model is drawn.
 * @typedef {{key: string, label: string, best: boolean, log?: boolean, ends?: [number, number], of: (replica: number, cell: number) => number[], text: (v: number) => string}} Along
 */

/**
 * The measures that this page can draw.
 * @param {Explored} run
 * @returns {Along[]}
 */
export function measuresAlong(run) {
  const model = (/** @type {number} */ replica, /** @type {number} */ cell) => run.parameters("", replica, cell);
  const { m, n } = run;
  /** @type {Along[]} */
  const out = [];
  if (run.about.directions && "W" in run.about.parameters) {
    const featured =
      (/** @type {typeof norms} */ of) => (/** @type {number} */ replica, /** @type {number} */ cell) => {
        const found = model(replica, cell);
        return found ? [...of(found.W, m, n)] : [];
      };
    const scalar =
      (/** @type {(W: Float64Array) => number} */ of) =>
      (/** @type {number} */ replica, /** @type {number} */ cell) => {
        const found = model(replica, cell);
        return found ? [of(found.W)] : [];
      };
    out.push({
      key: "dimensionality",
      label: "dimensionality D of each feature",
      best: true,
      ends: [-0.03, 1.05],
      of: featured(dimensionality),
      text: short,
    });
    out.push({ key: "norm", label: "norm of each feature", best: true, of: featured(norms), text: short });
    out.push({
      key: "dimensions",
      label: "dimensions per feature D*",
      best: false,
      of: scalar((W) => dimensionsPerFeature(W, m, n)),
      text: short,
    });
    out.push({
      key: "represented",
      label: "features represented",
      best: false,
      of: scalar((W) => norms(W, m, n).filter((norm) => norm >= run.about.represented).length),
      text: String,
    });
  }
  out.unshift({
    key: "loss",
    label: "noise-free loss",
    best: false,
    log: true,
    of: (replica, cell) => [run.number("loss", cell) * (1 + run.excessOverBest(replica, cell))],
    text: (v) => short(v, 4),
  });
  if ("excess_exact" in run.cells)
    out.push({
      key: "excess",
      label: "loss above the exact minimum",
      best: false,
      log: true,
      of: (replica, cell) => [run.excessOverExact(cell, run.excessOverBest(replica, cell))],
      text: percent,
    });
  out.push({
    key: "success",
    label: "share of inits that succeed",
    best: true,
    ends: [-0.03, 1.03],
    of: (_, cell) => [run.number("success", cell)],
    text: percent,
  });
  return out;
}

export class Strip {
  /**
   * @param {State} state
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} pictures
   * @param {(text: string) => void} told
   */
  constructor(state, canvas, pictures, told) {
    this.state = state;
    this.canvas = canvas;
    this.pictures = pictures;
    this.dots = new Dots(
      canvas,
      (dot) => told(dot ? dot.text : ""),
      (dot) => state.change({ cell: [0, dot.cell], model: "" }),
    );
    canvas.addEventListener("keydown", (event) => this.press(event));
    pictures.addEventListener("keydown", (event) => this.press(event));
    this.width = 600;
  }

  /**
   * @private
   * @param {KeyboardEvent} event
   */
  press(event) {
    const { run, view } = this.state;
    const steps = /** @type {Record<string, number>} */ ({
      ArrowLeft: -1,
      ArrowRight: 1,
      Home: -run.columns,
      End: run.columns,
    });
    if (event.key === "b") this.state.change({ beside: view.beside ? null : view.cell });
    else if (event.key === "Escape") this.state.change({ cell: null, beside: null });
    else if (event.key in steps) {
      const column = Math.min(Math.max((view.cell?.[1] ?? 0) + steps[event.key], 0), run.columns - 1);
      this.state.change({ cell: [0, column], model: "" });
    } else return;
    event.preventDefault();
  }

  /** @param {number} width */
  resize(width) {
    this.width = width;
    this.draw();
  }

  /**
   * The position of a column on the chart: its value, or its number if the axis has names.
   * @private
   * @param {number} column
   */
  place(column) {
    const { x } = this.state.run;
    return x.scale === "names" ? column : Number(x.values[column]);
  }

  /** Whether the axis needs a log scale: it is one, or its values span several powers of ten. @private */
  spread() {
    const { x } = this.state.run;
    const values = x.values.map(Number);
    return (
      x.scale === "log" ||
      (x.scale === "linear" && Math.min(...values) > 0 && Math.max(...values) > 20 * Math.min(...values))
    );
  }

  draw() {
    const { run, view } = this.state;
    const all = measuresAlong(run);
    const along = all.find((one) => one.key === view.measure) ?? all[0];
    const tones = featureTones(run);
    const { accent, muted } = ink();
    /** @type {Dot[]} */
    const dots = [];
    /** @type {[number, number][]} */
    const best = [];
    for (let column = 0; run.models && column < run.columns; column++) {
      const cell = run.cell(view.others, 0, column);
      const winner = run.bestStored(cell);
      const replicas = along.best ? [winner] : Array.from({ length: run.replicasKept }, (_, k) => k);
      for (const replica of replicas) {
        const values = along.of(replica, cell);
        values.forEach((value, i) => {
          const who =
            values.length > 1
              ? `feature ${i + 1}`
              : run.about.kept === "all" && !along.best
                ? `replica ${replica}`
                : "";
          const text = [valueText(run.x, column), who, `${along.label}: ${along.text(value)}`]
            .filter(Boolean)
            .join(", ");
          const colour = values.length > 1 ? tones[i] : replica === winner ? accent : muted;
          const dot = {
            x: this.place(column),
            y: value,
            colour,
            cell: column,
            text,
            large: values.length === 1 && replica === winner,
          };
          if (dot.large) dots.push(dot);
          else dots.unshift(dot);
          if (dot.large) best.push([dot.x, value]);
        });
      }
    }
    const series = best.length > 1 && run.x.scale !== "names" ? [{ points: best, colour: accent }] : [];
    const marked = view.cell ? this.place(view.cell[1]) : null;
    const x = {
      label: run.x.label,
      log: this.spread(),
      names: run.x.scale === "names" ? run.x.values.map(String) : undefined,
    };
    this.dots.draw(this.width, 300, dots, series, x, { label: along.label, log: along.log, ends: along.ends }, marked);
    this.canvas.setAttribute("aria-label", `Chart of ${along.label} along ${run.x.label}. Arrow keys choose a cell.`);
    this.showPictures();
  }

  /** @private */
  showPictures() {
    const { run, view } = this.state;
    if (!run.models || run.replicasKept === 0) return;
    const stride = Math.ceil(run.columns / MOST_PICTURES);
    const kind = pictureKind(run, run.about.study);
    const columns = Array.from({ length: run.columns }, (_, k) => k).filter(
      (k) => k % stride === 0 || k === view.cell?.[1],
    );
    const focused = this.pictures.contains(document.activeElement);
    this.pictures.replaceChildren(
      ...columns.map((column) => {
        const cell = run.cell(view.others, 0, column);
        const parameters = run.parameters("", run.bestStored(cell), cell);
        const model = {
          key: String(run.bestStored(cell)),
          title: valueText(run.x, column),
          parameters,
          loss: NaN,
          excess: NaN,
          phase: null,
          diverged: !parameters,
        };
        const drawn = parameters
          ? modelPicture(kind, model, settingOf(run, [model], cell, kind), THUMB)
          : make("div", { className: "absent small" }, "diverged");
        const pressed = String(view.cell?.[1] === column);
        return make(
          "button",
          {
            type: "button",
            className: "thumb",
            "aria-pressed": pressed,
            "data-column": String(column),
            onclick: () => this.state.change({ cell: [0, column], model: "" }),
          },
          drawn,
          make("span", {}, model.title),
        );
      }),
    );
    if (focused)
      /** @type {HTMLElement | null} */ (
        this.pictures.querySelector('[aria-pressed="true"]') ?? this.pictures.querySelector("button")
      )?.focus();
  }
}
