// What the selection rule of the view selects in every cell.

import { norms, superposition } from "./measures.js";
import { NOTHING } from "./run.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").View} View */

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
    /** The models of which "single" shows one, if they are there. */
    this.single = view.rule === "single" && run.about.kept === "all" ? run.models : null;
    this.last = -1; // the cell of `model`
    /** @type {import("./measures.js").Parameters | null} */
    this.model = null;
  }

  /** @param {number} cell */
  phase(cell) {
    const { run } = this;
    if (this.single?.phase) return this.single.phase.at(this.replica * run.count + cell);
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
      if (this.last !== cell) this.model = run.parameters("model", this.replica, cell);
      this.last = cell;
      return this.model ? of(this.model.W, run.m, run.n)[feature] : NaN;
    }
    const array = run.cells[`${name}_${this.rule}`];
    const at = run.shown(feature);
    return array && at >= 0 ? array.at(at * run.count + cell) : NaN;
  }
}
