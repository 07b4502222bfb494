// Timeline: what has happened to one instance of a saga, read again every two seconds while it is open.

import { el, text } from "./dom.js";
import { clock, duration } from "./words.js";

const EVERY_MS = 2000;
const GLYPHS = { step: "○", done: "●", bad: "✗", undo: "↩", attention: "▲" };
const WORDS = { bad: "failure: ", attention: "" };

export class Timeline {
  constructor({ saga, key, is_whole: isWhole }, feed, onFound) {
    Object.assign(this, { saga, key, feed, onFound });
    this.facts = el("p", { class: "small muted" });
    this.line = el("ol", { class: "timeline", "aria-label": `Timeline of ${saga} ${key}` });
    this.next = el("p", { class: "small" });
    this.acts = el("div");
    this.said = el("p", { class: "small muted", role: "status" });
    this.drawn = "";
    this.root = el("tr", { class: "detail" }, el("td", { colspan: 6 }, this.facts, this.line, this.next, this.acts, this.said));
    if (!isWhole) {
      text(this.said, "The key is too long for this page: nsqkit saga show has the timeline.");
      return;
    }
    this.timer = setInterval(() => this.load(), EVERY_MS);
    this.load();
  }

  close() {
    clearInterval(this.timer);
    this.root.remove();
    return null;
  }

  async load() {
    if (document.hidden) return;
    try {
      const path = `/monitor/sagas/${encodeURIComponent(this.saga)}/${encodeURIComponent(this.key)}`;
      const answer = await this.feed.get(path);
      if (answer.ok) this.show(await answer.json());
      else if (answer.status === 404) text(this.said, "The instance is gone.");
    } catch {
      // the header says that the connection is lost
    }
  }

  show(found) {
    text(this.said, found.problem);
    if (found.problem) return;
    this.onFound(found, found.at);
    text(this.facts, `database ${found.database}, correlationid ${found.correlation_id}, started ${date(found.started_at)} UTC`);
    text(this.next, found.due_at === null ? "" : `Next deadline ${clock(found.due_at)} UTC: ${found.step}, attempt ${found.attempts}.`);
    const key = JSON.stringify([found.moments, found.commands]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.line.replaceChildren(...found.moments.map((each) => moment(each, found.started_at)));
    this.acts.replaceChildren(...(found.commands.length ? [el("h3", {}, "To look closer, or to act, type:"), ...found.commands.map((each) => el("p", {}, el("code", {}, each)))] : []));
  }
}

function moment({ at, text: what, kind }, start) {
  return el(
    "li", { class: `m-${kind}` },
    el("span", { class: "mono when", title: `${date(at)} UTC` }, `+${after(at - start)}`),
    el("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[kind] ?? GLYPHS.step),
    el("span", { class: "what" }, el("span", { class: "vh" }, WORDS[kind] ?? ""), what),
  );
}

const after = (seconds) => (seconds < 60 ? `${Math.max(0, seconds).toFixed(3)} s` : duration(seconds));

const date = (at) => new Date(1000 * at).toISOString().slice(0, 19).replace("T", " ");
