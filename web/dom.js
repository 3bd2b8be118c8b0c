// Elements without innerHTML: a file's name or a label stays text, whatever it holds.

import { ANIMALS, percent } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element. An attribute that is a function is a listener (onclick), true is an empty one, false and null are left out. */
export const h = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

/** The same in a drawing. */
export const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** A heading that the shell gives the focus to when its view appears. */
export const heading = (...children) => h("h1", { tabindex: "-1" }, ...children);

export const button = (text, onclick, kind = "", attributes = {}) =>
  h("button", { type: "button", class: `button ${kind}`, onclick, ...attributes }, text);

/** A drawing as wide as there is room, of `track()`, `share()` and `line()` in percent. The numbers stand beside it. */
export const scale = (...parts) => svg("svg", { class: "scale", "aria-hidden": "true" }, parts);
export const track = () => svg("rect", { class: "track", width: "100%", height: "100%", rx: 4 });
export const share = (width, attributes) => svg("rect", { class: "fill", width: `${width}%`, height: "100%", rx: 4, ...attributes });
export const line = (at) => svg("line", { x1: `${at}%`, x2: `${at}%`, y1: 0, y2: "100%" });

/** The scores of cat and dog, with marks. */
export const scores = (found, marks = []) => Object.entries(found).map(([animal, value]) => h("div", { class: "score", "data-kind": animal },
  h("span", {}, ANIMALS[animal]), scale(track(), share(value), marks.filter(Boolean).map(line)), h("span", { class: "value" }, percent(value))));

/** What may be wider than the screen: it scrolls, by keys too. */
export const scrolling = (title, ...children) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, children);

/** A dialog that is open until its `close()`; the last of `children` is a row of buttons. */
export function dialog(title, ...children) {
  const made = h("dialog", { "aria-labelledby": "asked", onclose: () => made.remove() }, h("h2", { id: "asked" }, title), ...children);
  document.body.append(made);
  made.showModal();
  return made;
}

/** What went wrong, in the service's words, and a button that tries again. */
export function problem(error, retry) {
  return h("div", { class: "card problem", role: "alert" },
    h("p", {}, error.message ?? String(error)),
    error.requestId && h("p", { class: "muted small" }, `Request ${error.requestId}`),
    retry && button("Try again", retry, "primary"));
}

/**
 * Shows in `host` what `work()` resolves to (an element), or its error with a way to try again. What takes a moment
 * shows a skeleton, what takes long says so. Returns a function that forgets an answer still to come.
 */
export function loading(host, work) {
  const gone = new AbortController();
  const skeleton = setTimeout(() => host.replaceChildren(
    h("div", { class: "skeleton", role: "status" }, h("span", { class: "visually-hidden" }, "Loading"))), 250);
  const slow = setTimeout(() => host.append(h("p", { class: "muted", role: "status" },
    "Still waiting for the service. It goes on by itself; you need not reload.")), 6000);
  const stop = () => [skeleton, slow].forEach(clearTimeout);
  host.setAttribute("aria-busy", "true");
  work(gone.signal).then(
    (element) => gone.signal.aborted || host.replaceChildren(element),
    (error) => gone.signal.aborted || host.replaceChildren(problem(error, () => loading(host, work))),
  ).finally(() => {
    stop();
    host.removeAttribute("aria-busy");
  });
  return () => {
    gone.abort();
    stop();
  };
}
