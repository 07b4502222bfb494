// Handlers: one row for each, made once and changed in place, so that nothing jumps.

import { WORDS, attr, byId, el, flag, hide, icon, setIcon, text } from "./dom.js";
import { Detail } from "./detail.js";
import { Bar, Plot } from "./plots.js";
import { NOTHING, age, count, intake, percent, rate } from "./words.js";

const DENSE_FROM = 13;
const ORDER_MS = 10000;
const RANKS = ["bad", "held", "warn", "ok", "unknown"];
const FEW = 50;
const LEAST_TOP = 0.1;

export class Handlers {
  constructor(feed) {
    this.feed = feed;
    this.rows = new Map();
    this.body = byId("rows");
    this.ordered = 0;
  }

  show(state) {
    const top = Math.max(LEAST_TOP, ...state.handlers.flatMap((row) => row.series.map((value) => value ?? 0)));
    const scale = Math.min(1, Math.ceil(10 * top) / 10);
    text(byId("scale"), `15 m, 0 to ${Math.round(100 * scale)} %`);
    text(byId("h-count"), `${state.handlers.length}, the worst first`);
    flag(this.body.parentNode, "dense", state.handlers.length >= DENSE_FROM);
    for (const row of state.handlers) {
      if (!this.rows.has(row.name)) this.add(row.name);
      const marks = state.marks.filter((mark) => !mark.handler || mark.handler === row.name);
      this.rows.get(row.name).show(row, scale, marks);
    }
    this.order(state.handlers);
  }

  add(name) {
    const row = new Row(name, this.feed);
    this.rows.set(name, row);
    this.body.append(row.root);
    this.ordered = 0;
  }

  order(rows) {
    const now = performance.now();
    const isBusy = this.body.matches(":hover") || this.body.contains(document.activeElement) || this.body.querySelector(".detail");
    if (this.ordered && (isBusy || now - this.ordered < ORDER_MS)) return;
    this.ordered = now;
    const names = [...rows].sort(worstFirst).map((row) => row.name);
    const shown = [...this.body.querySelectorAll(".row")].map((node) => node.dataset.name);
    if (names.join("\n") !== shown.join("\n")) this.body.append(...names.map((name) => this.rows.get(name).root));
  }

  open(name) {
    const row = this.rows.get(name);
    row?.toggle(true);
    row?.button.focus();
  }
}

function worstFirst(one, other) {
  return RANKS.indexOf(one.level) - RANKS.indexOf(other.level) || (other.m1 ?? -1) - (one.m1 ?? -1) || one.name.localeCompare(other.name);
}

class Row {
  constructor(name, feed) {
    this.name = name;
    this.feed = feed;
    this.detail = null;
    this.icon = icon("unknown");
    this.level = el("span", { class: "vh" });
    this.names = el("span", { class: "sub" });
    this.pill = el("span", { class: "pill", hidden: "" });
    this.button = el(
      "button", { type: "button", class: "rowbtn", "aria-expanded": "false" },
      el("span", { class: "chev", "aria-hidden": "true" }, "›"), this.icon,
      el("span", { class: "name", title: name }, name, " ", this.level), this.names, el("span", { class: "sub" }, this.pill),
    );
    this.plot = new Plot(`Requeue rate of ${name}, 15 minutes`);
    this.why = new Bar("bar", ["f-error", "f-timeout"]);
    this.whyText = el("span", { class: "why-text" });
    this.fly = new Bar("flybar", ["f-fly"]);
    this.cells = {};
    this.root = el(
      "tr", { class: "row l-unknown" }, el("td", { class: "c-name" }, this.button),
      this.num("now", "Now"), this.num("m1", "1 m"), this.num("m5", "5 m"), el("td", { class: "c-spark" }, this.plot.root),
      el("td", { class: "c-why" }, this.why.root, this.whyText),
      this.num("thr", "Received"), this.num("age", "Oldest"), this.num("depth", "Depth"), this.num("fly", "In flight", this.fly.root), this.num("dead", "Dead, 15 m"),
    );
    this.root.dataset.name = name;
    this.root.addEventListener("click", (event) => {
      if (event.detail === 0 || !getSelection().toString()) this.toggle();
    });
    this.root.addEventListener("keydown", (event) => this.escape(event));
  }

