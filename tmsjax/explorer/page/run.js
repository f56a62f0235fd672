// The run on the page: its facts, and the numbers of its cells and models by name.

/** @typedef {import("./data.js").Numbers} Numbers */
/** @typedef {import("./measures.js").Parameters} Parameters */
/**
 * An axis of the sweep: `edges` are the borders of its cells; `scale` is "log", "linear" or "names".
 * @typedef {object} AxisFacts
 * @property {string} name
 * @property {string} label
 * @property {string} symbol
 * @property {(number | string)[]} values
 * @property {number[]} edges
 * @property {string} scale
 */
/**
 * What Python tells of the run: see content.py.
 * @typedef {object} About
 * @property {string} name
 * @property {Record<string, string>} facts
 * @property {string | null} study
 * @property {"map" | "line"} view
 * @property {AxisFacts[]} axes others, y, x
 * @property {boolean} flat whether there is no y
 * @property {number} features
 * @property {number} hidden
 * @property {string} family
 * @property {string} activation
 * @property {string} formula
 * @property {boolean} signed whether inputs can be negative
 * @property {number} mapped_feature
 * @property {number[]} features_shown those whose norms the maps have
 * @property {string[]} phases names
 * @property {number} represented least norm of a represented feature
 * @property {Record<string, [number, number]>} region
 * @property {number} replicas
 * @property {boolean} comparable whether the replicas of a cell have the same inputs
 * @property {boolean} mapped_phases whether cells have phases
 * @property {boolean} directions whether features have directions W
 * @property {boolean} best_only whether the run kept only the best replica of each cell
 * @property {Record<string, number> | null} pixel cells of a pixel along each axis
 * @property {string[]} rules
 * @property {string} select the rule to show first
 * @property {number} most_failed
 * @property {string[]} theories
 * @property {boolean} could_compare
 * @property {"all" | "best" | "none"} kept which models the page has
 * @property {Record<string, number[]>} parameters shape of each
 * @property {{steps: number[], measures: string[]} | null} history
 * @property {Record<string, number>} errors largest rounding errors
 * @property {{paper: number[][], tones: string[], ramp: string[], diverging: string[], phases: string[],
 *   differences: Record<string, string>, polytopes: string[], polytope_names: string[]}} colours
 */
/**
 * A model of a cell. `key`: "0", "1", ... of a replica, "exact" or "candidate"; `phase`: index of a phase, or null.
 * @typedef {{key: string, title: string, parameters: Parameters | null, loss: number, excess: number,
 *   phase: number | null, diverged: boolean}} Model
 */

export const NOTHING = 255;
const SAMPLED = 5000; // cells whose losses give the usual ones

export class Explored {
  /**
   * @param {About} about
   * @param {Record<string, Numbers>} cells
   */
  constructor(about, cells) {
    this.about = about;
    this.cells = cells;
    /** @type {Record<string, Numbers> | null} read after the first picture */
    this.models = null;
    /** @type {AxisFacts[]} */
    this.axes = about.axes;
    this.n = about.features;
    this.m = about.hidden;
    const flat = about.flat;
    this.x = this.axes[this.axes.length - 1] || {
      name: "",
      label: "",
      symbol: "",
      values: [0],
      edges: [0, 1],
      scale: "names",
    };
    this.y = flat ? null : this.axes[this.axes.length - 2];
    this.others = this.axes.slice(0, Math.max(this.axes.length - (flat ? 1 : 2), 0));
    this.columns = this.x.values.length;
    this.rows = this.y ? this.y.values.length : 1;
    this.count = this.axes.reduce((product, axis) => product * axis.values.length, 1);
  }

  /**
   * The 1 % and 99 % quantiles of the best losses of some cells, so that a few outliers do not take all colours of a
   * ramp.
   * @returns {[number, number]}
   */
  get usualLosses() {
    if (this.ends) return this.ends;
    const stride = Math.ceil(this.count / SAMPLED);
    const losses = [];
    for (let cell = 0; cell < this.count; cell += stride) losses.push(this.number("loss", cell));
    const found = losses.filter((loss) => !Number.isNaN(loss)).sort((a, b) => a - b);
    const at = (/** @type {number} */ share) => found[Math.round(share * (found.length - 1))] ?? 1;
    /** @type {[number, number] | undefined} */
    this.ends = [at(0.01), at(0.99)];
    return this.ends;
  }

  /**
   * The number of a cell.
   * @param {number[]} others
   * @param {number} row
   * @param {number} column
   */
  cell(others, row, column) {
    let index = 0;
    this.others.forEach((axis, k) => (index = index * axis.values.length + others[k]));
    return (index * this.rows + row) * this.columns + column;
  }

