// Detail: the errors of one handler with their last examples, read again every two seconds while it is open.

import { el, text } from "./dom.js";
import { Letters } from "./letters.js";
import { clock, count, duration } from "./words.js";

const EVERY_MS = 2000;

export class Detail {
  constructor(name, feed) {
    this.name = name;
    this.feed = feed;
    this.body = el("div");
    this.groups = new Map();
    this.acts = el("p", { class: "acts" });
    this.changes = el("ul", { class: "changes small" });
    this.letters = new Letters(name, feed);
    this.drawn = "";
    this.durations = el("p", { class: "durations small" });
    this.root = el("tr", { class: "detail" }, el("td", { colspan: 11 }, this.acts, this.changes, this.durations, el("h3", {}, `Errors of ${name}, 15 minutes`), this.body, this.letters.root));
    this.timer = setInterval(() => this.load(), EVERY_MS);
    this.load();
    this.offer();
  }

  // A read-only page shows no dead buttons.
  async offer() {
    if (!(await this.feed.pageToken())) return;
    const said = el("span", { role: "status", class: "small" });
    const act = (label, command, done) => {
      const button = el("button", { type: "button", class: "btn" }, label);
      button.addEventListener("click", async () => {
        text(said, (await this.feed.change(this.name, command).catch(() => "no answer")) || `${done}, ${this.feed.scope}.`);
      });
      return button;
    };
    this.acts.replaceChildren(
      act("Pause for 15 min", "pause?for_s=900", "Paused for 15 minutes"),
      act("Pause", "pause", "Paused until somebody resumes it"),
      act("Resume", "resume", "The pause has ended"), said,
    );
  }

  close() {
    clearInterval(this.timer);
    this.root.remove();
  }

  mark(marks) {
    const lines = marks.map((mark) => `${clock(mark.at)}  ${mark.text}`);
    if (lines.join("\n") === this.drawn) return;
    this.drawn = lines.join("\n");
    this.changes.replaceChildren(...lines.map((line) => el("li", {}, line)));
  }

  async load() {
    if (document.hidden) return;
    try {
      const answer = await this.feed.get(`/monitor/handlers/${encodeURIComponent(this.name)}`);
      if (answer.ok) {
        const { errors, durations } = await answer.json();
        text(this.durations, ran(durations));
        this.show(errors);
      }
      await this.letters.load();
    } catch {
      // the header says that the connection is lost
    }
  }

  show(errors) {
    if (!errors.length) {
      this.groups.clear();
      this.body.replaceChildren(el("p", { class: "muted" }, "No errors in 15 minutes."));
      return;
    }
    const total = errors.reduce((sum, each) => sum + each.count, 0);
    const shown = errors.map((each) => this.group(each, total));
    const isSame = shown.length === this.body.children.length && shown.every((node, index) => this.body.children[index] === node);
    if (!isSame) this.body.replaceChildren(...shown);
  }

  group(error, total) {
    const key = JSON.stringify([error.type, error.place]);
    if (!this.groups.has(key)) this.groups.set(key, new Group(error));
    const group = this.groups.get(key);
    group.show(error, total);
    return group.root;
  }
}

function ran(durations) {
  if (!durations) return "It has not run yet.";
  const shown = (seconds) => (seconds < 0.001 ? "< 1 ms" : duration(seconds));
  return `Runs for: P50 ${shown(durations.p50_s)}, P95 ${shown(durations.p95_s)}, P99 ${shown(durations.p99_s)}, since the start.`;
}

class Group {
  constructor(error) {
    const place = el("span", { class: "sub mono" }, error.place || "line not known");
    this.count = el("span", { class: "num" });
    this.when = el("span", { class: "when small muted" });
    this.examples = el("div");
    this.root = el("details", { class: "error" }, el("summary", {}, el("span", {}, el("b", {}, error.type), place), this.count, this.when), this.examples);
    this.key = "";
  }

  show(error, total) {
    text(this.count, `${count(error.count)}, ${Math.round((100 * error.count) / total)} %`);
    text(this.when, `first ${clock(error.first)}, last ${clock(error.last)}`);
    const key = error.examples.map((each) => each.message_id + each.at).join();
    if (this.root.open && this.examples.contains(document.activeElement)) return;
    if (key !== this.key && !(this.root.open && this.root.matches(":hover"))) {
      this.key = key;
      this.examples.replaceChildren(...error.examples.map(example));
    }
  }
}

function stack(lines, isOpen) {
  const shown = el("pre", { tabindex: 0, "aria-label": "Stack" }, lines);
  return el("details", isOpen ? { open: "" } : {}, el("summary", {}, "Stack"), shown);
}

function example(each, index) {
  const worker = each.worker ? `  worker ${each.worker}` : "";
  const facts = `${clock(each.at)}  message ${each.message_id}${worker}  ${each.outcome}`;
  return el(
    "div", { class: "example" },
    el("p", { class: "text" }, each.text), el("p", { class: "mono" }, facts),
    ...(each.stack ? [stack(each.stack, index === 0)] : []),
  );
}
