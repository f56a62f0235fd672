// Labelled fields: lists, sliders, and the number of a feature.

import { make } from "./dom.js";

/** @typedef {import("./state.js").State} State */

/**
 * @param {string} name
 * @param {string} label
 * @param {[string, string][]} items
 * @param {string} value
 * @param {(value: string) => void} chosen
 */
export function choice(name, label, items, value, chosen) {
  const id = `choice-${name}`;
  const field = make(
    "select",
    { id },
    ...items.map(([key, text]) => make("option", { value: key, selected: key === value }, text)),
  );
  field.addEventListener("change", () => chosen(field.value));
  return make("p", { className: "choice" }, make("label", { for: id }, label), field);
}

/**
 * A slider over whole numbers.
 * @param {string} name
 * @param {string} label
 * @param {number} most
 * @param {number} value
 * @param {(value: number) => string} text
 * @param {(value: number) => void} moved
 */
export function slider(name, label, most, value, text, moved) {
  const id = `slider-${name}`;
  const field = make("input", { id, type: "range", min: "0", max: String(most), step: "1", value: String(value) });
  const told = make("output", { for: id }, text(value));
  field.setAttribute("aria-valuetext", text(value));
  field.addEventListener("input", () => {
    told.textContent = text(Number(field.value));
    field.setAttribute("aria-valuetext", text(Number(field.value)));
    moved(Number(field.value));
  });
  return make("p", { className: "choice slider" }, make("label", { for: id }, label), field, told);
}

/**
 * The number of a feature, from 1.
 * @param {State} state
 * @param {"input" | "feature"} name
 * @param {string} label
 */
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
