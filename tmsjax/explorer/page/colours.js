// Colours of numbers and of names. Ramps and palettes come from Python, where figures use the same.

/** @typedef {[number, number, number]} RGB */

/** The colour of cells and models without a number. */
export const MASKED = /** @type {RGB} */ ([0, 0, 0]);

/**
 * @param {string} hex "#rrggbb"
 * @returns {RGB}
 */
export function rgb(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** @param {RGB} colour */
export function css(colour) {
  return `rgb(${colour.map(Math.round).join(",")})`;
}

/**
 * @param {number} v
 * @param {number} low
 * @param {number} high
 */
export function clamp(v, low = 0, high = 1) {
  return Math.min(Math.max(v, low), high);
}

/** A function from [0, 1] to the colours of a ramp. @param {string[]} ramp */
export function ramped(ramp) {
  const colours = ramp.map(rgb);
  return (/** @type {number} */ share) => colours[Math.round(clamp(share) * (colours.length - 1))];
}

/**
 * The paper's colours: from grey by norm, from blue to red by superposition.
 * @param {number[][]} ends grey, blue, red @returns {(norm: number, superposition: number) => RGB}
 */
export function paperColours([grey, blue, red]) {
  return (norm, superposition) => {
    const strength = clamp(norm);
    const shared = clamp(superposition);
    const mix = (/** @type {number} */ k) =>
      (1 - strength) * grey[k] + strength * ((1 - shared) * blue[k] + shared * red[k]);
    return [mix(0), mix(1), mix(2)];
  };
}

/**
 * The colour of item k of `count`.
 * @param {string[]} tones
 * @param {(share: number) => RGB} ramp
 * @param {number} k
 * @param {number} count
 * @returns {RGB}
 */
export function toneOf(tones, ramp, k, count) {
  return count <= tones.length ? rgb(tones[k]) : ramp(k / Math.max(count - 1, 1));
}

/** One number of 32 bits for ImageData, on a little-endian machine. @param {RGB} colour */
export function pixel(colour) {
  return ((255 << 24) | (Math.round(colour[2]) << 16) | (Math.round(colour[1]) << 8) | Math.round(colour[0])) >>> 0;
}
