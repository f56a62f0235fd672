// The panel of one cell: its numbers, its models and what theory predicts, their output, learning curves, a table.

import { lines } from "./charts.js";
import { css, ramped } from "./colours.js";
import { ink, make, percent, short } from "./dom.js";
import { entry } from "./legend.js";
import { dimensionality, dimensionsPerFeature, norms, outputOf, superposition } from "./measures.js";
import { featureTones, modelPicture, pictureKind } from "./pictures.js";
import { Selection } from "./quantities.js";
import { NOTHING } from "./run.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./run.js").Model} Model */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").View} View */

const FIRST_SHOWN = 12; // trained models
const STEPS = 60; // of an input from its lowest to its highest value
const MOST_LINES = 7; // features whose outputs are drawn
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
  const active = models.find((model) => !how.pinned && model.key === view.model && model.parameters) ?? trained.find((model) => model.parameters) ?? predicted[0];
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

/** @param {State} state @param {[number, number]} at @param {boolean} pinned */
function heading(state, at, pinned) {
  const { run, view } = state;
  const title = make("h2", {}, (pinned ? "Beside: " : "Cell: ") + (run.place(view.others, at[0], at[1]) || "the only one"));
  const close = () => state.change(pinned ? { beside: null } : { cell: view.beside, beside: null });
  const buttons = pinned
    ? [make("button", { type: "button", onclick: () => state.change({ cell: at, beside: view.cell, model: "" }) }, "Swap"), make("button", { type: "button", onclick: close }, "Close")]
    : [make("button", { type: "button", title: "Keep this cell beside the next one (key b)", onclick: () => state.change({ beside: at }) }, "Keep beside"), make("button", { type: "button", onclick: close }, "Close")];
  return make("header", {}, title, make("span", { className: "buttons" }, ...buttons));
}

/** @param {Explored} run */
function withoutModels(run) {
  if (!run.about.pixel) return "This run has too many parameters for the page to hold its models.";
  return "Each pixel shows several cells, so this page has no models. Zoom in and use the command below the map.";
}

/** The numbers of a cell by name. @param {Explored} run @param {Selection} chosen @param {number} cell @returns {[string, string][]} */
export function told(run, chosen, cell) {
  const { about } = run;
  /** @type {[string, string][]} */
  const out = [];
  if (about.mapped_phases && about.view === "map") {
    out.push(["phase", run.phaseName(chosen.phase(cell))]);
    for (const name of about.theories) out.push([`phase, ${name} theory`, run.phaseName(run.number(`theory_${name}`, cell))]);
    const shown = about.features_shown.length <= 3 ? about.features_shown : [about.mapped_feature];
    for (const i of shown) out.push([`norm of feature ${i + 1}`, short(chosen.norm(cell, i))]);
    for (const i of shown) out.push([`superposition of feature ${i + 1}`, short(chosen.superposition(cell, i))]);
  }
  const best = about.view === "line" ? run.parameters("", run.bestStored(cell), cell) : null;
  if (best && best.W) {
    out.push(["features represented", `${norms(best.W, run.m, run.n).filter((norm) => norm >= about.represented).length} of ${run.n}`]);
    out.push(["dimensions per feature D*", short(dimensionsPerFeature(best.W, run.m, run.n))]);
  }
  if ("loss" in run.cells) out.push(["noise-free loss", short(chosen.loss(cell), 4)]);
  if ("excess_exact" in run.cells) out.push(["above the exact minimum", percent(chosen.excess(cell))]);
  out.push(["inits that succeed", percent(run.number("success", cell))]);
  out.push(["diverged replicas", String(run.number("failed", cell))]);
  if ("winner" in run.cells && about.replicas > 1) out.push(["lowest loss", run.winner(cell) < 0 ? "none" : `replica ${run.winner(cell)}`]);
  return out;
}

