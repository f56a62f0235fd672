// What the map can be coloured by: for each choice a number of every cell, its colour and its legend.

import { MASKED, paperColours, ramped, rgb, toneOf } from "./colours.js";
import { percent, short } from "./dom.js";
import { NOTHING } from "./run.js";
import { Selection } from "./selection.js";

/** @typedef {import("./colours.js").RGB} RGB */
/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./state.js").View} View */
/**
 * @typedef {{kind: "square"} | {kind: "names", items: {name: string, colour: RGB}[]} |
 *   {kind: "ramp", low: string, high: string, colour: (share: number) => RGB}} Legend
 */
/** @typedef {{key: string, label: string, colour: (cell: number) => RGB, legend: Legend}} Quantity */
/** @typedef {(cell: number) => number} Value a number of a cell, NaN if it has none */

const EXCESS = /** @type {[number, number]} */ ([1e-4, 1]); // the ends of the ramp
const MOST_NAMED = 12; // replicas with a colour of their own

/**
 * Every quantity that this page can colour by, under the view's rule and feature.
 * @param {Explored} run
 * @param {View} view
 * @returns {Quantity[]}
 */
export function quantities(run, view) {
  const chosen = new Selection(run, view);
  const known = run.about.mapped_phases ? [...ofPhases(run, chosen, view.feature), ...ofTheories(run, chosen)] : [];
  const first = known.filter(({ key }) => !key.startsWith("agreement"));
  const agreement = known.filter(({ key }) => key.startsWith("agreement"));
  return [...first, ...ofLosses(run, chosen), ...agreement, ...ofReplicas(run)];
}

/**
 * The quantity of the view, or the first.
 * @param {Quantity[]} all
 * @param {View} view
 */
export function chosenQuantity(all, view) {
  return all.find((quantity) => quantity.key === view.colour) ?? all[0];
}

/**
 * A quantity whose values are the positions of names.
 * @param {string} key
 * @param {string} label
 * @param {Record<string, RGB>} colours by name
 * @param {Value} value
 * @returns {Quantity}
 */
function named(key, label, colours, value) {
  const items = Object.entries(colours).map(([name, colour]) => ({ name, colour }));
  return { key, label, colour: (cell) => items[value(cell)]?.colour ?? MASKED, legend: { kind: "names", items } };
}

/**
 * A quantity on a ramp between two ends.
 * @param {string} key
 * @param {string} label
 * @param {Value} value
 * @param {(share: number) => RGB} ramp
 * @param {{ends: [number, number], log?: boolean, told: [string, string]}} how told: the ends in words
 * @returns {Quantity}
 */
function graded(key, label, value, ramp, { ends: [low, high], log, told }) {
  const place = (/** @type {number} */ v) =>
    log ? Math.log(Math.max(v, low) / low) / (Math.log(high / low) || 1) : (v - low) / (high - low || 1);
  const colour = (/** @type {number} */ cell) => {
    const v = value(cell);
    return Number.isNaN(v) ? MASKED : ramp(place(v));
  };
  return { key, label, colour, legend: { kind: "ramp", low: told[0], high: told[1], colour: ramp } };
}

/**
 * @param {Explored} run
 * @param {Selection} chosen
 * @param {number} feature
 * @returns {Quantity[]}
 */
function ofPhases(run, chosen, feature) {
  const { colours, phases } = run.about;
  const ramp = ramped(colours.ramp);
  const paper = paperColours(colours.paper);
  const tones = phases.length === 3 ? [0, 2, 3] : [0, 1, 2, 3]; // "first only" is missing
  const byName = Object.fromEntries(phases.map((name, k) => [name, rgb(colours.phases[tones[k]])]));
  const colour = (/** @type {number} */ cell) => {
    const norm = chosen.norm(cell, feature);
    return Number.isNaN(norm) ? MASKED : paper(norm, chosen.superposition(cell, feature));
  };
  const unit = {
    ends: /** @type {[number, number]} */ ([0, 1]),
    told: /** @type {[string, string]} */ (["0", "\u2265 1"]),
  };
  return [
    { key: "paper", label: "norm and superposition (the paper\u2019s colours)", colour, legend: { kind: "square" } },
    named("phase", "phase", byName, (cell) => chosen.phase(cell)),
    graded("norm", "norm of a feature", (cell) => chosen.norm(cell, feature), ramp, unit),
    graded("superposition", "superposition of a feature", (cell) => chosen.superposition(cell, feature), ramp, unit),
  ];
}

