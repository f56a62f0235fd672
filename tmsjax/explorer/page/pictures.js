// Pictures of one model: bars, arrows, W^T W with norms, the feature graph.

import { clamp, css, ramped, rgb, toneOf } from "./colours.js";
import { line } from "./axes.js";
import { ink, picture, seen, short } from "./dom.js";
import { gram, largest, norms, superposition } from "./measures.js";

/** @typedef {import("./run.js").Explored} Explored */
/** @typedef {import("./measures.js").Parameters} Parameters */
/** @typedef {import("./run.js").Model} Model */
/**
 * What the drawing of a cell's models needs beside their parameters.
 * @typedef {{run: Explored, cell: number, reach: number, tones: string[]}} Setting
 */
/**
 * @typedef {(c: CanvasRenderingContext2D, model: Parameters, setting: Setting, side: number, key: string) => void} Drawing
 */

const EDGE = 0.1; // least |cosine| of an edge that is drawn
const MOST_BARS = 12; // features whose weights are shown as bars if there is one hidden dimension

/**
 * Which picture suits a run: "bars", "arrows", "graph", "norms" or "gram"; "heat" without directions.
 * @param {Explored} run
 * @param {string | null} [study]
 */
export function pictureKind(run, study) {
  const { about } = run;
  if (!("W" in about.parameters)) return "heat";
  if (study === "geometry" && run.models && "component" in run.models) return "graph";
  if (study === "norms" && run.m > 2) return "norms";
  if (run.m === 1 && run.n <= MOST_BARS) return "bars";
  return run.m === 2 ? "arrows" : "gram";
}

/**
 * The colours of features: tones for few, the ramp for many.
 * @param {Explored} run
 * @returns {string[]}
 */
export function featureTones(run) {
  const { colours } = run.about;
  const ramp = ramped(colours.ramp.slice(4, -6));
  return Array.from({ length: run.n }, (_, k) => seen(css(toneOf(colours.tones, ramp, k, run.n))));
}

/**
 * A picture of a model, which has parameters, of a side in CSS pixels.
 * @param {string} kind @param {Model} model @param {Setting} setting @param {number} side
 */
export function modelPicture(kind, model, setting, side) {
  const parameters = /** @type {Parameters} */ (model.parameters);
  const draw = /** @type {Record<string, Drawing>} */ ({
    bars,
    arrows,
    gram: gramPicture,
    norms: normBars,
    graph,
    heat,
  })[kind];
  return picture(side, side, `${model.title}: ${described(parameters, setting.run)}`, (c) =>
    draw(c, parameters, setting, side, model.key),
  );
}

/**
 * A model in words.
 * @param {Parameters} model
 * @param {Explored} run
 */
function described(model, run) {
  if (!model.W) return "weights as colours";
  if (run.n > MOST_BARS || run.m > 2) {
    const sizes = norms(model.W, run.m, run.n);
    return `${sizes.filter((norm) => norm >= run.about.represented).length} of ${run.n} features represented, largest norm ${short(largest(sizes))}`;
  }
  const features = Array.from({ length: run.n }, (_, i) => {
    const column = Array.from({ length: run.m }, (_, k) => short(model.W[k * run.n + i]));
    const bias = model.b ? `, b ${short(model.b[i])}` : "";
    return `feature ${i + 1}: W ${column.join(" and ")}${bias}`;
  });
  return features.join("; ");
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {number} side
 */
function bars(c, model, setting, side) {
  const { run, reach, tones } = setting;
  const { text, muted, line: faint } = ink();
  const [left, top, bottom] = [30, 6, side - 26];
  const y = d3.scaleLinear().domain([-reach, reach]).range([bottom, top]);
  const groups = "b" in run.about.parameters ? [model.W, model.b ?? new Float64Array(0)] : [model.W];
  const width = (side - left - 4) / groups.length;
  c.fillStyle = text;
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const tick of y.ticks(4)) {
    c.strokeStyle = faint;
    line(c, left, y(tick), side - 4, y(tick));
    c.fillText(short(tick), left - 4, y(tick));
  }
  groups.forEach((values, g) => {
    const start = left + g * width + 3;
    const step = (width - 6) / run.n;
    values.forEach((value, i) => {
      c.fillStyle = tones[i];
      c.fillRect(
        start + i * step + 1,
        Math.min(y(value), y(0)),
        Math.max(step - 2, 1),
        Math.max(Math.abs(y(value) - y(0)), 1),
      );
      c.fillStyle = text;
      c.textAlign = "center";
      c.fillText(String(i + 1), start + (i + 0.5) * step, bottom + 7);
    });
    c.fillStyle = text;
    if (values.length) c.fillText(g ? "b" : "W", start + width / 2 - 3, bottom + 19);
  });
  c.strokeStyle = muted;
  line(c, left, y(0), side - 4, y(0));
}

