// The borders between phases, as figures draw them: lines halfway between cells of different phases.

/**
 * Segments (x0, y0, x1, y1) in positions of cells, where 0 is the middle of the first cell. Each square of four
 * neighbouring cells joins the midpoints of those of its sides that join different phases: two of them directly, more
 * of them through the middle of the square. Borders to masked cells are left out.
 * @param {(row: number, column: number) => number} phase @param {number} rows @param {number} columns
 * @param {number} masked
 */
export function borders(phase, rows, columns, masked) {
  const out = [];
  for (let r = 0; r + 1 < rows; r++) {
    for (let c = 0; c + 1 < columns; c++) {
      const corners = [phase(r, c), phase(r, c + 1), phase(r + 1, c + 1), phase(r + 1, c)];
      if (corners[0] === corners[1] && corners[1] === corners[2] && corners[2] === corners[3]) continue;
      if (corners.includes(masked)) continue;
      const sides = [
        [c + 0.5, r],
        [c + 1, r + 0.5],
        [c + 0.5, r + 1],
        [c, r + 0.5],
      ].filter((_, k) => corners[k] !== corners[(k + 1) % 4]);
      if (sides.length === 2) out.push([...sides[0], ...sides[1]]);
      else for (const side of sides) out.push([...side, c + 0.5, r + 0.5]);
    }
  }
  return out;
}