  num(key, label, ...more) {
    const main = el("span", { class: key === "m1" ? "m1" : "" });
    const sub = el("span", { class: "sub" });
    this.cells[key] = { main, sub };
    const cell = el("td", { class: `num c-${key}` }, main, ...more, sub);
    cell.dataset.label = label;
    return cell;
  }

  set(key, main, sub = "") {
    text(this.cells[key].main, main);
    text(this.cells[key].sub, sub);
  }

  show(row, scale, marks) {
    for (const level of RANKS) flag(this.root, `l-${level}`, level === row.level);
    setIcon(this.icon, row.level);
    text(this.level, WORDS[row.level]);
    const others = row.other_workers.length ? `, also read by ${row.other_workers.join(", ")}` : "";
    text(this.names, `${row.topic} / ${row.channel}${others}`);
    const isRunning = row.state === "running";
    hide(this.pill, isRunning);
    text(this.pill, isRunning ? "" : intake(row));
    this.figures(row);
    const change = row.since ? [{ step: row.since_step, kind: "change", text: `since ${row.since}` }] : [];
    this.detail?.mark(marks);
    this.plot.draw(row.series, scale, { paused: row.paused, marks: [...marks, ...change] });
    const share = row.received ? 1 / (scale * row.received) : 0;
    this.why.draw([row.errors * share, row.timeouts * share]);
    flag(this.why.root, "none", !row.failed);
    text(this.whyText, reasons(row));
  }

  figures(row) {
    const isFew = row.received < FEW && row.failed > 0;
    for (const key of ["now", "m1", "m5"]) {
      this.set(key, percent(row[key]), key === "m1" && isFew ? `${row.failed} of ${row.received}` : "");
      attr(this.cells[key].main, "class", `${key === "m1" ? "m1 " : ""}${row.level === "bad" ? "t-bad" : row[key] ? "" : "zero"}`);
    }
    this.set("thr", `${rate(row.throughput)} /s`);
    this.set("age", age(row.oldest_s));
    this.set("depth", count(row.depth), row.deferred ? `${count(row.deferred)} deferred` : "");
    this.set("fly", `${row.in_flight} / ${row.max_in_flight}`, row.saturated ? "▲ saturated" : "");
    const used = row.in_flight / Math.max(1, row.max_in_flight);
    this.fly.draw([used]);
    attr(this.fly.fills[0], "class", used >= 1 ? "f-full" : "f-fly");
    this.set("dead", count(row.dead), row.dead_m1 ? `${count(row.dead_m1)} in 1\u00a0m` : "");
    attr(this.cells.dead.main, "class", row.dead ? "m1" : "zero");
  }

  toggle(isOpen = !this.detail) {
    if (isOpen === Boolean(this.detail)) return;
    if (isOpen) this.root.after((this.detail = new Detail(this.name, this.feed)).root);
    else this.detail = this.detail.close();
    this.root.classList.toggle("open", isOpen);
    attr(this.button, "aria-expanded", isOpen);
    this.detail?.root.addEventListener("keydown", (event) => this.escape(event));
  }

  escape(event) {
    if (event.key !== "Escape" || !this.detail) return;
    this.toggle(false);
    this.button.focus();
  }
}

function reasons(row) {
  const counts = row.nsqd_counts;
  const both = counts ? [`nsqd counts ${count(counts.nsqd)} requeues in ${counts.seconds} s, here ${count(counts.here)}`] : [];
  const known = row.top.map(([label, number]) => `${count(number)} × ${label}`);
  const full = row.saturated ? [row.saturated] : [];
  if (!row.failed && !row.others && !counts) return row.problems[0] ?? full[0] ?? (row.last_error ? `last error ${row.last_error}` : NOTHING);
  const parts = row.failed ? [...full, ...both, ...known] : [...full, ...both];
  if (row.timeouts) parts.push(`${count(row.timeouts)} timeouts`);
  if (row.others) parts.push(`${count(row.others)} given back`);
  return parts.join(", ") || NOTHING;
}