/** @param {Explored} run @param {Selection} chosen @param {number} cell */
function numbers(run, chosen, cell) {
  return make("dl", { className: "numbers" }, ...told(run, chosen, cell).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
}

/** The keys of the models that the view's rule selects. @param {Explored} run @param {View} view @param {Model[]} trained @param {number} cell */
function selectedKeys(run, view, trained, cell) {
  const usable = trained.filter((model) => !model.diverged);
  if (run.about.kept !== "all" || view.rule === "best") return new Set([run.about.kept === "all" ? String(run.winner(cell)) : "0"]);
  if (view.rule === "single") return new Set([String(view.replica)]);
  if (view.rule === "paper") return new Set((usable.length > 1 ? usable.slice(0, -1) : usable).map((model) => model.key));
  const phase = run.number(`phase_${view.rule}`, cell);
  return new Set(usable.filter((model) => model.phase === phase).map((model) => model.key));
}

/** Pictures of the models. @param {State} state @param {Model[]} models @param {number} cell @param {Model | undefined} active @param {{pinned: boolean, full: boolean}} how */
function cards(state, models, cell, active, how) {
  const { run, view } = state;
  const trained = models.filter((model) => !["exact", "candidate"].includes(model.key));
  const selected = selectedKeys(run, view, trained, cell);
  const most = how.full ? Infinity : FIRST_SHOWN;
  const shown = models.filter((model) => !trained.includes(model) || trained.indexOf(model) < most || selected.has(model.key) && selected.size === 1);
  const kind = pictureKind(run, run.about.study);
  const setting = settingOf(run, models, cell, kind);
  const grid = make("div", { className: `cards ${kind}` }, ...shown.map((model) => card(state, model, { kind, setting, cell, chosen: selected.has(model.key), active: model === active, pinned: how.pinned })));
  const rest = trained.length - shown.filter((model) => trained.includes(model)).length;
  const more = rest > 0 ? [make("button", { type: "button", className: "more", "data-more": "" }, `Show ${rest} more replicas`)] : [];
  return [make("h3", {}, modelsTitle(run)), key(run, kind), grid, ...more];
}

/** @param {Explored} run */
function modelsTitle(run) {
  if (run.about.kept === "best") return "Model of lowest loss (the page holds one a cell)";
  if (!run.about.comparable) return "Models (their losses are not comparable, since their inputs differ)";
  return run.about.theories.length ? "Models by loss, after theory" : "Models by loss";
}

/** What the pictures show. @param {Explored} run @param {string} kind */
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

/** @param {Explored} run @param {Model[]} models @param {number} cell @param {string} kind @returns {import("./pictures.js").Setting} */
export function settingOf(run, models, cell, kind) {
  const sizes = models.flatMap(({ parameters }) => (parameters && parameters.W ? [...parameters.W, ...(kind === "bars" && parameters.b ? parameters.b : [])].map(Math.abs) : []));
  const tones = kind === "arrows" ? tonesByImportance(run, cell) : featureTones(run);
  return { run, cell, reach: 1.12 * Math.max(1, ...sizes), tones };
}

/** Tones of features, by importance where it differs. @param {Explored} run @param {number} cell */
function tonesByImportance(run, cell) {
  const importance = Array.from({ length: run.n }, (_, i) => run.number("importance", i * run.count + cell));
  const [low, high] = [Math.min(...importance), Math.max(...importance)];
  if (run.n <= run.about.colours.tones.length || !(high > low * 1.001)) return featureTones(run);
  const ramp = ramped(run.about.colours.ramp);
  return importance.map((value) => css(ramp(0.9 * Math.log(value / low) / Math.log(high / low))));
}

/** @param {State} state @param {Model} model @param {{kind: string, setting: import("./pictures.js").Setting, cell: number, chosen: boolean, active: boolean, pinned: boolean}} how */
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
    else lines.push(model.excess ? `${percent(model.excess, 2)} above best` : "the best");
  }
  if (run.about.view === "map" && model.phase !== null && model.phase !== NOTHING) lines.push(run.phaseName(model.phase));
  const properties = { type: "button", className: `card${how.chosen ? " chosen" : ""}`, "aria-pressed": String(how.active), disabled: !model.parameters, onclick: () => state.change({ model: model.key }), "data-model": model.key };
  const button = make("button", how.pinned ? { ...properties, disabled: true } : properties, drawn, make("span", { className: "name" }, model.title + (how.chosen ? " \u2713 selected" : "")), ...lines.map((text) => make("span", {}, text)));
  return button;
}

