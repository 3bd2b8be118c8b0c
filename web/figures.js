// Figures: how much came, how often the machine is right, what it costs; drawn, with the same numbers as tables.

import { h, heading, line, loading, scale, scrolling, share, svg, track } from "./dom.js";
import { ANIMALS, REASONS, count, number, when } from "./words.js";

const PARTS = { cat: "Cat", dog: "Dog", other: "Other", uncertain: "Not sure", rejected: "Rejected", failed: "Failed" };
const QUEUES = { disagreed: "Two people disagreed", uncertain: "The machine was not sure", sample: "Blind sample", second: "Second look" };

export function mount(element, { api, session }) {
  const host = h("div");
  const days = h("select", { onchange: () => begin() }, [7, 30, 90].map((n) => h("option", { value: n, selected: n === 30 }, `${n} days`)));
  element.append(heading("Figures"), h("div", { class: "row filters" }, h("label", {}, "Period", days)), host);
  let stop;
  function begin() {
    stop?.();
    stop = loading(host, async (signal) => draw(await api.request("GET", "/people/figures", { query: { days: days.value }, signal })));
  }
  begin();
  return () => stop();

  function draw(figures) {
    const volume = figures.days.map((day) => ({ ...day, other: Math.max(0, day.other - day.uncertain) })); // other/ holds both
    const sum = (part) => volume.reduce((all, day) => all + (day[part] ?? 0), 0);
    const total = Object.keys(PARTS).reduce((all, part) => all + sum(part), 0), waits = Object.values(figures.waiting ?? {}).reduce((a, b) => a + b, 0);
    return h("div", { class: "figures" },
      h("dl", { class: "tiles" }, tile("Pictures", number(total)), tile("Not sure", total ? `${number((100 * sum("uncertain")) / total)} %` : "none"),
        tile("Wait for a person", number(waits)), figures.cost && tile("Cost so far", money(figures.cost.usd), `${count(figures.cost.images, "picture")} since ${when(figures.cost.since).split(",")[0]}`)),
      section("Pictures a day", total ? [legend(), bars(volume, days.value), table("Pictures a day", ["Day", ...Object.values(PARTS)],
        volume.filter((day) => Object.keys(PARTS).some((part) => day[part])).map((day) => [day.day, ...Object.keys(PARTS).map((part) => day[part] ?? 0)]))]
        : h("p", { class: "muted" }, "No picture came in this period. Choose a longer one, or send some.")),
      accuracy(figures.accuracy),
      section("Waits for a person", ranks(Object.entries(QUEUES).map(([queue, word]) => [word, figures.waiting?.[queue] ?? 0]), "uncertain", "Nothing waits: all is decided."),
        waits > 0 && session.may.review && h("p", {}, h("a", { class: "button", href: "#/review" }, "Review"))),
      section("Rejected", ranks(Object.entries(figures.rejected ?? {}).map(([code, n]) => [REASONS[code] ?? code, n]), "rejected", "Nothing was rejected.")),
      figures.computedAt && h("p", { class: "muted small" }, `As of ${when(figures.computedAt)}.`));
  }
}

const section = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), ...children);
const tile = (term, value, more) => h("div", { class: "card" }, h("dt", {}, term), h("dd", {}, value, more && h("span", { class: "muted small" }, more)));
const money = (usd) => `$${usd.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: usd < 1 ? 4 : 2 })}`;
const legend = () => h("ul", { class: "row legend" }, Object.entries(PARTS).map(([part, word]) => h("li", { class: "pill", "data-kind": part }, word)));

const table = (title, head, rows) => h("details", {}, h("summary", {}, `${title} as a table`), scrolling(title,
  h("table", {}, h("thead", {}, h("tr", {}, head.map((word, n) => h("th", { scope: "col", class: n && "number" }, word)))),
    h("tbody", {}, rows.map(([first, ...cells]) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", { class: "number" }, cell))))))));

/** Stacked bars, one a day, the newest at the right. */
function bars(volume, days) {
  const byDay = Object.fromEntries(volume.map((day) => [day.day, day])), newest = volume.map(({ day }) => day).sort().at(-1);
  const shown = Array.from({ length: days }, (_, n) => new Date(Date.parse(newest) - (days - 1 - n) * 86_400_000).toISOString().slice(0, 10));
  const height = (day) => Object.keys(PARTS).reduce((all, part) => all + (byDay[day]?.[part] ?? 0), 0);
  const most = Math.max(...shown.map(height)), step = 10 ** Math.floor(Math.log10(most)), top = Math.ceil(most / step) * step;
  const W = 900, H = 300, wide = W / days;
  const drawing = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": `Pictures a day from ${shown[0]} to ${newest}, at most ${most}. The table below has the numbers.` },
    [0, .5, 1].map((share) => svg("line", { x1: 0, x2: W, y1: H * share, y2: H * share })),
    shown.map((day, n) => {
      let y = H;
      return svg("g", {}, svg("title", {}, `${day}: ${count(height(day), "picture")}`), Object.keys(PARTS).map((part) => {
        const tall = (H * (byDay[day]?.[part] ?? 0)) / top;
        y -= tall;
        return tall ? svg("rect", { class: "fill", "data-kind": part, x: (n + .1) * wide, y, width: wide * .8, height: Math.max(tall - 1.5, 1.5) }) : null;
      }));
    }));
  return h("div", { class: "chart" }, h("span", { class: "up", "aria-hidden": "true" }, [top, top / 2, 0].map((n) => h("span", {}, number(n)))), drawing,
    h("span", { class: "along", "aria-hidden": "true" }, h("span", {}, shown[0]), h("span", {}, newest)));
}

/** Amounts as bars, the longest first. */
function ranks(rows, kind, none) {
  const found = rows.filter(([, n]) => n).sort((a, b) => b[1] - a[1]), most = found[0]?.[1];
  if (!most) return h("p", { class: "muted" }, none);
  return h("dl", { class: "ranks" }, found.map(([word, n]) => h("div", { "data-kind": kind }, h("dt", {}, word), h("dd", {},
    scale(share((100 * n) / most)), number(n)))));
}

function accuracy(found) {
  if (!found) return section("How often is it right?", h("p", { class: "muted" }, "Not computed yet. It is once a day, from what people decide in Review."));
  const rows = (figure) => h("dl", { class: "intervals" }, Object.entries(ANIMALS).map(([animal, word]) => {
    const row = found.classes[animal][figure];
    return h("div", { "data-kind": animal }, h("dt", {}, word), h("dd", {}, row.value == null ? null : interval(row), row.text));
  }));
  return section("How often is it right?",
    h("p", { class: "muted" }, `Judged: ${number(found.sample.judged)} of ${count(found.sample.drawn, "picture")} in the blind sample of ${found.days} days. A bar is the 95 % interval: the truth lies in it 19 times of 20.`),
    h("h3", {}, "Precision: of what it calls so, the share that is"), rows("precision"),
    h("h3", {}, "Recall: of what is so, the share that it finds"), rows("recall"),
    h("h3", {}, "Agreement of two people (kappa)"), h("p", {}, found.agreement.text));
}

const interval = ({ value, low, high }) => scale(track(), share(Math.max(high - low, .5), { x: `${low}%`, rx: 0 }), line(value));
