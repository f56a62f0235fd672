// Elements, canvases and the colours of the theme. Texts only ever become text nodes, so none is read as HTML.

/**
 * An element with properties, attributes ("aria-...", "role", "for") and children.
 * @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string | null)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A canvas of a size in CSS pixels, sharp on dense screens, with a text alternative.
 * @param {number} width @param {number} height @param {string} label @param {(c: CanvasRenderingContext2D) => void} draw
 * @returns {HTMLCanvasElement}
 */
export function picture(width, height, label, draw) {
  const canvas = make("canvas", { role: "img", "aria-label": label });
  draw(sized(canvas, width, height));
  return canvas;
}

/**
 * Gives a canvas a size in CSS pixels and returns its empty context, scaled so that one unit is one CSS pixel.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height
 */
export function sized(canvas, width, height) {
  const dense = Math.max(window.devicePixelRatio || 1, 1);
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.font = "11px system-ui, sans-serif";
  return context;
}

/** The theme's colours, for canvases. */
export function ink() {
  const style = getComputedStyle(document.documentElement);
  const of = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return { text: of("text"), muted: of("muted"), line: of("line"), surface: of("surface"), accent: of("accent") };
}

/**
 * A colour that can be seen on the surface: the text's instead of black.
 * @param {string} colour
 */
export function seen(colour) {
  return colour === "#000000" || colour === "rgb(0,0,0)" ? ink().text : colour;
}

/** A number to `digits` significant digits, without exponents for common sizes. @param {number} v */
export function short(v, digits = 3) {
  if (v === undefined || Number.isNaN(v)) return "none";
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size < 1e-4 || size >= 1e6) return v.toExponential(digits - 1).replace("e+", "e");
  return String(Number(v.toPrecision(digits))).replace(/^-/, "\u2212");
}

/** A share as a percentage. @param {number} v */
export function percent(v, digits = 3) {
  return Number.isNaN(v) ? "none" : `${short(100 * v, digits)} %`;
}
