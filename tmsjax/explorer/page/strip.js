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
 * @typedef {object} Along
 * @property {string} key
 * @property {string} label
 * @property {boolean} [best]
 * @property {boolean} [log]
 * @property {[number, number]} [ends] of the chart
 * @property {(replica: number, cell: number) => number[]} of
 * @property {(v: number) => string} text
 */

/**
 * The measures that this page can draw.
 * @param {Explored} run
 * @returns {Along[]}
 */
export function measuresAlong(run) {
  const best = run.replicasKept === 0; // losses of the best models are there without the models
  const over = (/** @type {number} */ replica, /** @type {number} */ cell) =>
    best ? 0 : run.excessOverBest(replica, cell);
  const loss = (/** @type {number} */ replica, /** @type {number} */ cell) => [
    run.number("loss", cell) * (1 + over(replica, cell)),
  ];
  const excess = (/** @type {number} */ replica, /** @type {number} */ cell) => [
    run.excessOverExact(cell, over(replica, cell)),
  ];
  const success = (/** @type {number} */ _, /** @type {number} */ cell) => [run.number("success", cell)];
  /** @type {Along[]} */
  const out = [{ key: "loss", label: "noise-free loss", best, log: true, of: loss, text: (v) => short(v, 4) }];
  if (run.about.directions && !best) out.push(...measuresOfW(run));
  if ("excess_exact" in run.cells)
    out.push({ key: "excess", label: "loss above the exact minimum", best, log: true, of: excess, text: percent });
  if ("success" in run.cells)
    out.push({
      key: "success",
      label: "share of inits that succeed",
      best: true,
      ends: [-0.03, 1.03],
      of: success,
      text: percent,
    });
  return out;
}

/**
 * @param {Explored} run
 * @returns {Along[]}
 */
