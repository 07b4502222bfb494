// Feed: receives the first screen once a second, also with a token, and again whenever the connection ends.
// It asks for nothing while the page is hidden.

const RETRY_MS = 1000;
const SILENT_MS = 5000;
const KEY = "nsqkit-admin-token";

export class Feed {
  constructor({ onState, onStatus, onRefused }) {
    Object.assign(this, { onState, onStatus, onRefused });
    this.heard = 0;
    this.abort = null;
    this.timer = 0;
    this.isRefused = false;
    this.scope = "in this worker";
    document.addEventListener("visibilitychange", () => this.turn());
    setInterval(() => this.check(), RETRY_MS);
  }

  turn() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
    if (!document.hidden && !this.isRefused) this.follow(new AbortController());
  }

  use(token) {
    sessionStorage.setItem(KEY, token);
    this.isRefused = false;
    this.turn();
  }

  async get(path, options = {}) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    return fetch(path, { ...options, headers, cache: "no-store" });
  }

  // Returns the token with which this page may pause handlers; null if it is read-only.
  async pageToken() {
    try {
      const answer = await this.get("/monitor/token");
      return answer.ok ? (await answer.json()).token : null;
    } catch {
      return null;
    }
  }

  async change(name, command) {
    const headers = { "X-Nsqkit-Page": await this.pageToken() };
    const path = `/monitor/handlers/${encodeURIComponent(name)}/${command}`;
    const answer = await this.get(path, { method: "POST", headers });
    return answer.ok ? "" : (await answer.json()).message;
  }

  async follow(abort) {
    this.abort = abort;
    try {
      const answer = await this.get("/monitor/events", { signal: abort.signal });
      if (!answer.ok) {
        this.isRefused = answer.status === 401 || answer.status === 403;
        if (this.isRefused) this.onRefused(answer.status, await answer.text());
        return;
      }
      await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch {
      // the worker is gone, or the page is hidden; the status says so
    } finally {
      if (this.abort === abort && !this.isRefused) this.timer = setTimeout(() => this.turn(), RETRY_MS);
    }
  }

  async read(reader) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        this.heard = performance.now();
        this.onState(JSON.parse(event.slice("data: ".length)));
      }
    }
  }

  check() {
    if (!document.hidden && !this.isRefused) this.onStatus(performance.now() - this.heard < SILENT_MS);
  }
}
