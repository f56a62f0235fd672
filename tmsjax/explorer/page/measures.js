// Measures of one model and its output, as tmsjax/kinds/measures.py and families.py define them.
// W is a flat array (hidden, feature): W[k * n + i] is component k of the direction of feature i.

const TINY = 1e-30;

/**
 * W^T W, flat (n, n).
 * @param {ArrayLike<number>} W
 * @param {number} m
 * @param {number} n
 */
export function gram(W, m, n) {
  const out = new Float64Array(n * n);
  for (let k = 0; k < m; k++) {
    for (let i = 0; i < n; i++) {
      const w = W[k * n + i];
      for (let j = 0; j < n; j++) out[i * n + j] += w * W[k * n + j];
    }
  }
  return out;
}

/**
 * |W_i|, (n,).
 * @param {ArrayLike<number>} W
 * @param {number} m
 * @param {number} n
 */
export function norms(W, m, n) {
  const out = new Float64Array(n);
  for (let k = 0; k < m; k++) for (let i = 0; i < n; i++) out[i] += W[k * n + i] ** 2;
  return out.map(Math.sqrt);
}

/**
 * sum over j != i of (w_i . W_j)^2, (n,).
 * @param {ArrayLike<number>} W
 * @param {number} m
 * @param {number} n
 */
export function superposition(W, m, n) {
  const G = gram(W, m, n);
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) if (j !== i) out[i] += G[i * n + j] ** 2;
    out[i] /= Math.max(G[i * n + i], TINY);
  }
  return out;
}

/**
 * D_i = |W_i|^2 / sum over j of (w_i . W_j)^2, (n,).
 * @param {ArrayLike<number>} W
 * @param {number} m
 * @param {number} n
 */
export function dimensionality(W, m, n) {
  const G = gram(W, m, n);
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += G[i * n + j] ** 2;
    out[i] = G[i * n + i] ** 2 / Math.max(sum, TINY);
  }
  return out;
}

/**
 * D* = m / |W|_F^2.
 * @param {ArrayLike<number>} W
 * @param {number} m
 * @param {number} n
 */
export function dimensionsPerFeature(W, m, n) {
  return m / norms(W, m, n).reduce((sum, norm) => sum + norm ** 2, 0);
}

/** @type {Record<string, (v: number) => number>} */
const ACTIVATIONS = {
  relu: (v) => Math.max(v, 0),
  linear: (v) => v,
  gelu: (v) => (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))),
};

/** @typedef {{W: Float64Array, b?: Float64Array, V?: Float64Array}} Parameters */
/** @typedef {(model: Parameters, x: Float64Array) => Float64Array} Output */

/**
 * The function that computes a model's output, or null for a family or an activation that this page does not know.
 * @param {string} family @param {string} activation @param {number} m @param {number} n @returns {Output | null}
 */
export function outputOf(family, activation, m, n) {
  const f = Object.hasOwn(ACTIVATIONS, activation) ? ACTIVATIONS[activation] : null;
  if (!f || !["tied", "tied-no-bias", "hidden-relu", "absolute-value"].includes(family)) return null;
  const inner = family.startsWith("tied") ? ACTIVATIONS.linear : ACTIVATIONS.relu;
  return (model, x) => {
    const { W, V, b } = model;
    const out = new Float64Array(n);
    for (let k = 0; k < m; k++) {
      let h = 0;
      for (let i = 0; i < n; i++) h += W[k * n + i] * x[i];
      h = inner(h);
      for (let i = 0; i < n; i++) out[i] += (V ? V[i * m + k] : W[k * n + i]) * h;
    }
    return out.map((v, i) => f(v + (b ? b[i] : 0)));
  };
}

/**
 * The largest of some numbers and `least`; unlike Math.max for any count.
 * @param {Iterable<number>} values
 */
export function largest(values, least = -Infinity) {
  let out = least;
  for (const value of values) if (value > out) out = value;
  return out;
}
