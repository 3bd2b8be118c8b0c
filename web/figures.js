// Figures: how much came, how often the machine is right, what it costs; drawn, with the same numbers as tables.

import { h, heading, loading, svg } from "./dom.js";
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

const table = (title, head, rows) => h("details", {}, h("summary", {}, `${title} as a table`), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
  h("table", {}, h("thead", {}, h("tr", {}, head.map((word, n) => h("th", { scope: "col", class: n && "number" }, word)))),
    h("tbody", {}, rows.map(([first, ...cells]) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", { class: "number" }, cell))))))));

/** Stacked bars, one a day, the newest at the right. */
function bars(volume, days) {
  const byDay = Object.fromEntries(volume.map((day) => [day.day, day])), newest = volume.map(({ day }) => day).sort().at(-1);
  const shown = Array.from({ length: days }, (_, n) => new Date(Date.parse(newest) - (days - 1 - n) * 86_400_000).toISOString().slice(0, 10));
  const height = (day) => Object.keys(PARTS).reduce((all, part) => all + (byDay[day]?.[part] ?? 0), 0);
  const most = Math.max(...shown.map(height)), step = 10 ** Math.floor(Math.log10(most)), top = Math.ceil(most / step) * step;
  const W = 640, H = 180, wide = W / days;
  return svg("svg", { viewBox: `-44 -8 ${W + 48} ${H + 34}`, role: "img", "aria-label": `Pictures a day from ${shown[0]} to ${newest}: at most ${most}. The numbers are in the table below.` },
    [0, .5, 1].map((share) => [svg("line", { class: "grid-line", x1: 0, x2: W, y1: H - H * share, y2: H - H * share }),
      svg("text", { x: -8, y: H - H * share + 4, "text-anchor": "end" }, number(top * share))]),
    shown.map((day, n) => {
      let y = H;
      return svg("g", {}, Object.keys(PARTS).map((part) => {
        const tall = (H * (byDay[day]?.[part] ?? 0)) / top;
        y -= tall;
        return tall ? svg("rect", { class: "fill", "data-kind": part, x: n * wide + wide * .12, y, width: wide * .76, height: Math.max(tall - .8, .8) }) : null;
      }), svg("title", {}, `${day}: ${count(height(day), "picture")}`));
    }),
    [[0, "start"], [days - 1, "end"]].map(([n, anchor]) => svg("text", { x: anchor === "start" ? 0 : W, y: H + 20, "text-anchor": anchor }, shown[n])));
}

/** Amounts as bars, the longest first. */
function ranks(rows, kind, none) {
  const found = rows.filter(([, n]) => n).sort((a, b) => b[1] - a[1]), most = found[0]?.[1];
  if (!most) return h("p", { class: "muted" }, none);
  return h("dl", { class: "ranks" }, found.map(([word, n]) => h("div", { "data-kind": kind }, h("dt", {}, word), h("dd", {},
    svg("svg", { class: "scale", "aria-hidden": "true" }, svg("rect", { class: "fill", width: `${(100 * n) / most}%`, height: "100%", rx: 4 })), number(n)))));
}

function accuracy(found) {
  if (!found) return section("How often is it right?", h("p", { class: "muted" }, "Not computed yet. It is once a day, from what people decide in Review."));
  const rows = [["precision", "says so, and is right"], ["recall", "is so, and was found"]].flatMap(([figure, words]) =>
    Object.entries(ANIMALS).map(([animal, word]) => ({ kind: animal, name: `${word}: ${figure}`, words, ...found.classes[animal][figure] })));
  return section("How often is it right?",
    h("p", { class: "muted" }, `From ${found.sample.judged} of ${count(found.sample.drawn, "picture")} that were drawn for the blind sample in ${found.days} days. A bar is the 95 % interval: the truth lies in it 19 times of 20.`),
    h("dl", { class: "intervals" }, rows.map((row) => h("div", { "data-kind": row.kind },
      h("dt", {}, row.name, h("span", { class: "muted small" }, ` ${row.words}`)), h("dd", {}, row.value == null ? null : interval(row), row.text)))),
    h("p", {}, h("strong", {}, "Agreement of two people (kappa): "), found.agreement.text));
}

const interval = ({ value, low, high }) => svg("svg", { class: "scale", "aria-hidden": "true" }, svg("rect", { class: "track", width: "100%", height: "100%", rx: 4 }),
  svg("rect", { class: "fill", x: `${low}%`, width: `${Math.max(high - low, .5)}%`, height: "100%" }), svg("line", { class: "value", x1: `${value}%`, x2: `${value}%`, y1: 0, y2: "100%" }));
