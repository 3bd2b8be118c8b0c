// Policy, for operators: the numbers of the decision, what others would do, and who changed them when and why.

import { button, h, heading, loading, problem, scrolling } from "./dom.js";
import { count, number, when, whose } from "./words.js";

const LOWEST_FLOOR = 20; // as in the service's rules
const WORDS = {
  minimum: "Minimum of the winner",
  margin: "Margin between cat and dog",
  floor: "Floor: below it, neither",
  evidence: "Evidence for a certain \"other\"",
};

export function mount(element, { api, announce }) {
  const host = h("div"), told = h("div", { role: "status" });
  element.append(heading("Policy"), h("p", {}, "These numbers, in percent, decide what is a cat, what a dog, and what a person should look at. A change counts for pictures that come from now on, within a minute."), told, host);
  let stop = begin();
  return () => stop();

  function begin() {
    return loading(host, async (signal) => draw(await api.request("GET", "/people/policy", { signal })));
  }

  function draw({ policy, history = [], thresholds }) {
    const field = (name) => h("label", {}, WORDS[name], h("input", { type: "number", name, value: policy?.[name], min: name === "floor" ? LOWEST_FLOOR : 0, max: 100, step: "any", required: true }));
    const because = () => h("label", { class: "wide" }, "Because", h("input", { name: "because", required: true, minlength: 3, maxlength: 500, placeholder: "Why? It is kept with the change." }));
    const send = async (form, body) => {
      const sender = form.querySelector("button");
      form.querySelector(".problem")?.remove();
      told.replaceChildren();
      sender.disabled = true;
      try {
        await api.request("POST", "/people/policy", { body });
        told.replaceChildren(h("p", { class: "card" }, "Saved."));
        announce("Saved.");
        stop = begin();
      } catch (error) {
        sender.disabled = false;
        if (error.code !== "POLICY_CHANGED") return form.append(problem(error));
        told.replaceChildren(problem(error));
        stop = begin();
      }
    };
    const isOrdered = () => {
      const { minimum, floor } = change.elements;
      minimum.setCustomValidity(Number(minimum.value) > Number(floor.value) ? "" : "The minimum must be above the floor."); // the browser shows it at the field
    };
    const change = h("form", { class: "card", oninput: isOrdered, onsubmit: (event) => {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(change)), reason = values.because;
      delete values.because;
      // Only what differs: an older release does not know every number.
      send(change, { policy: Object.fromEntries(Object.entries(values).map(([name, text]) => [name, Number(text)]).filter(([name, value]) => value !== policy?.[name])), because: reason });
    } }, h("h2", {}, "The numbers now"), h("div", { class: "fields" }, Object.keys(WORDS).map(field), because()), h("p", {}, button("Change them", null, "primary", { type: "submit" })));
    const back = h("form", { class: "card", onsubmit: (event) => {
      event.preventDefault();
      send(back, { takeBack: history[0].number, because: new FormData(back).get("because") });
    } }, h("h2", {}, "Take the last change back"), h("div", { class: "fields" }, because()), h("p", {}, button("Take it back", null, "", { type: "submit" })));
    return h("div", {}, change, table(thresholds, change), h("section", { class: "card" }, h("h2", {}, "What was changed"),
      history.length ? h("ol", { class: "history" }, history.map((row) => h("li", {}, h("strong", {}, numbers(row.policy)), ` by ${whose(row.by)}, ${when(row.at)}: ${row.because}`)))
        : h("p", { class: "muted" }, "Nothing yet: these are the numbers of the deployment.")), history.length > 1 && back);
  }
}

const numbers = (policy) => Object.entries(policy ?? { "not readable": NaN }).map(([name, value]) => `${name} ${number(value)}`).join(", ");

function table(thresholds, form) {
  const title = h("h2", {}, "Which minimum?");
  if (!thresholds?.rows?.length) return h("section", { class: "card" }, title, h("p", { class: "muted" }, "Not enough is judged yet. The table comes once a day, from what people decide in Review."));
  const use = (minimum) => { const field = form.elements.minimum; field.value = minimum; field.setCustomValidity(""); form.elements.because.focus(); };
  return h("section", { class: "card" }, title, h("p", { class: "muted" }, `What each minimum would have done in the last ${thresholds.days} days: fewer pictures for people, or fewer errors. "At most" holds 19 times of 20.`),
    scrolling("Which minimum?", h("table", {},
      h("thead", {}, h("tr", {}, ["Minimum", "For people", "Errors of the rest", "At most", ""].map((word, n) => h("th", { scope: "col", class: n < 4 ? "number" : "" }, word || h("span", { class: "visually-hidden" }, "Use"))))),
      h("tbody", {}, thresholds.rows.map((row) => h("tr", { "aria-current": row.minimum === thresholds.current && "true" },
        h("th", { scope: "row", class: "number" }, `${number(row.minimum)} %`), h("td", { class: "number" }, `${number(row.review)} (${number(row.reviewPercent)} %)`),
        row.errors == null ? h("td", { colspan: 2, class: "muted" }, `not enough yet: ${count(row.missing, "more judged picture")}`) : [h("td", { class: "number" }, number(row.errors)), h("td", { class: "number" }, number(row.errorsAtMost))],
        h("td", {}, row.minimum === thresholds.current ? "now" : button("Use", () => use(row.minimum), "small", { "aria-label": `Use ${row.minimum} %` }))))))));
}
