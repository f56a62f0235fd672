// Starts the page: reads the data, builds the picture, the controls and the panels, and keeps them in step.

import { showControls } from "./controls.js";
import { readChunk } from "./data.js";
import { byId, make, short } from "./dom.js";
import { showLegend } from "./legend.js";
import { PhaseMap } from "./map.js";
import { showPanel, told } from "./panel.js";
import { chosenQuantity, quantities } from "./quantities.js";
import { Selection } from "./selection.js";
import { Explored, valueText } from "./run.js";
import { State } from "./state.js";
import { Strip, measuresAlong } from "./strip.js";

const PANELS = ["cell", "beside", "others", "rule", "replica", "model", "input", "models", "theme"];
const COLOURS = ["colour", "rule", "replica", "feature", "others", "models", "curves"];

/** @typedef {import("./state.js").View} View */

class Explorer {
  /** @param {Explored} run */
  constructor(run) {
    this.run = run;
    this.state = new State(run);
    /** @type {Set<string>} panels that show every model */
    this.full = new Set();
    this.width = 0;
    this.isMap = run.about.view === "map";
    byId("map-part").hidden = !this.isMap;
    byId("strip-part").hidden = this.isMap;
    const canvas = byId(this.isMap ? "map" : "chart");
    this.picture = this.isMap
      ? new PhaseMap(run, this.state, canvas, (cell) => this.hover(cell))
      : new Strip(this.state, canvas, byId("pictures"), (text) => this.point(text));
    this.state.listeners.push((view, changed) => this.show(view, changed));
    this.tell();
    this.point("");
    this.listen();
    this.fit();
    this.show(this.state.view, new Set([...PANELS, ...COLOURS, "measure"]));
  }