  /**
   * "p = 0.1, extra importance = 2" of a cell.
   * @param {number[]} others
   * @param {number} row
   * @param {number} column
   */
  place(others, row, column) {
    const indices = [...others, ...(this.y ? [row] : []), column];
    return this.axes.map((axis, k) => valueText(axis, indices[k])).join(", ");
  }

  /** The name of a phase. @param {number} phase */
  phaseName(phase) {
    return phase === NOTHING ? "masked: every replica diverged" : this.about.phases[phase];
  }

  /**
   * A number of a cell; NaN if the page has none.
   * @param {string} name
   * @param {number} cell
   */
  number(name, cell) {
    return name in this.cells ? this.cells[name].at(cell) : NaN;
  }

  /** Position of a feature in the arrays of maps, -1 if it is not there. @param {number} feature */
  shown(feature) {
    return this.about.features_shown.indexOf(feature);
  }

  get replicasKept() {
    return this.about.kept === "all" ? this.about.replicas : this.about.kept === "best" ? 1 : 0;
  }

  /** The rules that the page offers. */
  get rules() {
    const { kept, rules } = this.about;
    return kept === "all" && rules.length > 1 ? [...rules, "single"] : rules;
  }

  /**
   * The replica of lowest loss of a cell, -1 if every replica diverged or the page does not know it.
   * @param {number} cell
   */
  best(cell) {
    return "best" in this.cells ? this.cells.best.at(cell) - 1 : -1;
  }

  /** The position among the stored models of a cell's best model. @param {number} cell */
  bestStored(cell) {
    return this.about.kept === "all" ? Math.max(this.best(cell), 0) : 0;
  }

  /**
   * The parameters of a model; null if it is missing.
   * @param {"model" | "exact" | "candidate"} kind
   * @param {number} replica
   * @param {number} cell
   * @returns {Parameters | null}
   */
  parameters(kind, replica, cell) {
    if (!this.models) return null;
    /** @type {Record<string, Float64Array>} */
    const out = Object.create(null);
    for (const [name, shape] of Object.entries(this.about.parameters)) {
      const array = this.models[`${kind}.${name}`];
      if (!array) continue;
      const size = shape.reduce((a, b) => a * b, 1);
      const values = new Float64Array(size);
      for (let k = 0; k < size; k++) values[k] = array.at((replica * size + k) * this.count + cell);
      if (Number.isNaN(values[0])) return null;
      out[name] = values;
    }
    return Object.keys(out).length ? /** @type {any} */ (out) : null;
  }

  /**
   * The loss of a stored model over its cell's best, minus 1.
   * @param {number} replica
   * @param {number} cell
   */
  excessOverBest(replica, cell) {
    return this.models && this.models.excess ? this.models.excess.at(replica * this.count + cell) : NaN;
  }

  /**
   * The loss over the exact minimum, minus 1, from the loss over the best, minus 1.
   * @param {number} cell
   * @param {number} overBest
   */
  excessOverExact(cell, overBest) {
    const best = this.number("excess_exact", cell);
    return best + overBest + best * overBest;
  }

  /**
   * The stored models of a cell, best first.
   * @param {number} cell
   * @returns {Model[]}
   */
  trained(cell) {
    const out = [];
    for (let k = 0; k < this.replicasKept; k++) {
      const excess = this.excessOverBest(k, cell);
      const parameters = this.parameters("model", k, cell);
      const phase = this.models?.phase ? this.models.phase.at(k * this.count + cell) : null;
      const title = this.about.kept === "best" ? "best replica" : `replica ${k}`;
      const loss = this.number("loss", cell) * (1 + excess);
      out.push({ key: String(k), title, parameters, loss, excess, phase, diverged: Number.isNaN(excess) });
    }
    const rank = (/** @type {Model} */ model) => (model.diverged ? Infinity : model.excess);
    return out.sort((a, b) => rank(a) - rank(b) || Number(a.key) - Number(b.key));
  }

  /**
   * The exact optimum and the candidate of a cell, as far as the page has them.
   * @param {number} cell
   * @returns {Model[]}
   */
  predicted(cell) {
    const out = [];
    for (const name of /** @type {const} */ (["exact", "candidate"])) {
      const parameters = this.parameters(name, 0, cell);
      if (!parameters) continue;
      const title = name === "exact" ? "exact optimum" : "candidate";
      const phase = this.number(`theory_${name}`, cell);
      const loss = this.number(`loss_${name}`, cell);
      out.push({ key: name, title, parameters, loss, excess: NaN, phase, diverged: false });
    }
    return out;
  }
}

/**
 * "p = 0.1"
 * @param {AxisFacts} axis
 * @param {number} index
 */
export function valueText(axis, index) {
  const value = axis.values[index];
  if (!axis.name) return "the only cell";
  return typeof value === "string" ? value : `${axis.symbol} = ${Number(value.toPrecision(4))}`;
}