function measuresOfW(run) {
  const { m, n, about } = run;
  const of =
    (/** @type {(W: Float64Array, m: number, n: number) => Iterable<number>} */ measure) =>
    (/** @type {number} */ replica, /** @type {number} */ cell) => {
      const found = run.parameters("model", replica, cell);
      return found ? [...measure(found.W, m, n)] : [];
    };
  const represented = (/** @type {Float64Array} */ W) => [
    norms(W, m, n).filter((norm) => norm >= about.represented).length,
  ];
  return [
    {
      key: "dimensionality",
      label: "dimensionality D of each feature",
      best: true,
      ends: [-0.03, 1.05],
      of: of(dimensionality),
      text: short,
    },
    { key: "norm", label: "norm of each feature", best: true, of: of(norms), text: short },
    {
      key: "dimensions",
      label: "dimensions per feature D*",
      of: of((W) => [dimensionsPerFeature(W, m, n)]),
      text: short,
    },
    { key: "represented", label: "features represented", of: of(represented), text: String },
  ];
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
    this.pictured = ""; // what the pictures show
  }

  /**
   * @private
   * @param {KeyboardEvent} event
   */
  press(event) {
    const { run, view } = this.state;
    const onwards = event.currentTarget === this.pictures || this.place(run.columns - 1) >= this.place(0) ? 1 : -1;
    const steps = /** @type {Record<string, number>} */ ({
      ArrowLeft: -onwards,
      ArrowRight: onwards,
      Home: -onwards * run.columns,
      End: onwards * run.columns,
    });
    if (event.key in steps) {
      const column = Math.min(Math.max((view.cell?.[1] ?? 0) + steps[event.key], 0), run.columns - 1);
      this.state.change({ cell: [0, column], model: "" });
    } else return;
    event.preventDefault();
  }

  /** @param {number} width */
  resize(width) {
    this.width = width;
    const { columns, replicasKept } = this.state.run;
    const rows = Math.ceil(Math.min(columns, MOST_PICTURES) / Math.max(Math.floor(width / (THUMB + 22)), 1));
    // room for the pictures before the models are read
    this.pictures.style.minHeight = replicasKept ? `${Math.min(rows * (THUMB + 40), 540)}px` : "";
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
    const [low, high] = [Number(x.values[0]), Number(x.values[x.values.length - 1])].sort((a, b) => a - b);
    return x.scale === "log" || (x.scale === "linear" && low > 0 && high > 20 * low);
  }

  /**
   * The dots of a cell: of each feature of the best model, or of each model.
   * @private
   * @param {Along} along
   * @param {number} column
   * @returns {Dot[]}
   */
  dotsOf(along, column) {
    const { run, view } = this.state;
    const { accent, muted } = ink();
    const tones = featureTones(run);
    const cell = run.cell(view.others, 0, column);
    const best = run.bestStored(cell);
    const replicas = along.best ? [best] : Array.from({ length: run.replicasKept }, (_, k) => k);
    return replicas.flatMap((replica) => {
      const values = along.of(replica, cell);
      const several = values.length > 1;
      return values.map((y, i) => {
        const who = several ? `feature ${i + 1}` : run.about.kept === "all" && !along.best ? `replica ${replica}` : "";
        const told = [valueText(run.x, column), who, `${along.label}: ${along.text(y)}`].filter(Boolean).join(", ");
        const colour = several ? tones[i] : replica === best ? accent : muted;
        return { x: this.place(column), y, colour, cell: column, text: told, large: !several && replica === best };
      });
    });
  }

  draw() {
    const { run, view } = this.state;
    const all = measuresAlong(run);
    const along = all.find((one) => one.key === view.measure) ?? all[0];
    const { accent } = ink();
    const dots = run.models ? Array.from({ length: run.columns }, (_, k) => this.dotsOf(along, k)).flat() : [];
    dots.sort((a, b) => Number(a.large) - Number(b.large)); // the best are drawn last
    const best = dots.filter((dot) => dot.large).map((dot) => /** @type {[number, number]} */ ([dot.x, dot.y]));
    const series = best.length > 1 && run.x.scale !== "names" ? [{ points: best, colour: accent }] : [];
    const marked = view.cell ? this.place(view.cell[1]) : null;
    const x = {
      label: run.x.label,
      log: this.spread(),
      names: run.x.scale === "names" ? run.x.values.map(String) : undefined,
    };
    this.dots.draw(this.width, 300, dots, series, x, { label: along.label, log: along.log, ends: along.ends }, marked);
    this.canvas.setAttribute("aria-label", `Chart of ${along.label} along ${run.x.label}. Arrow keys choose a cell.`);
    const wanted = [view.others, Boolean(run.models), ink().text, this.seldom(view.cell)].join();
    const focused = this.pictures.contains(document.activeElement);
    if (wanted !== this.pictured) this.showPictures();
    this.pictured = wanted;
    for (const button of this.pictures.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.column) === view.cell?.[1]));
    if (focused)
      /** @type {HTMLElement | null} */ (
        this.pictures.querySelector('[aria-pressed="true"]') ?? this.pictures.querySelector("button")
      )?.focus();
  }

  /** Every how many columns have a picture. @private */
  get stride() {
    return Math.ceil(this.state.run.columns / MOST_PICTURES);
  }

  /**
   * The column of a cell that has a picture only while it is chosen.
   * @private
   * @param {[number, number] | null} cell
   */
  seldom(cell) {
    return cell && cell[1] % this.stride ? cell[1] : null;
  }

  /** @private */
  showPictures() {
    const { run, view } = this.state;
    if (!run.models || run.replicasKept === 0) return;
    const kind = pictureKind(run, run.about.study);
    const columns = Array.from({ length: run.columns }, (_, k) => k).filter(
      (k) => k % this.stride === 0 || k === view.cell?.[1],
    );
    this.pictures.replaceChildren(
      ...columns.map((column) => {
        const cell = run.cell(view.others, 0, column);
        const parameters = run.parameters("model", run.bestStored(cell), cell);
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
        return make(
          "button",
          {
            type: "button",
            className: "thumb",
            "aria-pressed": "false",
            "data-column": String(column),
            onclick: () => this.state.change({ cell: [0, column], model: "" }),
          },
          drawn,
          make("span", {}, model.title),
        );
      }),
    );
  }
}
