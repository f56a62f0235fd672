// The legend of the map: the paper's square, names with colours, or a ramp.

import { MASKED, css, paperColours } from "./colours.js";
import { make, picture } from "./dom.js";

const SQUARE = 92;
const RAMP = 180;

/**
 * @param {HTMLElement} place
 * @param {import("./quantities.js").Quantity} quantity
 * @param {number[][]} paper grey, blue, red
 * @param {boolean} masked whether the map has cells without a usable model
 */
export function showLegend(place, quantity, paper, masked) {
  const { legend } = quantity;
  const parts =
    legend.kind === "square"
      ? [square(paper)]
      : legend.kind === "names"
        ? legend.items.map(({ name, colour }) => entry(name, css(colour)))
        : [rampWithEnds(legend)];
  if (masked) parts.push(entry("every replica diverged", css(MASKED)));
  place.replaceChildren(...parts);
}

/** @param {{low: string, high: string, colour: (share: number) => import("./colours.js").RGB}} legend */
function rampWithEnds({ low, high, colour }) {
  return make("span", { className: "ramp" }, make("span", {}, low), ramp(colour), make("span", {}, high));
}

/**
 * @param {string} name
 * @param {string} colour
 */
export function entry(name, colour) {
  const swatch = make("span", { className: "swatch" });
  swatch.style.backgroundColor = colour;
  return make("span", { className: "entry" }, swatch, name);
}

/** @param {number[][]} paper */
function square(paper) {
  const colour = paperColours(paper);
  const label =
    "Colours: grey where the norm is 0; with the norm towards blue without superposition, towards red with superposition 1 or more";
  const drawn = picture(SQUARE, SQUARE, label, (c) => {
    const cell = 4;
    for (let x = 0; x < SQUARE; x += cell) {
      for (let y = 0; y < SQUARE; y += cell) {
        c.fillStyle = css(colour(1 - y / (SQUARE - cell), x / (SQUARE - cell)));
        c.fillRect(x, y, cell, cell);
      }
    }
  });
  const text = (/** @type {string} */ name, /** @type {string} */ words) =>
    make("span", { className: `square-${name}` }, words);
  return make(
    "span",
    { className: "square" },
    text("y", "norm \u2191 0 to \u2265 1"),
    drawn,
    text("x", "superposition \u2192 0 to \u2265 1"),
  );
}

/** @param {(share: number) => import("./colours.js").RGB} colour */
function ramp(colour) {
  return picture(RAMP, 14, "colour ramp", (c) => {
    for (let x = 0; x < RAMP; x++) {
      c.fillStyle = css(colour(x / (RAMP - 1)));
      c.fillRect(x, 0, 1, 14);
    }
  });
}