/** The model's output while one input goes from its lowest to its highest value. @param {State} state @param {Model} active @param {Model[]} predicted @param {boolean} pinned */
function response(state, active, predicted, pinned) {
  const { run, view } = state;
  const { about } = run;
  const output = outputOf(about.family, about.activation, run.m, run.n);
  const section = make("section", {}, make("h3", {}, `Output of ${active.title}`));
  if (!output || !active.parameters || !active.parameters.W) {
    section.append(make("p", { className: "note" }, `The page cannot compute the output of the family \u201c${about.family}\u201d with the activation \u201c${about.activation}\u201d.`));
    return section;
  }
  const low = about.signed ? -1 : 0;
  const inputs = Array.from({ length: STEPS + 1 }, (_, k) => low + ((1 - low) * k) / STEPS);
  const curve = (/** @type {Model} */ model, /** @type {number} */ j) => inputs.map((value) => {
    const x = new Float64Array(run.n);
    x[view.input] = value;
    return /** @type {[number, number]} */ ([value, output(/** @type {any} */ (model.parameters), x)[j]]);
  });
  const shown = strongest(run, curve, active, view.input);
  const exact = predicted.find((model) => model.key === "exact" && model !== active);
  const tones = new Map(shown.map((j, k) => [j, about.colours.tones[k]]));
  const tone = (/** @type {number} */ j) => tones.get(j) ?? "";
  const series = [
    { points: /** @type {[number, number][]} */ ([[low, low], [1, 1]]), colour: ink().line, width: 1 },
    ...(exact ? shown.map((j) => ({ points: curve(exact, j), colour: tone(j), dash: [4, 3], width: 1.2 })) : []),
    ...shown.map((j) => ({ points: curve(active, j), colour: tone(j) })),
  ];
  const label = `Outputs while input ${view.input + 1} goes from ${low} to 1: ${shown.map((j) => `output ${j + 1} ends at ${short(curve(active, j)[STEPS][1])}`).join(", ")}`;
  const chart = lines(360, 210, label, series, { label: `input of feature ${view.input + 1}, others 0`, ends: [low, 1] }, { label: "output" });
  chart.dataset.output = shown.map((j) => curve(active, j)[STEPS][1]).join(" ");
  const legend = make("p", { className: "note" }, ...shown.map((j) => entry(`output ${j + 1}`, tone(j))), exact ? " dashed: exact optimum; grey: input" : " grey: input");
  section.append(...(pinned ? [] : [featureChoice(state, "input", "Input feature")]), chart, legend);
  return section;
}

/** The features whose outputs an input moves most, itself first. @param {Explored} run @param {(model: Model, j: number) => [number, number][]} curve @param {Model} active @param {number} input */
function strongest(run, curve, active, input) {
  const all = Array.from({ length: run.n }, (_, j) => j);
  if (run.n <= MOST_LINES) return all;
  const moved = new Map(all.map((j) => [j, Math.abs(curve(active, j)[STEPS][1] - curve(active, j)[0][1])]));
  const others = all.filter((j) => j !== input).sort((a, b) => /** @type {number} */ (moved.get(b)) - /** @type {number} */ (moved.get(a)));
  return [input, ...others.slice(0, MOST_LINES - 1)];
}

