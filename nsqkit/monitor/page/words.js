// Words: figures as text. Nothing to say is "–", never 0 or NaN.

export const NOTHING = "–";

export const percent = (ratio) => (ratio === null ? NOTHING : `${(100 * ratio).toFixed(ratio < 0.9995 ? 1 : 0)} %`);

export const rate = (perSecond) => (perSecond >= 10 ? Math.round(perSecond) : perSecond.toFixed(1));

export const count = (number) => (number === null || number === undefined ? NOTHING : Math.round(number).toLocaleString("en"));

export function duration(seconds) {
  if (seconds < 0.001) return "1 ms";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function age(seconds) {
  if (seconds === null) return NOTHING;
  return seconds < 0 ? "> 1 d" : `≤ ${duration(seconds)}`;
}

export const clock = (at) => new Date(1000 * at).toISOString().slice(11, 19);

const STATES = {
  running: "running", paused: "paused", kill_switch_open: "kill switch open", half_open: "half-open",
  breaker_open: "breaker open", rate_limited: "rate limited", blocked: "blocked",
};

export function intake(row) {
  const state = (STATES[row.state] ?? row.state) + inWorkers(row.in_workers);
  return row.remaining_s ? `${state}, ${duration(row.remaining_s)} left` : state;
}

const inWorkers = (numbers) => (numbers.length ? ` in worker${numbers.length > 1 ? "s" : ""} ${numbers.join(", ")}` : "");
