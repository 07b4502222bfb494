// App: shows the state of a worker as it arrives. The server decides what it means.

import { attr, byId, el, flag, hide, icon, setIcon, text } from "./dom.js";
import { Feed } from "./feed.js";
import { Handlers } from "./handlers.js";
import { Plot } from "./plots.js";
import { Sagas } from "./sagas.js";
import { NOTHING, age, clock, count, duration, percent, rate } from "./words.js";

const SAVED_MS = 60000;
let isFrozen = false;
let newest = null;
const feed = new Feed({ onState: take, onStatus: status, onRefused: refused });
const handlers = new Handlers(feed);
const sagas = new Sagas(feed);
const verdictIcon = icon("unknown");
byId("v-icon").append(verdictIcon);

function take(state) {
  newest = state;
  hide(byId("ask"), true);
  status(true);
  if (!isFrozen) show(state);
}

function show(state) {
  const { service } = state;
  text(byId("service"), service.name);
  const { workers } = service;
  const scope = workers.length ? `${workers.length} workers` : `process ${service.pid}`;
  text(byId("service-facts"), `${service.host}, ${scope}, up ${duration(service.up_s)}, nsqkit ${service.nsqkit}`);
  text(byId("scope"), workers.length ? `Figures are of all ${workers.length} workers together.` : "Figures are of this process.");
  feed.scope = workers.length ? `in all ${workers.length} workers` : "in this worker";
  showReady(state);
  text(document.querySelector("title"), `${state.verdict.word}: ${service.name}`);
  showVerdict(state);
  handlers.show(state);
  sagas.show(state.sagas, state.at);
  showSaturation(state.saturation, fullOf(state.handlers));
  showNsqd(state.nsqd);
}

function showReady({ service, handlers: rows }) {
  const away = service.workers.filter((each) => each.problem);
  const unready = rows.filter((row) => row.problems.length);
  const held = rows.filter((row) => !["running", "rate_limited"].includes(row.state));
  const signs = [
    ...away.slice(0, 2).map((each) => `▲ worker ${each.worker} ${each.problem}`),
    away.length > 2 ? `▲ ${away.length - 2} more workers are not ready` : "",
    held.length ? `❚❚ ${held.length} paused` : "", !away.length && unready.length ? `▲ ${unready.length} not ready` : "",
  ];
  text(byId("ready"), signs.filter(Boolean).join("  "));
}

let announced = "";

function showVerdict({ verdict, handlers: rows, saturation, marks }) {
  attr(byId("verdict"), "class", `card verdict l-${verdict.level}`);
  setIcon(verdictIcon, verdict.level);
  attr(byId("v-word"), "class", `t-${verdict.level}`);
  text(byId("v-word"), `${verdict.word}.`);
  text(byId("v-text"), verdict.line);
  text(byId("v-cause"), verdict.cause ? `${verdict.cause[0].toUpperCase()}${verdict.cause.slice(1)}.` : "");
  text(byId("v-evidence"), verdict.evidence.join(" "));
  if (verdict.key !== announced) text(byId("announce"), `${verdict.word}. ${verdict.line}`);
  announced = verdict.key;
  const row = rows.find((each) => each.name === verdict.handler);
  const held = row?.level === "held" && marks.findLast((mark) => mark.handler === row.name);
  answers(row, rows, saturation, row?.since || (held && clock(held.at).slice(0, 5)) || NOTHING);
}

function answers(row, rows, saturation, since) {
  const healthy = rows.filter((each) => each.level === "ok").length;
  const total = (key) => rows.reduce((sum, each) => sum + (each[key] ?? 0), 0);
  const limits = saturation.filter((each) => each.level === "warn").map((each) => each.label);
  const signs = [...limits, fullOf(rows)].filter(Boolean);
  const [lag, , cpu] = saturation;
  answer("Who", row?.name ?? "Nobody", `${healthy} of ${rows.length} handlers healthy`);
  const reason = row?.saturated && !row.failed ? "At its limit in flight" : row?.top[0]?.[0];
  answer("Why", reason ?? NOTHING, row ? why(row) : "no failing handler");
  answer("Since", since, row ? `now ${percent(row.now)}, 1 m ${percent(row.m1)}, 5 m ${percent(row.m5)}` : "");
  if (row) {
    answer("How much", `${rate(row.failed / 60)} of ${rate(row.received / 60)}/s come again`, `oldest ${age(row.oldest_s)}, depth ${count(row.depth)}, deferred ${count(row.deferred)}, ${count(row.dead)} dead letters in 15 m`);
  } else {
    answer("How much", `${rate(total("throughput"))}/s received`, `depth ${count(total("depth"))}, deferred ${count(total("deferred"))}, ${count(total("dead"))} dead letters in 15 m`);
  }
  answer("Saturation", signs.join(", ") || "No sign", `loop lag ${figure(lag)}, CPU ${figure(cpu)}`);
}

function fullOf(rows) {
  const full = rows.filter((each) => each.saturated).map((each) => each.name);
  return full.length ? `${few(full)} at the limit in flight` : "";
}

const few = (names) => (names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(", "));