/** A choice of a feature: buttons for few, a number for many. @param {State} state @param {"input" | "feature"} name @param {string} label */
export function featureChoice(state, name, label) {
  const { run, view } = state;
  const id = `choice-${name}`;
  const field = make("input", { id, type: "number", min: "1", max: String(run.n), value: String(view[name] + 1) });
  field.addEventListener("change", () => {
    const value = Math.round(Number(field.value)) - 1;
    if (value >= 0 && value < run.n) state.change({ [name]: value });
    else field.value = String(state.view[name] + 1);
  });
  return make("p", { className: "choice" }, make("label", { for: id }, `${label} (1 to ${run.n})`), field);
}

/** Recorded measures over steps. @param {State} state @param {Model[]} trained @param {number} cell */
function learning(state, trained, cell) {
  const { run } = state;
  const { steps, measures } = run.about.history;
  const { accent, muted } = ink();
  const section = make("section", {}, make("h3", {}, "Learning"));
  for (const name of Object.keys(measures)) {
    const array = /** @type {Record<string, import("./data.js").Numbers>} */ (run.models)[`history_${name}`];
    const perFeature = array.shape.length > 3;
    const several = perFeature ? array.shape[1] : 1;
    const best = array.shape[0] > 1 ? Math.max(run.winner(cell), 0) : 0;
    const replicas = perFeature ? [best] : Array.from({ length: array.shape[0] }, (_, k) => k);
    const tone = (/** @type {number} */ r, /** @type {number} */ i) => (perFeature ? featureTones(run)[i] : r === best ? accent : muted);
    const points = (/** @type {number} */ r, /** @type {number} */ i) => steps.map((/** @type {number} */ step, /** @type {number} */ s) => [step, array.at(((r * several + i) * steps.length + s) * run.count + cell)]);
    const series = replicas.flatMap((r) => Array.from({ length: several }, (_, i) => ({ points: points(r, i), colour: tone(r, i), width: r === best ? 1.8 : 0.9 })));
    series.sort((a, b) => a.width - b.width);
    section.append(lines(360, 190, `${name} over training steps`, series, { label: "training step" }, { label: name.replaceAll("_", " "), log: name === "loss" }));
  }
  if (trained.length > 1) section.append(make("p", { className: "note" }, "Strong: the replica of lowest loss."));
  return section;
}

/** The numbers of a model, feature by feature. @param {Explored} run @param {Model} model @param {number} cell */
function table(run, model, cell) {
  const { W, b } = /** @type {import("./measures.js").Parameters} */ (model.parameters);
  if (!W) return make("p", {});
  const { m, n } = run;
  const measured = [norms(W, m, n), superposition(W, m, n), dimensionality(W, m, n)];
  const inputs = ["importance", "feature_probability"].filter((name) => name in run.cells);
  const head = ["feature", ...inputs.map((name) => name.replace("_", " ")), ...(m <= 3 ? Array.from({ length: m }, (_, k) => (m > 1 ? `W ${k + 1}` : "W")) : []), ...(b ? ["b"] : []), "norm", "superposition", "D"];
  const rows = Array.from({ length: Math.min(n, MOST_ROWS) }, (_, i) => [
    String(i + 1),
    ...inputs.map((name) => short(run.number(name, i * run.count + cell))),
    ...(m <= 3 ? Array.from({ length: m }, (_, k) => short(W[k * n + i], 4)) : []),
    ...(b ? [short(b[i], 4)] : []),
    ...measured.map((values) => short(values[i])),
  ]);
  const row = (/** @type {string} */ tag, /** @type {string[]} */ texts) => make("tr", {}, ...texts.map((text) => make(tag, tag === "th" ? { scope: "col" } : {}, text)));
  const error = run.about.errors.weights;
  const note = make("p", { className: "note" }, `Weights and biases on this page are rounded: they are within \u00b1${short(error, 2)} of the run\u2019s.`, n > MOST_ROWS ? ` The first ${MOST_ROWS} of ${n} features.` : "");
  return make("details", { "data-keep": "table" }, make("summary", {}, `Numbers of ${model.title}`), note, make("div", { className: "scroll" }, make("table", {}, make("thead", {}, row("th", head)), make("tbody", {}, ...rows.map((texts) => row("td", texts))))));
}

