// What the map can be coloured by: for each choice a number of every cell, its colour, its text and its legend.

import { paperColours, ramped, rgb, toneOf } from "./colours.js";
import { percent, short } from "./dom.js";
import { norms, superposition } from "./measures.js";
import { NOTHING } from "./run.js";

/** @typedef {import("./colours.js").RGB} RGB */
/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").View} View */
/**
 * @typedef {{kind: "square"} | {kind: "names", items: {name: string, colour: RGB}[]} |
 *   {kind: "ramp", low: string, high: string, colour: (share: number) => RGB}} Legend
 */
/**
 * @typedef {{key: string, label: string, value: (cell: number) => number, text: (value: number) => string,
 *   colour: (cell: number) => RGB, legend: Legend}} Quantity
 */

export const MASKED = /** @type {RGB} */ ([0, 0, 0]);
const LEAST_EXCESS = 1e-4;
const DIFFERENCES = ["same phase", "theory: superposition, trained: not", "other difference", "masked"];
const DIFFERENCE_COLOURS = ["#f0f0f0", "#d55e00", "#0072b2", "#000000"];

/** Phase, norm and superposition of every cell by the rule of the view. */
export class Selection {
  /**
   * @param {Explored} run
   * @param {View} view
   */
  constructor(run, view) {
    this.run = run;
    this.rule = `phase_${view.rule}` in run.cells ? view.rule : run.about.rules[0]; // before the models are read
    this.replica = view.replica;
    this.last = -1; // the cell of `model`
    /** @type {import("./measures.js").Parameters | null} */
    this.model = null;
    this.single = view.rule === "single" && run.models !== null && run.about.kept === "all";
  }

  /** @param {number} cell */
  phase(cell) {
    const { run } = this;
    if (this.single) return /** @type {any} */ (run.models).phase.at(this.replica * run.count + cell);
    const phases = run.cells[`phase_${this.rule}`];
    return phases ? phases.at(cell) : NOTHING;
  }

  /**
   * @param {number} cell
   * @param {number} feature
   */
  norm(cell, feature) {
    return this.measured("norm", norms, cell, feature);
  }

  /**
   * @param {number} cell
   * @param {number} feature
   */
  superposition(cell, feature) {
    return this.measured("superposition", superposition, cell, feature);
  }

  /** The loss over the exact minimum, minus 1. @param {number} cell */
  excess(cell) {
    const { run } = this;
    return run.excessOverExact(cell, this.single ? run.excessOverBest(this.replica, cell) : 0);
  }

  /** @param {number} cell */
  loss(cell) {
    const { run } = this;
    return run.number("loss", cell) * (1 + (this.single ? run.excessOverBest(this.replica, cell) : 0));
  }

  /**
   * @private
   * @param {string} name
   * @param {typeof norms} of
   * @param {number} cell
   * @param {number} feature
   */
  measured(name, of, cell, feature) {
    const { run } = this;
    if (this.single) {
      if (this.last !== cell) this.model = run.parameters("", this.replica, cell);
      this.last = cell;
      return this.model ? of(this.model.W, run.m, run.n)[feature] : NaN;
    }
    const array = run.cells[`${name}_${this.rule}`];
    const at = run.shown(feature);
    return array && at >= 0 ? array.at(at * run.count + cell) : NaN;
  }
}

/**
 * How a trained phase differs from a theory's: index into DIFFERENCES.
 * @param {number} trained
 * @param {number} expected
 * @param {number} shared
 */
function difference(trained, expected, shared) {
  if (trained === NOTHING) return 3;
  return trained === expected ? 0 : expected === shared ? 1 : 2;
}

/**
 * Every quantity that this page can colour by, under the view's rule and feature.
 * @param {Explored} run @param {View} view @returns {Quantity[]}
 */
