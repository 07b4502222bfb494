// DOM: makes elements with text nodes only, and changes only what differs. Data is never markup.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function text(node, value) {
  const next = String(value);
  if (node.textContent !== next) node.textContent = next;
}

export function attr(node, name, value) {
  const next = String(value);
  if (node.getAttribute(name) !== next) node.setAttribute(name, next);
}

export function flag(node, name, isOn) {
  if (node.classList.contains(name) !== isOn) node.classList.toggle(name, isOn);
}

export function hide(node, isHidden) {
  if (node.hidden !== isHidden) node.hidden = isHidden;
}

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const SHAPES = {
  bad: "M4.4 0h5.2L14 4.4v5.2L9.6 14H4.4L0 9.6V4.4zM6 3v5h2V3zm0 6v2h2V9z",
  warn: "M7 .5 14 13.5H0zM6.2 5v4h1.6V5zm0 5v1.6h1.6V10z",
  held: "M1.5 1h4v12h-4zm7 0h4v12h-4z",
  ok: "M7 4a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
  unknown: "M7 3.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zm0 1.3a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4z",
};
export const WORDS = { bad: "failing", warn: "to watch", held: "paused", ok: "healthy", unknown: "no messages" };

export function icon(level) {
  const shape = svg("path", { "fill-rule": "evenodd", d: SHAPES[level] });
  return svg("svg", { class: `icon t-${level}`, viewBox: "0 0 14 14", "aria-hidden": "true" }, shape);
}

export function setIcon(node, level) {
  attr(node, "class", `icon t-${level}`);
  attr(node.firstChild, "d", SHAPES[level]);
}
