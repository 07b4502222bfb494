// Letters: the newest dead letters of a handler in the store, each with a button that replays it.

import { el, text } from "./dom.js";
import { count } from "./words.js";

export class Letters {
  constructor(name, feed) {
    this.name = name;
    this.feed = feed;
    this.said = el("p", { role: "status", class: "small" });
    this.body = el("div", { tabindex: -1 });
    this.root = el("div", { class: "letters" }, el("h3", {}, `Dead letters of ${name}`), this.body, this.said);
    this.drawn = "";
    this.isBusy = false;
  }

  async load() {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      const answer = await this.feed.get(`/monitor/handlers/${encodeURIComponent(this.name)}/letters`);
      if (answer.ok) await this.show(await answer.json());
    } finally {
      this.isBusy = false;
    }
  }

  // A read-only page shows no dead buttons.
  async show(found) {
    const key = JSON.stringify(found);
    if (key === this.drawn) return;
    const canReplay = found.letters.length > 0 && Boolean(await this.feed.pageToken());
    this.drawn = key;
    const hadFocus = this.body.contains(document.activeElement);
    this.body.replaceChildren(summary(found, this.name), ...found.letters.map((each) => this.letter(each, canReplay)));
    if (hadFocus) this.body.focus();
  }

  letter(each, canReplay) {
    const facts = [`${each.at.slice(0, 10)} ${each.at.slice(11, 19)}`, each.reason, `${each.attempts} attempts`, `message ${each.message_id}`];
    if (each.replays) facts.push(each.replays === 1 ? "replayed" : `replayed ${each.replays} times`);
    const action = canReplay && !each.replays ? [this.button(each.id)] : [];
    return el(
      "div", { class: "example" }, ...action,
      el("p", { class: "text" }, el("b", {}, `${each.id} ${each.error}`), each.text ? `  ${each.text}` : ""),
      el("p", { class: "mono" }, facts.join("  ")),
    );
  }

  button(id) {
    const button = el("button", { type: "button", class: "btn", "aria-label": `Replay dead letter ${id}` }, "Replay");
    button.addEventListener("click", async () => {
      button.disabled = true;
      const problem = await this.feed.change(this.name, `letters/${id}/replay`).catch(() => "no answer: look at the list before you try again");
      text(this.said, problem || `Dead letter ${id} is published again for ${this.name}.`);
      button.disabled = false;
      await this.load().catch(() => {});
    });
    return button;
  }
}

function summary({ store, letters, count: all, problem }, name) {
  const hint = (...parts) => el("p", { class: "small muted" }, ...parts);
  if (problem) return hint(problem);
  if (store === null) return hint("There is no store here. Collect them with ", el("code", {}, "nsqkit dead collect"), ", then read one with ", el("code", {}, "nsqkit dead show ID"), ".");
  const shown = letters.length < all ? `, the newest ${letters.length} of them here` : "";
  return hint(`${count(all)} in ${store}${shown}: `, el("code", {}, `nsqkit dead ls --handler ${name}`));
}
