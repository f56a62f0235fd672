// The view: what is shown, and how the address after # holds it, so that a link opens the same view.

/**
 * cell, beside: (row, column), or null. others: positions on the further axes. model: key of the model whose output is
 * shown, "" for the best. zoom: scale and shift of the map in units of its width and height.
 * @typedef {{cell: [number, number] | null, beside: [number, number] | null, others: number[], colour: string,
 *   rule: string, replica: number, feature: number, curves: string[], model: string, input: number,
 *   measure: string, zoom: [number, number, number]}} View
 */
/** @typedef {import("./run.js").Explored} Explored */

/**
 * @param {Explored} run
 * @returns {View}
 */
function firstView(run) {
  const { about } = run;
  return {
    cell: [Math.floor(run.rows / 2), Math.floor(run.columns / 2)],
    beside: null,
    others: run.others.map(() => 0),
    colour: about.mapped_phases ? "paper" : "loss",
    rule: run.rules.includes(about.select) ? about.select : run.rules[0],
    replica: 0,
    feature: about.mapped_feature,
    curves: [...about.theories],
    model: "",
    input: about.view === "map" ? about.mapped_feature : 0,
    measure: about.study === "geometry" ? "dimensionality" : "",
    zoom: [1, 0, 0],
  };
}

/**
 * @param {string | null} text
 * @param {number} length
 * @param {number[]} most
 * @returns {number[] | null}
 */
function positions(text, length, most) {
  const texts = (text ?? "").split(",");
  const values = texts.map(Number);
  const fine = values.length === length && values.every((v, k) => /^\d+$/.test(texts[k]) && v < most[k]);
  return fine ? values : null;
}

/**
 * The view that an address holds; what it does not say or says wrongly stays as in `first`.
 * @param {Explored} run
 * @param {string} hash
 * @param {View} first
 * @returns {View}
 */
function viewOf(run, hash, first) {
  const { about } = run;
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const view = { ...first, others: [...first.others] };
  const grid = [run.rows, run.columns];
  const pair = (/** @type {string} */ key) =>
    /** @type {[number, number] | null} */ (positions(given.get(key), 2, grid));
  view.cell = given.get("cell") === "none" ? null : (pair("cell") ?? first.cell);
  view.beside = pair("beside") ?? first.beside;
  view.others =
    positions(
      given.get("at"),
      run.others.length,
      run.others.map((axis) => axis.values.length),
    ) ?? view.others;
  const rule = given.get("rule");
  if (rule !== null && run.rules.includes(rule)) view.rule = rule;
  const limits = { replica: about.replicas, feature: run.n, input: run.n };
  for (const [key, most] of Object.entries(limits)) {
    const value = positions(given.get(key), 1, [most]);
    if (value && (key !== "feature" || about.features_shown.includes(value[0])))
      /** @type {any} */ (view)[key] = value[0];
  }
  for (const key of ["colour", "model", "measure"]) {
    const text = given.get(key);
    if (text !== null && /^[a-z0-9-]{0,40}$/.test(text)) /** @type {any} */ (view)[key] = text;
  }
  const curves = given.get("curves");
  if (curves !== null) view.curves = about.theories.filter((name) => curves.split(",").includes(name));
  const zoom = (given.get("zoom") ?? "").split(",").map(Number);
  if (zoom.length === 3 && zoom.every(Number.isFinite) && zoom[0] >= 1 && zoom[0] <= MOST_ZOOM) {
    const within = (/** @type {number} */ shift) => Math.min(Math.max(shift, 1 - zoom[0]), 0);
    view.zoom = [zoom[0], within(zoom[1]), within(zoom[2])];
  }
  return view;
}

export const MOST_ZOOM = 200;

/**
 * The address that holds a view: only what differs from `first`.
 * @param {View} view
 * @param {View} first
 */
function hashOf(view, first) {
  const out = new URLSearchParams();
  const add = (/** @type {string} */ key, /** @type {any} */ value, /** @type {any} */ usual) => {
    if (String(value) !== String(usual)) out.set(key, String(value));
  };
  out.set("cell", view.cell ? String(view.cell) : "none");
  if (view.beside) out.set("beside", String(view.beside));
  add("at", view.others, first.others);
  for (const key of /** @type {const} */ ([
    "colour",
    "rule",
    "replica",
    "feature",
    "model",
    "input",
    "measure",
    "curves",
  ]))
    add(key, view[key], first[key]);
  add(
    "zoom",
    view.zoom.map((v) => Number(v.toFixed(4))),
    first.zoom,
  );
  return out.toString().replaceAll("%2C", ",");
}

/** Holds the view, tells listeners of changes and keeps the address. */
export class State {
  /** @param {Explored} run */
  constructor(run) {
    this.run = run;
    this.first = firstView(run);
    this.view = viewOf(run, location.hash, this.first);
    /** @type {((view: View, changed: Set<string>) => void)[]} */
    this.listeners = [];
    addEventListener("hashchange", () => this.change(viewOf(run, location.hash, this.first)));
  }

  /** @param {Partial<View>} changes */
  change(changes) {
    const before = /** @type {any} */ (this.view);
    const changed = new Set(
      Object.entries(changes)
        .filter(([key, value]) => String(value) !== String(before[key]))
        .map(([key]) => key),
    );
    if (!changed.size) return;
    this.view = { ...this.view, ...changes };
    for (const listener of this.listeners) listener(this.view, changed);
    try {
      history.replaceState(null, "", `#${hashOf(this.view, this.first)}`);
    } catch {
      // a frame of a notebook has no address of its own
    }
  }
}
