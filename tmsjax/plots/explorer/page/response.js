// Charts of a cell: the output of a model while one input changes, and what was recorded during training.

import { lines } from "./charts.js";
import { featureChoice } from "./choices.js";
import { ink, make, short } from "./dom.js";
import { entry } from "./legend.js";
import { outputOf } from "./measures.js";
import { featureTones } from "./pictures.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./run.js").Model} Model */
/** @typedef {import("./state.js").State} State */

const STEPS = 60; // of an input from its lowest to its highest value
const MOST_LINES = 7; // features whose outputs are drawn

/**
 * The model's output while one input goes from its lowest to its highest value.
 * @param {State} state
 * @param {Model} active
 * @param {Model[]} predicted
 * @param {boolean} pinned
 */
export function response(state, active, predicted, pinned) {
  const { run, view } = state;
  const { about } = run;
  const output = outputOf(about.family, about.activation, run.m, run.n);
  const section = make("section", {}, make("h3", {}, `Output of ${active.title}`));
  if (!output || !active.parameters || !active.parameters.W) {
    section.append(
      make(
        "p",
        { className: "note" },
        `The page cannot compute the output of the family \u201c${about.family}\u201d with the activation \u201c${about.activation}\u201d.`,
      ),
    );
    return section;
  }
  const low = about.signed ? -1 : 0;
  const inputs = Array.from({ length: STEPS + 1 }, (_, k) => low + ((1 - low) * k) / STEPS);
  const curve = (/** @type {Model} */ model, /** @type {number} */ j) =>
    inputs.map((value) => {
      const x = new Float64Array(run.n);
      x[view.input] = value;
      return /** @type {[number, number]} */ ([value, output(/** @type {any} */ (model.parameters), x)[j]]);
    });
  const shown = strongest(run, curve, active, view.input);
  const exact = predicted.find((model) => model.key === "exact" && model !== active);
  const tones = new Map(shown.map((j, k) => [j, about.colours.tones[k]]));
  const tone = (/** @type {number} */ j) => tones.get(j) ?? "";
  const series = [
    {
      points: /** @type {[number, number][]} */ ([
        [low, low],
        [1, 1],
      ]),
      colour: ink().line,
      width: 1,
    },
    ...(exact ? shown.map((j) => ({ points: curve(exact, j), colour: tone(j), dash: [4, 3], width: 1.2 })) : []),
    ...shown.map((j) => ({ points: curve(active, j), colour: tone(j) })),
  ];
  const label = `Outputs while input ${view.input + 1} goes from ${low} to 1: ${shown.map((j) => `output ${j + 1} ends at ${short(curve(active, j)[STEPS][1])}`).join(", ")}`;
  const chart = lines(
    360,
    210,
    label,
    series,
    { label: `input of feature ${view.input + 1}, others 0`, ends: [low, 1] },
    { label: "output" },
  );
  chart.dataset.output = shown.map((j) => curve(active, j)[STEPS][1]).join(" ");
  const legend = make(
    "p",
    { className: "note" },
    ...shown.map((j) => entry(`output ${j + 1}`, tone(j))),
    exact ? " dashed: exact optimum; grey: input" : " grey: input",
  );
  section.append(...(pinned ? [] : [featureChoice(state, "input", "Input feature")]), chart, legend);
  return section;
}

/**
 * The features whose outputs an input moves most, itself first.
 * @param {Explored} run
 * @param {(model: Model, j: number) => [number, number][]} curve
 * @param {Model} active
 * @param {number} input
 */
function strongest(run, curve, active, input) {
  const all = Array.from({ length: run.n }, (_, j) => j);
  if (run.n <= MOST_LINES) return all;
  const moved = new Map(all.map((j) => [j, Math.abs(curve(active, j)[STEPS][1] - curve(active, j)[0][1])]));
  const others = all
    .filter((j) => j !== input)
    .sort((a, b) => /** @type {number} */ (moved.get(b)) - /** @type {number} */ (moved.get(a)));
  return [input, ...others.slice(0, MOST_LINES - 1)];
}

/**
 * Recorded measures over steps.
 * @param {State} state
 * @param {Model[]} trained
 * @param {number} cell
 */
export function learning(state, trained, cell) {
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
    const tone = (/** @type {number} */ r, /** @type {number} */ i) =>
      perFeature ? featureTones(run)[i] : r === best ? accent : muted;
    const points = (/** @type {number} */ r, /** @type {number} */ i) =>
      steps.map((/** @type {number} */ step, /** @type {number} */ s) => [
        step,
        array.at(((r * several + i) * steps.length + s) * run.count + cell),
      ]);
    const series = replicas.flatMap((r) =>
      Array.from({ length: several }, (_, i) => ({
        points: points(r, i),
        colour: tone(r, i),
        width: r === best ? 1.8 : 0.9,
      })),
    );
    series.sort((a, b) => a.width - b.width);
    section.append(
      lines(
        360,
        190,
        `${name} over training steps`,
        series,
        { label: "training step" },
        { label: name.replaceAll("_", " "), log: name === "loss" },
      ),
    );
  }
  if (trained.length > 1) section.append(make("p", { className: "note" }, "Strong: the replica of lowest loss."));
  return section;
}
