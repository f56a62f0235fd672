// The panel of one cell: its numbers, its models and what theory predicts, their output, learning curves, a table.

import { cards } from "./cards.js";
import { make, percent, short } from "./dom.js";
import { dimensionality, dimensionsPerFeature, norms, superposition } from "./measures.js";
import { Selection } from "./selection.js";
import { learning, response } from "./response.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./run.js").Model} Model */
/** @typedef {import("./state.js").State} State */

const MOST_ROWS = 200; // of the table of features

/**
 * Fills the panel of a cell.
 * @param {HTMLElement} place @param {State} state @param {[number, number]} at row and column
 * @param {{pinned: boolean, full: boolean}} how pinned: the second of two cells; full: show every model
 */
export function showPanel(place, state, at, how) {
  const { run, view } = state;
  const cell = run.cell(view.others, at[0], at[1]);
  const chosen = new Selection(run, view);
  const trained = run.trained(cell);
  const predicted = run.predicted(cell);
  const models = [...predicted, ...trained];
  const active =
    models.find((model) => !how.pinned && model.key === view.model && model.parameters) ??
    trained.find((model) => model.parameters) ??
    predicted[0];
  place.replaceChildren(
    heading(state, at, how.pinned),
    numbers(run, chosen, cell),
    ...(run.about.kept === "none" ? [make("p", { className: "note" }, withoutModels(run))] : []),
    ...(run.models ? [] : [make("p", { className: "note" }, "Reading the models \u2026")]),
    ...(models.length ? cards(state, models, cell, active, how) : []),
    ...(run.models && active ? [response(state, active, predicted, how.pinned)] : []),
    ...(run.models && run.about.history ? [learning(state, trained, cell)] : []),
    ...(run.models && active && active.parameters ? [table(run, active, cell)] : []),
  );
}

/**
 * @param {State} state
 * @param {[number, number]} at
 * @param {boolean} pinned
 */
function heading(state, at, pinned) {
  const { run, view } = state;
  const title = make(
    "h2",
    {},
    (pinned ? "Beside: " : "Cell: ") + (run.place(view.others, at[0], at[1]) || "the only one"),
  );
  const close = () => state.change(pinned ? { beside: null } : { cell: view.beside, beside: null });
  const buttons = pinned
    ? [
        make(
          "button",
          { type: "button", id: "swap", onclick: () => state.change({ cell: at, beside: view.cell, model: "" }) },
          "Swap",
        ),
        make("button", { type: "button", id: pinned ? "close-beside" : "close", onclick: close }, "Close"),
      ]
    : [
        make(
          "button",
          {
            type: "button",
            title: "Keep this cell beside the next one (key b)",
            id: "keep",
            onclick: () => state.change({ beside: at }),
          },
          "Keep beside",
        ),
        make("button", { type: "button", id: pinned ? "close-beside" : "close", onclick: close }, "Close"),
      ];
  return make("header", {}, title, make("span", { className: "buttons" }, ...buttons));
}

/** @param {Explored} run */
function withoutModels(run) {
  if (!run.about.pixel) return "This run has too many parameters for the page to hold its models.";
  return "Each pixel shows several cells, so this page has no models. Zoom in and use the command below the map.";
}

/**
 * The numbers of a cell by name.
 * @param {Explored} run
 * @param {Selection} chosen
 * @param {number} cell
 * @returns {[string, string][]}
 */
export function told(run, chosen, cell) {
  const { about } = run;
  /** @type {[string, string][]} */
  const out = [];
  if (about.mapped_phases && about.view === "map") {
    out.push(["phase", run.phaseName(chosen.phase(cell))]);
    for (const name of about.theories)
      out.push([`phase, ${name} theory`, run.phaseName(run.number(`theory_${name}`, cell))]);
    const shown = about.features_shown.length <= 3 ? about.features_shown : [about.mapped_feature];
    for (const i of shown) out.push([`norm of feature ${i + 1}`, short(chosen.norm(cell, i))]);
    for (const i of shown) out.push([`superposition of feature ${i + 1}`, short(chosen.superposition(cell, i))]);
  }
  const best = about.view === "line" ? run.parameters("model", run.bestStored(cell), cell) : null;
  if (best && best.W) {
    out.push([
      "features represented",
      `${norms(best.W, run.m, run.n).filter((norm) => norm >= about.represented).length} of ${run.n}`,
    ]);
    out.push(["dimensions per feature D*", short(dimensionsPerFeature(best.W, run.m, run.n))]);
  }
  if ("loss" in run.cells) out.push(["noise-free loss", short(chosen.loss(cell), 4)]);
  if ("excess_exact" in run.cells) out.push(["above the exact minimum", percent(chosen.excess(cell))]);
  if ("success" in run.cells) out.push(["inits that succeed", percent(run.number("success", cell))]);
  out.push([about.pixel ? "diverged models" : "diverged replicas", String(run.number("failed", cell))]);
  if (about.comparable && !about.best_only && about.replicas > 1)
    out.push(["lowest loss", run.best(cell) < 0 ? "none" : `replica ${run.best(cell)}`]);
  return out;
}

/**
 * @param {Explored} run
 * @param {Selection} chosen
 * @param {number} cell
 */
function numbers(run, chosen, cell) {
  return make(
    "dl",
    { className: "numbers" },
    ...told(run, chosen, cell).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))),
  );
}

/**
 * The numbers of a model, feature by feature.
 * @param {Explored} run
 * @param {Model} model
 * @param {number} cell
 */
function table(run, model, cell) {
  const { W, b } = /** @type {import("./measures.js").Parameters} */ (model.parameters);
  if (!W) return make("p", {});
  const { m, n } = run;
  const measured = [norms(W, m, n), superposition(W, m, n), dimensionality(W, m, n)];
  const inputs = ["importance", "feature_probability"].filter((name) => name in run.cells);
  const head = [
    "feature",
    ...inputs.map((name) => name.replace("_", " ")),
    ...(m <= 3 ? Array.from({ length: m }, (_, k) => (m > 1 ? `W ${k + 1}` : "W")) : []),
    ...(b ? ["b"] : []),
    "norm",
    "superposition",
    "D",
  ];
  const rows = Array.from({ length: Math.min(n, MOST_ROWS) }, (_, i) => [
    String(i + 1),
    ...inputs.map((name) => short(run.number(name, i * run.count + cell))),
    ...(m <= 3 ? Array.from({ length: m }, (_, k) => short(W[k * n + i], 4)) : []),
    ...(b ? [short(b[i], 4)] : []),
    ...measured.map((values) => short(values[i])),
  ]);
  const row = (/** @type {string} */ tag, /** @type {string[]} */ texts) =>
    make("tr", {}, ...texts.map((text) => make(tag, tag === "th" ? { scope: "col" } : {}, text)));
  const error = run.about.errors.weights;
  const note = make(
    "p",
    { className: "note" },
    `Weights and biases on this page are rounded: they are within \u00b1${short(error, 2)} of the run\u2019s.`,
    n > MOST_ROWS ? ` The first ${MOST_ROWS} of ${n} features.` : "",
  );
  return make(
    "details",
    { "data-keep": "table" },
    make("summary", {}, `Numbers of ${model.title}`),
    note,
    make(
      "div",
      { className: "scroll" },
      make(
        "table",
        {},
        make("thead", {}, row("th", head)),
        make("tbody", {}, ...rows.map((texts) => row("td", texts))),
      ),
    ),
  );
}