/**
 * Columns of W in the plane, with the unit circle.
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {number} side
 */
function arrows(c, model, setting, side) {
  const { run, reach, tones } = setting;
  const { muted, line: faint, surface } = ink();
  const at = d3
    .scaleLinear()
    .domain([-reach, reach])
    .range([6, side - 6]);
  c.strokeStyle = faint;
  line(c, 6, side / 2, side - 6, side / 2);
  line(c, side / 2, 6, side / 2, side - 6);
  c.strokeStyle = muted;
  c.beginPath();
  c.arc(side / 2, side / 2, at(1) - at(0), 0, 2 * Math.PI);
  c.stroke();
  for (let i = 0; i < run.n; i++) {
    const [x, y] = [at(model.W[i]), side - at(model.W[run.n + i])];
    for (const [width, colour] of /** @type {[number, string][]} */ ([
      [4, surface],
      [2, tones[i]],
    ])) {
      c.strokeStyle = colour;
      c.lineWidth = width;
      line(c, side / 2, side / 2, x, y);
    }
    c.fillStyle = tones[i];
    c.beginPath();
    c.arc(x, y, 3.2, 0, 2 * Math.PI);
    c.fill();
    if (run.n <= MOST_BARS && side >= 110) {
      const away = Math.hypot(x - side / 2, y - side / 2) || 1;
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.fillStyle = ink().text;
      c.fillText(
        String(i + 1),
        clamp(x + (9 * (x - side / 2)) / away, 5, side - 5),
        clamp(y + (9 * (y - side / 2)) / away, 6, side - 6),
      );
    }
  }
  c.lineWidth = 1;
}

/**
 * Squares of a matrix (rows, columns) in red and blue between -1 and 1.
 * @param {CanvasRenderingContext2D} c
 * @param {ArrayLike<number>} values
 * @param {number} rows
 * @param {number} columns
 * @param {[number, number, number, number]} box
 * @param {string[]} ramp
 */
function squares(c, values, rows, columns, [left, top, width, height], ramp) {
  const tone = ramped(ramp);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < columns; k++) {
      c.fillStyle = css(tone((values[r * columns + k] + 1) / 2));
      const [x, y] = [left + (k * width) / columns, top + (r * height) / rows];
      c.fillRect(x, y, Math.max(width / columns, 0.5) + 0.4, Math.max(height / rows, 0.5) + 0.4);
    }
  }
}

/**
 * W^T W with b beside it, and below them the norms, coloured by superposition.
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {number} side
 */
