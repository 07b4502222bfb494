// Sagas: their numbers by status, and the instances that need attention or are open, each with its timeline.

import { attr, byId, el, flag, hide, icon, setIcon, text } from "./dom.js";
import { Timeline } from "./timeline.js";
import { NOTHING, count, duration } from "./words.js";

const STATUSES = { needs_attention: "Needs attention", running: "Running", compensating: "Compensating", completed: "Completed", compensated: "Compensated" };
const LEVELS = { needs_attention: "bad", running: "ok", compensating: "warn", completed: "ok", compensated: "ok" };
const LATE_S = 10;

export class Sagas {
  constructor(feed) {
    this.feed = feed;
    this.rows = new Map();
    this.counts = new Map();
    this.body = byId("g-rows");
    this.announced = 0;
  }

  show(shown, at) {
    hide(byId("sagas"), !shown);
    hide(byId("g-sign"), !shown?.attention);
    if (!shown) return;
    this.sign(shown);
    this.problems(shown.problems);
    this.numbers(shown.sagas);
    const open = shown.instances.length ? "those that need attention first, then the open ones that changed last" : "none is open";
    text(byId("g-note"), shown.is_read ? open : "not read yet");
    hide(byId("g-table"), !shown.instances.length && !this.rows.size);
    this.instances(shown.instances, at);
  }

  sign({ attention }) {
    const words = attention ? `▲ ${count(attention)} need${attention === 1 ? "s" : ""} attention` : "";
    text(byId("g-attention"), words);
    attr(byId("g-attention"), "class", "small loud t-bad");
    text(byId("g-sign"), attention ? `▲ ${count(attention)} saga${attention === 1 ? " needs" : "s need"} attention` : "");
    if (attention !== this.announced) text(byId("g-announce"), attention ? `${count(attention)} instances of sagas need attention` : "");
    this.announced = attention;
  }

  problems(lines) {
    const shown = [...byId("g-problems").children].map((node) => node.textContent);
    if (lines.join("\n") !== shown.join("\n")) byId("g-problems").replaceChildren(...lines.map((line) => el("li", {}, line)));
  }

  numbers(found) {
    for (const each of found) {
      if (!this.counts.has(each.name)) this.addCounts(each);
      const cells = this.counts.get(each.name);
      for (const [status, cell] of Object.entries(cells)) {
        const number = each.counts[status] ?? 0;
        text(cell, number >= each.most ? `${count(number)}+` : count(number));
        const isLoud = status === "needs_attention" && number > 0;
        attr(cell, "class", `num${isLoud ? " t-bad m1" : number ? "" : " zero"}`);
      }
    }
  }

  addCounts({ name, database }) {
    const cells = Object.fromEntries(Object.entries(STATUSES).map(([status, word]) => [status, el("td", { class: "num", "data-label": word })]));
    byId("g-counts").append(el("tr", {}, el("td", { class: "wide" }, el("b", {}, name), el("span", { class: "sub" }, `database ${database}`)), ...Object.values(cells)));
    this.counts.set(name, cells);
  }

  instances(found, at) {
    const keys = found.map((each) => `${each.saga}\n${each.key}`);
    found.forEach((each, index) => {
      if (!this.rows.has(keys[index])) this.add(keys[index], each);
      this.rows.get(keys[index]).show(each, at);
    });
    for (const [key, row] of this.rows) {
      if (keys.includes(key) || row.timeline) continue; // an open timeline stays, whatever becomes of its instance
      row.root.remove();
      this.rows.delete(key);
    }
    this.order(keys);
  }

  add(key, instance) {
    const row = new Row(instance, this.feed);
    this.rows.set(key, row);
    this.body.append(row.root);
  }

  order(keys) {
    const isBusy = this.body.matches(":hover") || this.body.contains(document.activeElement) || this.body.querySelector(".detail");
    const wanted = keys.map((key) => this.rows.get(key).root);
    const isSame = wanted.every((node, index) => this.body.children[index] === node);
    if (!isSame && !isBusy) this.body.append(...wanted);
  }
}

class Row {
  constructor(instance, feed) {
    this.instance = instance;
    this.feed = feed;
    this.timeline = null;
    this.icon = icon("unknown");
    this.button = el(
      "button", { type: "button", class: "rowbtn", "aria-expanded": "false" },
      el("span", { class: "chev", "aria-hidden": "true" }, "›"), this.icon,
      el("span", { class: "name" }, instance.key), el("span", { class: "sub" }, `${instance.saga} v${instance.version}`),
    );
    this.status = el("td", { class: "c-status", "data-label": "Status" });
    this.step = el("span");
    this.tries = el("span", { class: "sub" });
    this.age = el("td", { class: "num", "data-label": "Started" });
    this.due = el("td", { class: "num", "data-label": "Deadline" });
    this.reason = el("span", { class: "why-text" });
    const step = el("td", { class: "c-step", "data-label": "Step" }, this.step, this.tries);
    this.root = el("tr", { class: "g-row" }, el("td", { class: "c-name" }, this.button), this.status, step, this.age, this.due, el("td", { class: "c-reason" }, this.reason));
    this.root.addEventListener("click", (event) => {
      if (event.detail === 0 || !getSelection().toString()) this.toggle();
    });
    this.root.addEventListener("keydown", (event) => this.escape(event));
  }

  show(instance, at) {
    const level = LEVELS[instance.status] ?? "unknown";
    for (const each of ["bad", "warn", "ok"]) flag(this.root, `l-${each}`, each === level);
    setIcon(this.icon, level);
    text(this.status, STATUSES[instance.status] ?? instance.status);
    attr(this.status, "class", `c-status t-${level}`);
    text(this.step, instance.step || NOTHING);
    text(this.tries, instance.attempts ? `attempt ${instance.attempts}` : "");
    text(this.age, `${whole(at - instance.started_at)} ago`);
    text(this.due, deadline(instance.due_at, at));
    flag(this.due, "t-warn", instance.due_at !== null && at - instance.due_at > LATE_S);
    text(this.reason, instance.reason || NOTHING);
    flag(this.reason.parentNode, "none", !instance.reason);
  }

  toggle(isOpen = !this.timeline) {
    if (isOpen === Boolean(this.timeline)) return;
    if (isOpen) this.root.after((this.timeline = new Timeline(this.instance, this.feed, (found, at) => this.show(found, at))).root);
    else this.timeline = this.timeline.close();
    this.root.classList.toggle("open", isOpen);
    attr(this.button, "aria-expanded", isOpen);
    this.timeline?.root.addEventListener("keydown", (event) => this.escape(event));
  }

  escape(event) {
    if (event.key !== "Escape" || !this.timeline) return;
    this.toggle(false);
    this.button.focus();
  }
}

const whole = (seconds) => duration(Math.max(1, Math.round(seconds)));

// Nothing wakes an instance whose deadline has passed but a relay.
function deadline(due, at) {
  if (due === null) return NOTHING;
  if (due >= at) return `in ${whole(due - at)}`;
  return at - due > LATE_S ? `▲ ${whole(at - due)} late` : "now";
}
