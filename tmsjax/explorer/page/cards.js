// The models of a cell as cards: a picture of each, its loss, and whether the rule selects it.

import { css, ramped } from "./colours.js";
import { make, percent, short } from "./dom.js";
import { entry } from "./legend.js";
import { largest } from "./measures.js";
import { featureTones, modelPicture, pictureKind } from "./pictures.js";
import { NOTHING } from "./run.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./run.js").Model} Model */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").View} View */

const FIRST_SHOWN = 12; // trained models

/**
 * The keys of the models that the view's rule selects.
 * @param {Explored} run
 * @param {View} view
 * @param {Model[]} trained
 * @param {number} cell
 */
function selectedKeys(run, view, trained, cell) {
  const usable = trained.filter((model) => !model.diverged);
  if (run.about.kept !== "all" || view.rule === "best")
    return new Set([String(run.about.kept === "all" ? run.best(cell) : 0)]);
  if (view.rule === "single") return new Set([String(view.replica)]);
  const worst = String(run.number("worst", cell) - 1);
  if (view.rule === "paper")
    return new Set(usable.map((model) => model.key).filter((key) => key !== worst || usable.length === 1));
  const phase = run.number(`phase_${view.rule}`, cell);
  return new Set(usable.filter((model) => model.phase === phase).map((model) => model.key));
}

/**
 * Pictures of the models.
 * @param {State} state
 * @param {Model[]} models
 * @param {number} cell
 * @param {Model | undefined} active
 * @param {{pinned: boolean, full: boolean}} how
 */
export function cards(state, models, cell, active, how) {
  const { run, view } = state;
  const trained = models.filter((model) => !["exact", "candidate"].includes(model.key));
  const selected = selectedKeys(run, view, trained, cell);
  const most = how.full ? Infinity : FIRST_SHOWN;
  const shown = models.filter(
    (model) =>
      !trained.includes(model) || trained.indexOf(model) < most || (selected.has(model.key) && selected.size === 1),
  );
  const kind = pictureKind(run, run.about.study);
  const setting = settingOf(run, models, cell, kind);
  const grid = make(
    "div",
    { className: `cards ${kind}` },
    ...shown.map((model) =>
      card(state, model, {
        kind,
        setting,
        cell,
        chosen: selected.has(model.key),
        active: model === active,
        pinned: how.pinned,
      }),
    ),
  );
  const rest = trained.length - shown.filter((model) => trained.includes(model)).length;
  const more =
    rest > 0
      ? [make("button", { type: "button", className: "more", "data-more": "" }, `Show ${rest} more replicas`)]
      : [];
  return [make("h3", {}, modelsTitle(run)), key(run, kind), grid, ...more];
}

/** @param {Explored} run */
function modelsTitle(run) {
  if (run.about.kept === "best") return "Model of lowest loss (the page holds one a cell)";
  if (!run.about.comparable) return "Models (their losses are not comparable, since their inputs differ)";
  return run.about.theories.length ? "Models by loss, after theory" : "Models by loss";
}

/**
 * What the pictures show.
 * @param {Explored} run
 * @param {string} kind
 */
function key(run, kind) {
  /** @type {Record<string, string>} */
  const words = {
    bars: "Bars: the weight W of each feature, and its bias b.",
    arrows: "Arrows: the direction of each feature in the plane of the two hidden dimensions; the circle has radius 1.",
    gram: "Squares: W\u1d40W, and b beside it, from \u22121 (red) to 1 (blue). Bars: norm of each feature, yellow where it shares its dimension.",
    norms: "Bars: norm of each feature, yellow where it shares its dimension.",
    graph: "Features as dots, those that share dimensions as rings; lines join features that are not orthogonal. ",
    heat: "Parameters, each in units of its largest absolute value: red negative, blue positive.",
  };
  return make("p", { className: "note" }, words[kind], ...(kind === "graph" ? polytopeKey(run) : []));
}

/** @param {Explored} run */
function polytopeKey(run) {
  const { polytopes, polytope_names: names } = run.about.colours;
  return names.slice(1).map((/** @type {string} */ name, /** @type {number} */ k) => entry(name, polytopes[k + 1]));
}

/**
 * @param {Explored} run
 * @param {Model[]} models
 * @param {number} cell
 * @param {string} kind
 * @returns {import("./pictures.js").Setting}
 */
export function settingOf(run, models, cell, kind) {
  const sizes = models.flatMap(({ parameters }) =>
    parameters && parameters.W
      ? [...parameters.W, ...(kind === "bars" && parameters.b ? parameters.b : [])].map(Math.abs)
      : [],
  );
  const tones = kind === "arrows" ? tonesByImportance(run, cell) : featureTones(run);
  return { run, cell, reach: 1.12 * largest(sizes, 1), tones };
}

/**
 * Tones of features, by importance where it differs.
 * @param {Explored} run
 * @param {number} cell
 */
function tonesByImportance(run, cell) {
  const importance = Array.from({ length: run.n }, (_, i) => run.number("importance", i * run.count + cell));
  const [low, high] = [-largest(importance.map((value) => -value)), largest(importance)];
  if (run.n <= run.about.colours.tones.length || !(high > low * 1.001)) return featureTones(run);
  const ramp = ramped(run.about.colours.ramp);
  return importance.map((value) => css(ramp((0.9 * Math.log(value / low)) / Math.log(high / low))));
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {{kind: string, setting: import("./pictures.js").Setting, cell: number, chosen: boolean, active: boolean, pinned: boolean}} how
 */
function card(state, model, how) {
  const { run } = state;
  const side = how.kind === "gram" || how.kind === "graph" ? 140 : 116;
  const drawn = model.parameters
    ? modelPicture(how.kind, model, how.setting, side)
    : make("div", { className: "absent" }, model.diverged ? "diverged" : "not here");
  const lines = [`loss ${short(model.loss, 4)}`];
  if (model.diverged) lines[0] = "no loss";
  else if (!Number.isNaN(model.excess)) {
    const exact = run.excessOverExact(how.cell, model.excess);
    if (!Number.isNaN(exact)) lines.push(`${percent(exact, 2)} above exact`);
    else if (run.about.comparable) lines.push(model.excess ? `${percent(model.excess, 2)} above best` : "the best");
  }
  if (run.about.view === "map" && model.phase !== null && model.phase !== NOTHING)
    lines.push(run.phaseName(model.phase));
  const properties = {
    type: "button",
    className: `card${how.chosen ? " chosen" : ""}`,
    "aria-pressed": String(how.active),
    disabled: !model.parameters,
    onclick: () => state.change({ model: model.key }),
    "data-model": model.key,
  };
  const button = make(
    "button",
    how.pinned ? { ...properties, disabled: true } : properties,
    drawn,
    make("span", { className: "name" }, model.title + (how.chosen ? " \u2713 selected" : "")),
    ...lines.map((text) => make("span", {}, text)),
  );
  return button;
}
