// Charts of a cell: the output of a model while one input changes, and what was recorded during training.

import { lines } from "./charts.js";
import { featureChoice } from "./choices.js";
import { ink, make, seen, short } from "./dom.js";
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
  const outputs = (/** @type {Model} */ model) =>
    inputs.map((value) => {
      const x = new Float64Array(run.n);
      x[view.input] = value;
      return output(/** @type {import("./measures.js").Parameters} */ (model.parameters), x);
    });
  const own = outputs(active);
  const shown = strongest(own, view.input);
  const exact = predicted.find((model) => model.key === "exact" && model !== active);
  const theirs = exact ? outputs(exact) : [];
  const curve = (/** @type {Float64Array[]} */ all, /** @type {number} */ j) =>
    all.map((values, k) => /** @type {[number, number]} */ ([inputs[k], values[j]]));
  const tones = new Map(shown.map((j, k) => [j, seen(about.colours.tones[k])]));
  const tone = (/** @type {number} */ j) => tones.get(j) ?? "";
  const series = [
    {
      points: /** @type {[number, number][]} */ ([
        [low, low],
        [1, 1],
      ]),
      colour: ink().muted,
      width: 1,
    },
    ...(exact ? shown.map((j) => ({ points: curve(theirs, j), colour: tone(j), dash: [4, 3], width: 1.2 })) : []),
    ...shown.map((j) => ({ points: curve(own, j), colour: tone(j) })),
  ];
  const label = `Outputs while input ${view.input + 1} goes from ${low} to 1: ${shown.map((j) => `output ${j + 1} ends at ${short(own[STEPS][j])}`).join(", ")}`;
  const chart = lines(
    360,
    210,
    label,
    series,
    { label: `input of feature ${view.input + 1}, others 0`, ends: [low, 1] },
    { label: "output" },
  );
  chart.dataset.output = shown.map((j) => own[STEPS][j]).join(" ");
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
 * The features whose outputs an input moves most, itself first; all if they are few.
 * @param {Float64Array[]} outputs from the lowest input to the highest
 * @param {number} input
 */
function strongest(outputs, input) {
  const [first, last] = [outputs[0], outputs[outputs.length - 1]];
  const all = Array.from(first, (_, j) => j);
  if (all.length <= MOST_LINES) return all;
  const moved = (/** @type {number} */ j) => Math.abs(last[j] - first[j]);
  const others = all.filter((j) => j !== input).sort((a, b) => moved(b) - moved(a));
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
  const { steps, measures } = /** @type {NonNullable<import("./run.js").About["history"]>} */ (run.about.history);
  const { accent, muted } = ink();
  const log = steps[steps.length - 1] > 50 * steps[1]; // most records are early
  const section = make("section", {}, make("h3", {}, "Learning"));
  for (const name of measures) {
    const array = /** @type {Record<string, import("./data.js").Numbers>} */ (run.models)[`history_${name}`];
    const perFeature = array.shape.length > 3;
    const several = perFeature ? array.shape[1] : 1;
    const best = array.shape[0] > 1 ? Math.max(run.best(cell), 0) : 0;
    const replicas = perFeature ? [best] : Array.from({ length: array.shape[0] }, (_, k) => k);
    const tone = (/** @type {number} */ r, /** @type {number} */ i) =>
      perFeature ? featureTones(run)[i] : r === best ? accent : muted;
    const points = (/** @type {number} */ r, /** @type {number} */ i) =>
      steps.map((step, s) => {
        const value = array.at(((r * several + i) * steps.length + s) * run.count + cell);
        return /** @type {[number, number]} */ ([log ? Math.max(step, 0.5) : step, value]);
      });
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
        { label: log ? "training step (0 at the left)" : "training step", log },
        { label: name.replaceAll("_", " "), log: name === "loss" },
      ),
    );
  }
  if (trained.length > 1) section.append(make("p", { className: "note" }, "Strong: the replica of lowest loss."));
  return section;
}
