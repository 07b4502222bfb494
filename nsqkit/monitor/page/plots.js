// Plots: lines of 90 steps as SVG, with marks and hatched pauses. Gaps in the data are gaps in the line.

import { attr, svg } from "./dom.js";

const WIDTH = 180;
const HEIGHT = 36;
const FLOOR = 28;
const STEPS = 90;
const GLYPHS = {
  start: "M0-7 4 0h-8z", deploy: "M0-7 4 0h-8z", change: "M-4-7h8L0 0z", ended: "M-4-7-1-3.5-4 0h2L0-2.4 2 0h2L1-3.5 4-7H2L0-4.6-2-7z",
  pause: "M-3.5-7h2.5v7h-2.5zM1-7h2.5v7H1z", resume: "M-3-7 4-3.5-3 0z", breaker: "M0-7.5 4-3.7 0 0-4-3.7z", kill_switch: "M-3.5-7h7v7h-7z",
};

const x = (step) => ((step + 0.5) * WIDTH) / STEPS;

export class Plot {
  constructor(label) {
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.limit = svg("path", { class: "limit" });
    this.marks = svg("g");
    this.paused = svg("g");
    this.root = svg(
      "svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      this.paused, this.area, svg("path", { class: "base", d: `M0 ${FLOOR}H${WIDTH}` }), this.limit, this.line, this.marks,
    );
    this.drawn = "";
  }

  draw(values, top, { limit = null, paused = [], marks = [] } = {}) {
    const runs = parts(values);
    const y = (value) => (FLOOR - (Math.min(value, top) / top) * (FLOOR - 2)).toFixed(1);
    attr(this.line, "d", runs.map((run) => `M${run.map(([step, value]) => `${x(step).toFixed(1)} ${y(value)}`).join("L")}h.1`).join(""));
    attr(this.area, "d", runs.map((run) => `M${x(run[0][0]).toFixed(1)} ${FLOOR}L${run.map(([step, value]) => `${x(step).toFixed(1)} ${y(value)}`).join("L")}V${FLOOR}z`).join(""));
    attr(this.limit, "d", limit === null || limit > top ? "" : `M0 ${y(limit)}H${WIDTH}`);
    const key = JSON.stringify([paused, marks]);
    if (key !== this.drawn) {
      this.drawn = key;
      this.paused.replaceChildren(...paused.map(pause));
      this.marks.replaceChildren(...marks.map(mark));
    }
  }
}

function parts(values) {
  const runs = [];
  let run = null;
  values.forEach((value, step) => {
    if (value === null) run = null;
    else if (run) run.push([step, value]);
    else runs.push((run = [[step, value]]));
  });
  return runs;
}

const pause = (step) => svg("rect", { class: "paused", x: x(step - 0.5), y: 2, width: WIDTH / STEPS + 0.2, height: FLOOR - 2 });

function mark({ step, kind, text }) {
  const group = svg("g", { transform: `translate(${x(step).toFixed(1)} 0)` });
  group.append(
    svg("path", { class: "mark", d: `M0 2V${FLOOR}` }),
    svg("path", { class: `glyph ${kind}`, d: GLYPHS[kind] ?? GLYPHS.change, transform: `translate(0 ${HEIGHT - 1})` }),
    Object.assign(svg("title"), { textContent: text }),
  );
  return group;
}

export class Bar {
  constructor(name, parts) {
    this.fills = parts.map((part) => svg("rect", { class: part, height: 8 }));
    this.root = svg("svg", { class: name, viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "track", width: 100, height: 8 }), ...this.fills);
  }

  draw(shares) {
    let from = 0;
    shares.forEach((share, index) => {
      const width = Math.max(0, Math.min(100 - from, 100 * share));
      attr(this.fills[index], "x", from.toFixed(1));
      attr(this.fills[index], "width", width.toFixed(1));
      from += width;
    });
  }
}