/**
 * Agreement with each theory.
 * @param {Explored} run
 * @param {Selection} chosen
 * @returns {Quantity[]}
 */
function ofTheories(run, chosen) {
  const { colours, phases, theories } = run.about;
  const byName = Object.fromEntries(Object.entries(colours.differences).map(([name, tone]) => [name, rgb(tone)]));
  return theories.map((name) => {
    const theory = run.cells[`theory_${name}`];
    const counted = run.cells[`difference_${name}`]; // of pixels
    const value = (/** @type {number} */ cell) =>
      counted ? counted.at(cell) : difference(chosen.phase(cell), theory.at(cell), phases.length - 1);
    return named(`agreement-${name}`, `agreement with ${name} theory`, byName, value);
  });
}

/**
 * How a trained phase differs from a theory's: index into the names of differences.
 * @param {number} trained
 * @param {number} expected
 * @param {number} shared the phase of superposition
 */
function difference(trained, expected, shared) {
  if (trained === NOTHING) return 3;
  return trained === expected ? 0 : expected === shared ? 1 : 2;
}

/**
 * @param {Explored} run
 * @param {Selection} chosen
 * @returns {Quantity[]}
 */
function ofLosses(run, chosen) {
  const ramp = ramped(run.about.colours.ramp);
  const ends = run.usualLosses;
  const between = (/** @type {[number, number]} */ [low, high], /** @type {(v: number) => string} */ text) => ({
    ends: /** @type {[number, number]} */ ([low, high]),
    log: true,
    told: /** @type {[string, string]} */ ([`\u2264 ${text(low)}`, `\u2265 ${text(high)}`]),
  });
  const out = [];
  if ("excess_exact" in run.cells)
    out.push(
      graded("excess", "loss above the exact minimum", (cell) => chosen.excess(cell), ramp, between(EXCESS, percent)),
    );
  if ("loss" in run.cells)
    out.push(
      graded(
        "loss",
        chosen.single || !run.about.rules.includes("vote") ? "noise-free loss" : "noise-free loss of the best replica",
        (cell) => chosen.loss(cell),
        ramp,
        between(ends, (v) => short(v, 2)),
      ),
    );
  return out;
}

/**
 * Which replicas succeed, win and diverge.
 * @param {Explored} run
 * @returns {Quantity[]}
 */
function ofReplicas(run) {
  const { about } = run;
  const ramp = ramped(about.colours.ramp);
  const number = (/** @type {string} */ name) => (/** @type {number} */ cell) => run.number(name, cell);
  const out = [];
  if ("success" in run.cells)
    out.push(
      graded("success", "share of inits that succeed", number("success"), ramp, {
        ends: [0, 1],
        told: ["0 %", "100 %"],
      }),
    );
  const best = (/** @type {number} */ cell) => (run.best(cell) < 0 ? NaN : run.best(cell));
  const last = about.replicas - 1;
  if (about.comparable && !about.best_only && !about.pixel && last > 0) {
    const replicas = Array.from({ length: about.replicas }, (_, k) => k);
    const label = "replica of lowest loss";
    if (about.replicas <= MOST_NAMED) {
      const tone = (/** @type {number} */ k) => toneOf(about.colours.tones, ramp, k, about.replicas);
      out.push(named("best", label, Object.fromEntries(replicas.map((k) => [`replica ${k}`, tone(k)])), best));
    } else out.push(graded("best", label, best, ramp, { ends: [0, last], told: ["replica 0", `replica ${last}`] }));
  }
  const most = Math.max(about.most_failed, 1);
  const label = about.pixel ? "diverged models of a pixel" : "diverged replicas";
  out.push(graded("failed", label, number("failed"), ramp, { ends: [0, most], told: ["0", String(most)] }));
  return out;
}