function why(row) {
  const share = (number) => `${Math.round((100 * number) / Math.max(1, row.failed))} %`;
  if (row.saturated && !row.failed) return "no requeues after errors in 1 m";
  return row.failed ? `errors ${share(row.errors)}, timeouts ${share(row.timeouts)} of ${count(row.failed)} in 1 m` : "no errors in 1 m";
}

const answerNodes = new Map();
const who = el("button", { type: "button", class: "linkish" });
who.addEventListener("click", () => handlers.open(who.textContent));

function answer(question, main, sub) {
  if (!answerNodes.has(question)) {
    const nodes = { main: el("dd", { class: "main" }), sub: el("dd", { class: "sub" }) };
    byId("answers").append(el("div", {}, el("dt", {}, question), nodes.main, nodes.sub));
    answerNodes.set(question, nodes);
  }
  const node = answerNodes.get(question).main;
  const isLink = question === "Who" && main !== "Nobody";
  if (isLink && !who.isConnected) node.replaceChildren(who);
  text(isLink ? who : node, main);
  text(answerNodes.get(question).sub, sub);
}

const figure = ({ value, unit, is_bound: isBound }) => `${isBound && value ? "≤ " : ""}${Math.round(value)} ${unit}`;

const satNodes = new Map();

function showSaturation(figures, full) {
  for (const each of figures) {
    if (!satNodes.has(each.key)) {
      const nodes = { value: el("span", { class: "value" }), sub: el("span", { class: "sub" }), plot: new Plot(`${each.label}, 15 minutes`) };
      nodes.root = el("div", {}, el("span", { class: "label" }, each.label), nodes.value, nodes.plot.root, nodes.sub);
      byId("sat").append(nodes.root);
      satNodes.set(each.key, nodes);
    }
    const { root, value, sub, plot } = satNodes.get(each.key);
    attr(root, "class", `l-${each.level}`);
    text(value, figure(each));
    attr(value, "class", `value${each.level === "warn" ? " t-warn" : ""}`);
    const limit = each.limit === null ? "no limit known" : `limit ${each.limit}`;
    text(sub, `${each.level === "warn" ? "▲ above its " : ""}${limit}, peak ${figure({ ...each, value: each.peak })}`);
    plot.draw(each.series, Math.max(1, 1.2 * (each.limit ?? 0), 1.1 * Math.max(...each.series)), { limit: each.limit });
  }
  const passed = figures.some((each) => each.level === "warn") ? "▲ a limit is passed" : "";
  const signs = [passed, full && `▲ ${full}`].filter(Boolean).join(", ");
  text(byId("sat-note"), signs || "all within limits");
  attr(byId("sat-note"), "class", signs ? "small loud t-warn" : "small muted");
}

const nsqdRows = new Map();

function showNsqd(found) {
  for (const [address, row] of nsqdRows) {
    if (!found.some((each) => each.address === address)) {
      row.root.remove();
      nsqdRows.delete(address);
    }
  }
  for (const each of found) {
    if (!nsqdRows.has(each.address)) addNsqd(each.address);
    const { cells } = nsqdRows.get(each.address);
    const states = Object.entries(each.states).map(([state, number]) => `${number} ${state.replaceAll("_", " ")}`);
    if (each.paused) states.push(`❚❚ ${each.paused} paused in nsqd`);
    text(cells[0], states.join(", ") || NOTHING);
    ["depth", "deferred", "in_flight", "rdy"].forEach((key, index) => text(cells[index + 1], count(each[key])));
  }
}

function addNsqd(address) {
  const labels = ["", "Depth", "Deferred", "In flight", "RDY here"];
  const cells = labels.map((label) => el("td", label ? { class: "num", "data-label": label } : { class: "wide" }));
  const root = el("tr", {}, el("td", { class: "wide" }, el("b", {}, address)), ...cells);
  byId("nsqd").append(root);
  nsqdRows.set(address, { root, cells });
}

function status(isLive) {
  const live = byId("live");
  const at = newest ? `${clock(newest.at)} UTC` : "";
  flag(document.body, "stale", !isLive);
  attr(live, "class", `live${isLive ? (isFrozen ? " still" : "") : " lost"}`);
  text(live, isLive ? (isFrozen ? "frozen" : `live, ${at}`) : `no data${at ? ` since ${at}` : ""}`);
}

function refused(code, message) {
  text(byId("refusal"), message.trim());
  byId("ask").hidden = false;
  for (const id of ["token"]) byId(id).disabled = code !== 401;
  if (code === 401) byId("token").focus();
  status(false);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  feed.use(byId("token").value);
});
byId("save").addEventListener("click", async () => {
  const answer = await feed.get("/monitor/incident").catch(() => null);
  if (!answer?.ok) {
    text(byId("saved"), "Not saved: no answer");
    return;
  }
  const url = URL.createObjectURL(await answer.blob());
  const name = `incident-${new Date(1000 * newest.at).toISOString().slice(0, 19).replaceAll(":", "")}Z.html`;
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), SAVED_MS);
  text(byId("saved"), `Saved ${name}`);
});
byId("freeze").addEventListener("click", () => {
  isFrozen = !isFrozen;
  attr(byId("freeze"), "aria-pressed", isFrozen);
  if (!isFrozen && newest) show(newest);
  status(true);
});
feed.turn();
