// The borders between phases, as figures draw them: lines halfway between cells of different phases.

/** @typedef {[number, number]} Point */

/**
 * Lines in positions of cells, (x, y), where 0 is the middle of the first cell. Each square of four neighbouring cells
 * joins the midpoints of those of its sides that join different phases: two of them directly, more of them through the
 * middle of the square. Borders to masked cells are left out.
 * @param {(row: number, column: number) => number} phase @param {number} rows @param {number} columns
 * @param {number} masked @returns {Point[][]}
 */
export function borders(phase, rows, columns, masked) {
  /** @type {[Point, Point][]} */
  const out = [];
  for (let r = 0; r + 1 < rows; r++) {
    for (let c = 0; c + 1 < columns; c++) {
      const corners = [phase(r, c), phase(r, c + 1), phase(r + 1, c + 1), phase(r + 1, c)];
      if (corners[0] === corners[1] && corners[1] === corners[2] && corners[2] === corners[3]) continue;
      if (corners.includes(masked)) continue;
      const all = /** @type {Point[]} */ ([
        [c + 0.5, r],
        [c + 1, r + 0.5],
        [c + 0.5, r + 1],
        [c, r + 0.5],
      ]);
      const sides = all.filter((_, k) => corners[k] !== corners[(k + 1) % 4]);
      if (sides.length === 2) out.push([sides[0], sides[1]]);
      else for (const side of sides) out.push([side, [c + 0.5, r + 0.5]]);
    }
  }
  return joined(out);
}

/**
 * Segments joined at their ends to long lines, so that dashes run along them.
 * @param {[Point, Point][]} segments
 * @returns {Point[][]}
 */
function joined(segments) {
  /** @type {Map<string, number[]>} */
  const at = new Map();
  segments.forEach((ends, k) => ends.forEach((end) => at.set(String(end), [...(at.get(String(end)) ?? []), k])));
  const used = new Set();
  /** @param {Point[]} line */
  const extend = (line) => {
    for (;;) {
      const end = line[line.length - 1];
      const next = (at.get(String(end)) ?? []).find((k) => !used.has(k));
      if (next === undefined) return line;
      used.add(next);
      const [a, b] = segments[next];
      line.push(String(a) === String(end) ? b : a);
    }
  };
  const out = [];
  for (let k = 0; k < segments.length; k++) {
    if (used.has(k)) continue;
    used.add(k);
    out.push(extend(extend([...segments[k]]).reverse()));
  }
  return out;
}
