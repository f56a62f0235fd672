// Reads the numbers that Python has packed into the page (pack.py).

/**
 * How an array is stored: see pack.py.
 * @typedef {{shape: number[], code: string, bits: number, lowest: number, step: number, scale: number, at: number}} Head
 */

/** An array of numbers. Reads each from its planes of bytes when it is asked for. */
export class Numbers {
  /**
   * @param {Head} head
   * @param {Uint8Array} bytes all arrays of the chunk
   */
  constructor(head, bytes) {
    this.shape = head.shape;
    this.size = head.shape.reduce((product, length) => product * length, 1);
    this.head = head;
    this.low = Math.max(head.bits - 8, 0);
    this.upper = bytes.subarray(head.at, head.at + this.size);
    this.lower = this.low ? bytes.subarray(head.at + this.size, head.at + 2 * this.size) : null;
  }

  /** The number at a position of the flattened array; NaN if it is missing. @param {number} index */
  at(index) {
    const code = this.lower ? (this.upper[index] << this.low) | this.lower[index] : this.upper[index];
    const { code: kind, lowest, step, scale } = this.head;
    if (kind === "whole") return code;
    if (code === 0) return NaN;
    const place = lowest + step * (code - 1);
    if (kind === "linear") return place;
    if (kind === "sinh") return Math.sinh(place);
    if (kind === "log") return code === 1 ? 0 : Math.exp(place - step);
    return scale * Math.expm1(place);
  }
}

/**
 * The arrays of a chunk, whose text is in the element `id`.
 * @param {string} id @param {Record<string, Head>} heads @returns {Promise<Record<string, Numbers>>}
 */
export async function readChunk(id, heads) {
  const text = /** @type {HTMLElement} */ (document.getElementById(id)).textContent || "";
  const binary = atob(text);
  const squeezed = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) squeezed[k] = binary.charCodeAt(k);
  const stream = new Blob([squeezed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  return Object.fromEntries(Object.entries(heads).map(([name, head]) => [name, new Numbers(head, bytes)]));
}
