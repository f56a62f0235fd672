// Choices above the picture: colour, rule, replica, feature, curves, further axes.

import { choice, featureChoice, slider } from "./choices.js";
import { make } from "./dom.js";
import { valueText } from "./run.js";

/** @typedef {import("./state.js").State} State */

const RULES = /** @type {Record<string, string>} */ ({
  best: "best: the replica of lowest loss",
  paper: "paper: mean without the worst replica",
  vote: "vote of the replicas",
  single: "single: one replica",
});

/**
 * @param {HTMLElement} place
 * @param {State} state
 * @param {{key: string, label: string}[]} all what the map can be coloured by, or what the chart can show
 */
export function showControls(place, state, all) {
  const { run, view } = state;
  const { about } = run;
  const parts = [];
  const items = all.map(({ key, label }) => /** @type {[string, string]} */ ([key, label]));
  if (about.view === "map")
    parts.push(choice("colour", "Colour by", items, view.colour, (colour) => state.change({ colour })));
  else parts.push(choice("measure", "Chart of", items, view.measure, (measure) => state.change({ measure })));
  if (about.view === "map" && run.rules.length > 1) {
    parts.push(
      choice(
        "rule",
        "Selection among replicas",
        run.rules.map((rule) => [rule, RULES[rule]]),
        view.rule,
        (rule) => state.change({ rule }),
      ),
    );
    if (view.rule === "single")
      parts.push(
        slider("replica", "Replica", about.replicas - 1, view.replica, String, (replica) => state.change({ replica })),
      );
  }
  if (
    about.view === "map" &&
    about.features_shown.length > 1 &&
    ["paper", "norm", "superposition"].includes(view.colour)
  ) {
    parts.push(featureChoice(state, "feature", "Feature"));
  }
  run.others.forEach((axis, k) => {
    const moved = (/** @type {number} */ value) =>
      state.change({ others: view.others.map((v, j) => (j === k ? value : state.view.others[j])) });
    parts.push(
      slider(`axis-${k}`, axis.label, axis.values.length - 1, view.others[k], (value) => valueText(axis, value), moved),
    );
  });
  if (about.view === "map" && about.theories.length) parts.push(curves(state));
  renew(place, make("div", {}, ...parts));
}

/**
 * Shows the fields of `next`. Where they are the same ones, they only get its values, so that a slider that is being
 * dragged stays.
 * @param {HTMLElement} place
 * @param {HTMLElement} next
 */
function renew(place, next) {
  const fields = (/** @type {HTMLElement} */ from) =>
    /** @type {any[]} */ ([...from.querySelectorAll("select, input")]);
  const [now, fresh] = [fields(place), fields(next)];
  if (now.length !== fresh.length || now.some((field, k) => field.id !== fresh[k].id)) {
    const focused = place.contains(document.activeElement) ? document.activeElement?.id : "";
    place.replaceChildren(...next.childNodes);
    if (focused) document.getElementById(focused)?.focus();
    return;
  }
  now.forEach((field, k) => {
    if (field.value !== fresh[k].value) field.value = fresh[k].value;
    field.checked = fresh[k].checked;
    const [words, told] = [fresh[k].getAttribute("aria-valuetext"), field.parentElement.querySelector("output")];
    if (words !== null) field.setAttribute("aria-valuetext", words);
    if (words !== null && told) told.textContent = words;
  });
}

/** @param {State} state */
function curves(state) {
  const { run, view } = state;
  const boxes = run.about.theories.map((name) => {
    const id = `curve-${name}`;
    const box = make("input", { id, type: "checkbox", checked: view.curves.includes(name) });
    box.addEventListener("change", () => {
      const on = new Set(state.view.curves);
      if (box.checked) on.add(name);
      else on.delete(name);
      state.change({ curves: run.about.theories.filter((each) => on.has(each)) });
    });
    return make(
      "label",
      { for: id, className: `curve ${name}` },
      box,
      ` ${name} theory `,
      make("span", { className: `line ${name}`, "aria-hidden": "true" }),
    );
  });
  return make("fieldset", { className: "choice" }, make("legend", {}, "Phase boundaries"), ...boxes);
}