function gramPicture(c, model, setting, side) {
  const { run } = setting;
  const { colours } = run.about;
  const { line: faint } = ink();
  const high = Math.round(side * 0.7);
  squares(c, gram(model.W, run.m, run.n), run.n, run.n, [0, 0, high, high], colours.diverging);
  c.strokeStyle = faint;
  c.strokeRect(0.5, 0.5, high, high);
  if (model.b) {
    squares(c, model.b, run.n, 1, [high + 6, 0, 9, high], colours.diverging);
    c.strokeRect(high + 6.5, 0.5, 9, high);
  }
  barsOfNorms(c, model, setting, [0, high + 6, high, side - high - 7]);
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {number} side
 */
function normBars(c, model, setting, side) {
  barsOfNorms(c, model, setting, [2, 4, side - 4, side - 8]);
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {[number, number, number, number]} box
 */
function barsOfNorms(c, model, setting, [left, top, width, height]) {
  const { run } = setting;
  const tone = ramped(run.about.colours.ramp);
  const sizes = norms(model.W, run.m, run.n);
  const shared = superposition(model.W, run.m, run.n);
  const most = largest(sizes, 1.2);
  const step = width / run.n;
  sizes.forEach((norm, i) => {
    c.fillStyle = css(tone(shared[i]));
    const tall = (norm / most) * height;
    c.fillRect(left + i * step, top + height - tall, Math.max(step - (step > 3 ? 1 : 0), 0.6), tall);
  });
  c.strokeStyle = ink().muted;
  line(c, left, top + height + 0.5, left + width, top + height + 0.5);
}

/**
 * The feature graph: components as rings, coloured by their polytopes.
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {number} side
 * @param {string} replica
 */
function graph(c, model, setting, side, replica) {
  const { run, cell } = setting;
  const of = (/** @type {string} */ name) =>
    Array.from({ length: run.n }, (_, i) =>
      /** @type {any} */ (run.models)[name].at((Number(replica) * run.n + i) * run.count + cell),
    );
  const [components, polytopes] = [of("component"), of("polytope")];
  const { muted, text } = ink();
  const groups = new Map();
  components.forEach((component, i) => component && groups.set(component, [...(groups.get(component) ?? []), i]));
  const parts = [...groups.values()].sort((a, b) => b.length - a.length);
  if (!parts.length) return;
  const G = gram(model.W, run.m, run.n);
  const places = packed(
    parts.map((part) => (part.length === 1 ? 0.5 : 0.7 + part.length / 6)),
    side,
  );
  const dot = clamp(places.unit * 0.28, 1, 5);
  parts.forEach((part, p) => {
    const { x, y, r } = places.circles[p];
    const around = part.map((/** @type {number} */ _, /** @type {number} */ k) => {
      const angle = (2 * Math.PI * k) / part.length - Math.PI / 2;
      const ring = part.length === 1 ? 0 : Math.max(r - dot - 1, 0);
      return [x + ring * Math.cos(angle), y + ring * Math.sin(angle)];
    });
    part.forEach((/** @type {number} */ i, /** @type {number} */ a) => {
      part.slice(a + 1).forEach((/** @type {number} */ j, /** @type {number} */ d) => {
        const cosine = Math.abs(G[i * run.n + j]) / Math.sqrt(G[i * run.n + i] * G[j * run.n + j]);
        if (cosine < EDGE) return;
        c.globalAlpha = clamp(cosine, 0.1, 1);
        c.strokeStyle = text;
        line(c, around[a][0], around[a][1], around[a + 1 + d][0], around[a + 1 + d][1]);
      });
    });
    c.globalAlpha = 1;
    part.forEach((/** @type {number} */ i, /** @type {number} */ a) => {
      c.fillStyle = css(rgb(run.about.colours.polytopes[polytopes[i]]));
      c.strokeStyle = muted;
      c.beginPath();
      c.arc(around[a][0], around[a][1], dot, 0, 2 * Math.PI);
      c.fill();
      c.stroke();
    });
  });
}

/**
 * Circles of relative radii in rows that fill a square.
 * @param {number[]} radii
 * @param {number} side
 */
function packed(radii, side) {
  const rows = (/** @type {number} */ unit) => {
    const circles = [];
    let [x, y, high] = [0, 0, 0];
    for (const radius of radii) {
      const r = radius * unit;
      if (x + 2 * r > side) [x, y, high] = [0, y + high, 0];
      high = Math.max(high, 2 * r);
      circles.push({ x: x + r, y: y + r, r: 0.9 * r });
      x += 2 * r;
    }
    return { circles, unit, tall: y + high };
  };
  let [low, most] = [0, side / 2 / largest(radii)];
  for (let k = 0; k < 30; k++) {
    const middle = (low + most) / 2;
    if (rows(middle).tall <= side) low = middle;
    else most = middle;
  }
  return rows(low);
}

/**
 * Parameters of models without directions, as colours.
 * @param {CanvasRenderingContext2D} c
 * @param {Parameters} model
 * @param {Setting} setting
 * @param {number} side
 */
function heat(c, model, setting, side) {
  const { about } = setting.run;
  const entries = Object.entries(model);
  const height = (side - 4) / entries.length;
  entries.forEach(([name, values], k) => {
    const shape = about.parameters[name];
    const [rows, columns] = shape.length > 1 ? shape : [1, shape[0] ?? 1];
    const most = largest(values.map(Math.abs), 1e-30);
    squares(
      c,
      values.map((v) => v / most),
      rows,
      columns,
      [30, k * height + 2, side - 34, height - 6],
      about.colours.diverging,
    );
    c.fillStyle = ink().text;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillText(name, 2, k * height + height / 2);
  });
}