  /** @private */
  listen() {
    new ResizeObserver(() => requestAnimationFrame(() => this.fit())).observe(byId("picture"));
    const { picture } = this;
    if (picture instanceof PhaseMap) {
      byId("zoom-in").onclick = () => picture.zoomBy(1.5);
      byId("zoom-out").onclick = () => picture.zoomBy(1 / 1.5);
      byId("zoom-reset").onclick = () => picture.reset();
    }
    /** @type {HTMLElement} */ (document.querySelector(".skip")).onclick = (event) => {
      event.preventDefault(); // the address holds the view
      picture.canvas.focus();
    };
    byId("theme").onclick = () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
      this.theme(now === "dark" ? "light" : "dark");
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
    document.addEventListener("keydown", (event) => this.press(event));
    document.addEventListener("click", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("[data-more]");
      if (!button) return;
      this.full.add(/** @type {HTMLElement} */ (button.closest("article")).id);
      this.redraw();
    });
  }

  /**
   * Keys that work anywhere but in a field.
   * @private
   * @param {KeyboardEvent} event
   */
  press(event) {
    const { view } = this.state;
    const field = /** @type {HTMLElement} */ (event.target).closest("input, select");
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "b") this.state.change({ beside: view.beside ? null : view.cell });
    else if (event.key === "Escape") this.state.change({ cell: null, beside: null });
  }

  /**
   * @private
   * @param {string | undefined} name
   */
  theme(name) {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    this.redraw();
  }

  /**
   * Prints in light colours.
   * @private
   * @param {boolean} begins
   */
  print(begins) {
    if (begins) this.before = document.documentElement.dataset.theme;
    this.theme(begins ? "light" : this.before);
  }

  /** @private */
  fit() {
    const width = Math.floor(byId("picture").clientWidth);
    if (width > 0 && width !== this.width) {
      this.width = width;
      this.picture.resize(width);
    }
  }

  /** Draws everything again, such as in other colours. */
  redraw() {
    this.show(this.state.view, new Set([...PANELS, ...COLOURS, "measure"]));
  }

  /** The models have been read. @param {Record<string, import("./data.js").Numbers>} models */
  receive(models) {
    this.run.models = models;
    this.redraw();
    reached("complete");
  }

  /** Facts that do not change. @private */
  tell() {
    const { about } = this.run;
    document.title = `${about.name}: explorer`;
    byId("name").textContent = about.name;
    byId("models-line").textContent =
      `${about.facts.models} models: ${about.formula || about.family}, ${about.activation}`;
    const rows = Object.entries(about.facts).map(([name, text]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(text))),
    );
    byId("facts").replaceChildren(make("tbody", {}, ...rows));
    byId("rounding").textContent = this.rounding();
    const notes = this.notes();
    byId("notes").replaceChildren(...notes.map((text) => make("p", {}, text)));
    byId("notes").hidden = notes.length === 0;
  }

  /** @private */
  rounding() {
    const { errors } = this.run.about;
    const parts = [];
    if ("weights" in errors)
      parts.push(`weights and biases by at most ${short(errors.weights, 2)} (of their size above 1)`);
    if ("maps" in errors) parts.push(`norms and superposition of the map by at most ${short(errors.maps, 2)}`);
    if ("losses" in errors) parts.push(`losses by at most ${short(100 * errors.losses, 2)} %`);
    if ("excess" in errors)
      parts.push(`how far losses are above others by at most ${short(100 * errors.excess, 2)} % of that`);
    return `Numbers on this page are rounded so that the file stays small: ${parts.join(", ")}. Phases are exact.`;
  }

  /** What the page lacks, and why. @private */
  notes() {
    const { about } = this.run;
    const out = [];
    if (about.pixel) {
      const sizes = Object.entries(about.pixel)
        .map(([axis, size]) => `${size} along ${axis}`)
        .join(", ");
      out.push(
        `This run has too many cells to show each: a pixel is the mean of several (${sizes}), under the rule \u201c${about.rules[0]}\u201d.`,
      );
    } else if (about.best_only)
      out.push("The run kept only the best replica of each cell, so there is one model a cell and one rule.");
    else if (about.kept === "best")
      out.push(
        "The run has too many models for one page: it holds the best replica of each cell. `--region` makes a page of a part with all replicas.",
      );
    else if (about.kept === "none")
      out.push("The models of this run have too many parameters for one page, so it shows no models.");
    if (about.could_compare)
      out.push(
        "No exact optima of this run can be read: `tmsjax compare RUN` computes them, and then `tmsjax explore RUN` shows them.",
      );
    if (Object.keys(about.region).length)
      out.push(
        `Only a part of the run: ${Object.entries(about.region)
          .map(([axis, ends]) => `${axis} from ${ends[0]} to ${ends[1]}`)
          .join(", ")}.`,
      );
    return out;
  }

  /**
   * @private
   * @param {View} view
   * @param {Set<string>} changed
   */
  show(view, changed) {
    const any = (/** @type {string[]} */ names) => names.some((name) => changed.has(name));
    const { picture, run } = this;
    if (picture instanceof PhaseMap) {
      if (any(COLOURS)) {
        const all = quantities(run, view);
        showControls(byId("controls"), this.state, all);
        const chosen = chosenQuantity(all, view);
        picture.colour(chosen);
        showLegend(byId("legend"), chosen, run.about.colours.paper, picture.masked);
        byId("caption").textContent = this.caption(chosen, view);
      } else picture.draw();
      this.region(view);
    } else {
      if (any(["measure", "others", "models"])) showControls(byId("controls"), this.state, measuresAlong(run));
      if (any(["cell", "measure", "others", "models", "theme"])) picture.draw();
    }
    if (any(PANELS)) this.panels(view);
    if (changed.has("cell") && view.cell) byId("spoken").textContent = this.words(view.cell, 2);
  }

  /**
   * @private
   * @param {View} view
   */
  panels(view) {
    for (const [id, at] of /** @type {[string, [number, number] | null][]} */ ([
      ["panel", view.cell],
      ["panel-beside", view.beside],
    ])) {
      const place = byId(id);
      const open = place.querySelector("details[data-keep]")?.open ?? false;
      const focused = place.contains(document.activeElement)
        ? /** @type {HTMLElement} */ (document.activeElement)
        : null;
      const again = focused?.dataset.model
        ? `[data-model="${focused.dataset.model}"]`
        : focused?.id
          ? `#${focused.id}`
          : null;
      place.hidden = !at && id === "panel-beside";
      if (at) showPanel(place, this.state, at, { pinned: id === "panel-beside", full: this.full.has(id) });
      else if (id === "panel")
        place.replaceChildren(
          make(
            "p",
            { className: "invitation" },
            this.isMap
              ? "Click a cell of the map, or use the arrow keys on it, to see its models."
              : "Click a cell, or use the arrow keys on the chart, to see its models.",
          ),
        );
      const details = place.querySelector("details[data-keep]");
      if (details) details.open = open;
      if (focused) (again && place.querySelector(again) ? place.querySelector(again) : this.picture.canvas).focus();
    }
    byId("views").classList.toggle("two", view.beside !== null);
  }

  /**
   * A cell in words: its place and the first `most` of its numbers.
   * @private
   * @param {[number, number]} at
   */
  words(at, most = Infinity) {
    const { run, state } = this;
    const cell = run.cell(state.view.others, at[0], at[1]);
    const all = told(run, new Selection(run, state.view), cell);
    const numbers = all.slice(0, most).map(([name, text]) => `${name} ${text}`);
    return [run.place(state.view.others, at[0], at[1]), ...numbers].join("; ");
  }

  /**
   * @private
   * @param {[number, number] | null} cell
   */
  hover(cell) {
    this.point(cell ? this.words(cell) : "");
  }

  /**
   * Tells what the pointer is at.
   * @private
   * @param {string} text
   */
  point(text) {
    byId("hover").textContent = text || `Point at a ${this.isMap ? "cell" : "dot"} to see its numbers.`;
  }

  /**
   * What the map shows, for paper.
   * @private
   * @param {import("./quantities.js").Quantity} quantity
   * @param {View} view
   */
  caption({ key, label }, view) {
    const { run } = this;
    const rule = view.rule === "single" ? `replica ${view.replica}` : `the rule \u201c${view.rule}\u201d`;
    const others = run.others.map((axis, k) => valueText(axis, view.others[k]));
    const lines = view.curves.map((name) => `${name} theory (${name === "exact" ? "solid" : "dashed"})`);
    const feature = ["paper", "norm", "superposition"].includes(key) ? ` (feature ${view.feature + 1})` : "";
    const parts = [`Colour: ${label}${feature}`, rule, ...others];
    return `${parts.join("; ")}${lines.length ? `. Lines: ${lines.join(", ")}` : ""}.`;
  }

  /**
   * The command that makes a page of what the zoomed map shows.
   * @private
   * @param {View} view
   */
  region(view) {
    const { about } = this.run;
    const part = this.picture instanceof PhaseMap ? this.picture.shownPart() : null;
    const needed =
      (about.kept === "none" || (about.kept === "best" && !about.best_only)) && part !== null && view.zoom[0] > 1;
    byId("region").hidden = !needed;
    if (part) byId("region-command").textContent = `tmsjax explore RUN ${part}`;
  }
}

/**
 * Marks for others, such as tests, what has been drawn; the mark in the browser's timeline follows the next frame.
 * @param {string} state
 */
function reached(state) {
  document.documentElement.dataset.state = state;
  requestAnimationFrame(() => setTimeout(() => performance.mark(state)));
}

async function start() {
  const about = JSON.parse(byId("about").textContent);
  const explorer = new Explorer(new Explored(about, await readChunk("cells", about.cells)));
  reached("drawn");
  const models = async () => explorer.receive(await readChunk("models", about.models));
  const soon = () => requestAnimationFrame(() => setTimeout(models, 0));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", soon);
  else soon();
}

start().catch((error) => {
  const text = `This page could not be drawn: ${error instanceof Error ? error.message : error}. It needs a browser of 2023 or newer.`;
  byId("notes").replaceChildren(make("p", {}, text));
  byId("notes").hidden = false;
  document.documentElement.dataset.state = "failed";
  throw error;
});