export function quantities(run, view) {
  const { about } = run;
  const { colours } = about;
  const chosen = new Selection(run, view);
  const ramp = ramped(colours.ramp);
  const feature = view.feature;
  const shared = about.phases.length - 1;
  /** @type {Quantity[]} */
  const out = [];

  /**
   * @param {string} key
   * @param {string} label
   * @param {(cell: number) => number} value
   * @param {(v: number) => string} text
   * @param {(v: number) => RGB} colour
   * @param {Legend} legend
   */
  const add = (key, label, value, text, colour, legend) => {
    out.push({
      key,
      label,
      value,
      text,
      legend,
      colour: (cell) => {
        const v = value(cell);
        return Number.isNaN(v) ? MASKED : colour(v);
      },
    });
  };
  /**
   * @param {string} key
   * @param {string} label
   * @param {string[]} names
   * @param {(RGB)[]} tones
   * @param {(cell: number) => number} value
   */
  const addNames = (key, label, names, tones, value) => {
    const items = names.map((name, k) => ({ name, colour: tones[k] }));
    add(
      key,
      label,
      value,
      (v) => names[v] ?? "masked",
      (v) => tones[v] ?? MASKED,
      { kind: "names", items },
    );
  };
  /**
   * @param {string} key
   * @param {string} label
   * @param {(cell: number) => number} value
   * @param {(v: number) => string} text
   * @param {[number, number]} ends
   * @param {boolean} [log]
   * @param {[string, string]} [told]
   */
  const addRamp = (key, label, value, text, ends, log = false, told) => {
    const place = (/** @type {number} */ v) =>
      log
        ? Math.log(Math.max(v, ends[0]) / ends[0]) / (Math.log(ends[1] / ends[0]) || 1)
        : (v - ends[0]) / (ends[1] - ends[0] || 1);
    const [low, high] = told ?? [text(ends[0]), text(ends[1])];
    add(key, label, value, text, (v) => ramp(place(v)), { kind: "ramp", low, high, colour: ramp });
  };

  if (about.mapped_phases) {
    const paper = paperColours(colours.paper);
    out.push({
      key: "paper",
      label: "norm and superposition (the paper's colours)",
      value: (cell) => chosen.norm(cell, feature),
      text: (v) => short(v),
      colour: (cell) => {
        const norm = chosen.norm(cell, feature);
        return Number.isNaN(norm) ? MASKED : paper(norm, chosen.superposition(cell, feature));
      },
      legend: { kind: "square" },
    });
    const tones = [[225, 225, 225], rgb("#56b4e9"), rgb("#0072b2"), rgb("#d55e00")];
    const phases = /** @type {RGB[]} */ (about.phases.length === 3 ? [tones[0], tones[2], tones[3]] : tones);
    addNames("phase", "phase", about.phases, phases, (cell) => chosen.phase(cell));
    addRamp("norm", "norm of a feature", (cell) => chosen.norm(cell, feature), short, [0, 1], false, ["0", "\u2265 1"]);
    addRamp(
      "superposition",
      "superposition of a feature",
      (cell) => chosen.superposition(cell, feature),
      short,
      [0, 1],
      false,
      ["0", "\u2265 1"],
    );
  }
  if ("excess_exact" in run.cells) {
    const ends = /** @type {[number, number]} */ ([LEAST_EXCESS, 1]);
    addRamp("excess", "loss above the exact minimum", (cell) => chosen.excess(cell), percent, ends, true, [
      "\u2264 0.01 %",
      "\u2265 100 %",
    ]);
  }
  for (const name of about.theories) {
    const theory = run.cells[`theory_${name}`];
    const counted = run.cells[`difference_${name}`];
    const value = counted
      ? (/** @type {number} */ cell) => counted.at(cell)
      : (/** @type {number} */ cell) => difference(chosen.phase(cell), theory.at(cell), shared);
    addNames(`agreement-${name}`, `agreement with ${name} theory`, DIFFERENCES, DIFFERENCE_COLOURS.map(rgb), value);
  }
  addRamp("success", "share of inits that succeed", (cell) => run.number("success", cell), percent, [0, 1]);
  if ("loss" in run.cells) {
    const ends = run.usualLosses;
    addRamp("loss", "noise-free loss", (cell) => chosen.loss(cell), short, ends, true, [
      `\u2264 ${short(ends[0], 2)}`,
      `\u2265 ${short(ends[1], 2)}`,
    ]);
  }
  if ("winner" in run.cells && about.replicas > 1) {
    const names = Array.from({ length: about.replicas }, (_, k) => `replica ${k}`);
    const tone = (/** @type {number} */ k) => toneOf(colours.tones, ramp, k, about.replicas);
    const value = (/** @type {number} */ cell) => (run.winner(cell) < 0 ? NaN : run.winner(cell));
    if (about.replicas <= 12)
      addNames(
        "winner",
        "replica of lowest loss",
        names,
        names.map((_, k) => tone(k)),
        value,
      );
    else addRamp("winner", "replica of lowest loss", value, (v) => `replica ${v}`, [0, about.replicas - 1]);
  }
  if ("failed" in run.cells) {
    addRamp(
      "failed",
      "diverged replicas",
      (cell) => run.number("failed", cell),
      (v) => String(v),
      [0, Math.max(about.replicas, 1)],
    );
  }
  return out;
}

/**
 * The quantity of the view, or the first.
 * @param {Explored} run
 * @param {View} view
 */
export function chosenQuantity(run, view) {
  const all = quantities(run, view);
  return all.find((quantity) => quantity.key === view.colour) ?? all[0];
}
