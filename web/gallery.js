// Gallery: all pictures, newest first, and the story of one.

import { button, dialog, h, heading, loading, problem, scores } from "./dom.js";
import { picture } from "./picture.js";
import { ANIMALS, REASONS, STATUSES, bytes, count, number, outcome, percent, when } from "./words.js";

const DAY_MS = 86_400_000;
const PAGE = 24;
const SHOWN = ["completed", "needs_review"]; // these have a picture to look at

export function mount(element, context) {
  const { path, query } = context.route;
  return path[1] ? story(element, context, path[1]) : list(element, context, query);
}

function list(element, context, query) {
  const may = context.session.may;
  const choice = (name, label, words) => h("label", {}, label, h("select", { name }, h("option", { value: "" }, "All"),
    Object.entries(words).map(([value, word]) => h("option", { value, selected: query.get(name) === value }, word))));
  const day = (name, label) => h("label", {}, label, h("input", { type: "date", name, value: query.get(name) }));
  const form = h("form", { class: "row filters", onchange: () => begin(), onsubmit: (event) => event.preventDefault() },
  choice("animal", "Animal", ANIMALS), choice("status", "Status", STATUSES), day("from", "From"), day("to", "To"),
  button("Clear", () => { form.querySelectorAll("select, input").forEach((field) => { field.value = ""; }); begin(); }, "quiet"));
  const host = h("div");
  element.append(heading(may.review ? "Gallery" : "Your pictures"), form, host);
  let stop;

  function begin() {
    // What an address says counts only as far as the fields can hold it.
    const filters = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(null, "", `#/gallery${filters.size ? `?${filters}` : ""}`);
    const grid = h("ul", { class: "grid" });
    stop?.();
    stop = loading(host, async (signal) => {
      const more = await fill(grid, filters, null, signal);
      if (grid.children.length || more) {
        context.announce(count(grid.children.length, "picture"));
        return h("div", {}, grid, more);
      }
      return h("div", { class: "card empty" }, h("p", {}, h("strong", {}, filters.size ? "No picture matches." : "No pictures yet.")),
        filters.size ? h("p", {}, "Choose other filters, or clear them.")
          : may.upload ? h("a", { class: "button primary", href: "#/upload" }, "Send the first")
            : h("p", {}, "They appear here as soon as somebody has sent some."));
    });
  }

  /** Adds a page to the grid; gives the part with "Show more", or nothing at the end. An empty page need not be the last. */
  async function fill(grid, filters, token, signal) {
    const from = filters.get("from"), to = filters.get("to");
    for (let tries = 0; tries < 8; tries++) {
      const { images, nextToken } = await context.api.request("GET", "/people/images", { signal, query: {
        animal: filters.get("animal"), status: filters.get("status"), limit: PAGE, nextToken: token,
        from: from && new Date(`${from}T00:00`).toISOString(), to: to && new Date(+new Date(`${to}T00:00`) + DAY_MS).toISOString() } });
      grid.append(...images.map(card));
      token = nextToken;
      if (images.length || !token) break;
    }
    if (!token) return null;
    const more = h("p", { class: "more" }, button("Show more", async ({ target }) => {
      const { length } = grid.children;
      target.disabled = true;
      try {
        more.replaceWith(await fill(grid, filters, token) ?? "");
        grid.children[length]?.querySelector("a").focus();
      } catch (error) {
        more.append(problem(error));
        target.disabled = false;
      }
    }));
    return more;
  }

  const card = (image) => h("li", {}, h("a", { class: "tile", href: `#/gallery/${image.imageId}` },
    SHOWN.includes(image.status) ? picture(context.api, image.imageId) : h("span", { class: "picture none" }, REASONS[image.reasonCode] ?? "Nothing to show"),
    h("span", { class: "name" }, image.fileName ?? image.imageId), pill(image), h("span", { class: "muted small" }, when(image.createdAt))));

  begin();
  return () => stop();
}

function pill(image) {
  const { kind, text } = outcome(image);
  return h("span", { class: "pill", "data-kind": kind }, text);
}

function story(element, context, id) {
  const { api, session, outbox, announce, navigate } = context, may = session.may, path = `/people/images/${encodeURIComponent(id)}`;
  const name = heading("Picture"), host = h("div"), told = h("div", { role: "status" });
  element.append(h("p", {}, h("a", { href: "#/gallery" }, "Back to the gallery")), name, told, host);
  let timer, stop = loading(host, show);

  async function show(signal) {
    let image, history = { reviews: [], carriedOut: true };
    try {
      [image, history] = await Promise.all([api.request("GET", path, { signal }), may.review ? api.request("GET", `${path}/reviews`, { signal }) : history]);
    } catch (error) {
      if (![400, 404].includes(error.status)) throw error;
      name.textContent = document.title = "No such picture";
      return h("p", { class: "card" }, "There is no picture at this address. It was erased, or the address is not complete.");
    }
    name.textContent = document.title = image.fileName ?? id;
    clearTimeout(timer); // a verdict is on its way: look again
    if (!history.carriedOut && !signal?.aborted) timer = setTimeout(again, 2000);
    return h("div", { class: "story", onkeydown: (event) => event.repeat && event.key === "Enter" && event.preventDefault() }, // a held key acts once
      h("div", {}, image.viewUrl ? picture(api, id, { url: image.viewUrl, alt: image.fileName ?? "" })
        : h("p", { class: "picture none" }, REASONS[image.reasonCode] ?? "There is no picture to show.")),
      h("div", {}, decision(image, history), may.review && SHOWN.includes(image.status) && correction(image, history), labels(image),
        past(history, decide), facts(image), image.mayErase && h("p", {}, button("Erase this picture", () => erase(image), "danger"))));
  }

  async function again() {
    const drawn = await show().catch((error) => problem(error, again)), { activeElement: used } = document, hadFocus = host.contains(used);
    host.replaceChildren(drawn);
    if (hadFocus) ([...host.querySelectorAll("[aria-pressed]")].find(({ textContent }) => textContent === used.textContent) ?? name).focus();
  }

  const correction = (image, { reviews }) => h("section", { class: "card" }, h("h2", {}, "What does it show?"), h("div", { class: "row" },
    Object.entries(ANIMALS).map(([animal, word]) => button(word, (event) => event.detail > 1 || decide({ animal, blind: false, mode: "gallery", milliseconds: 0, sequence: reviews.length }),
      "", { "aria-pressed": String(image.status === "completed" && image.animal === animal) }))));

  /** A verdict or an undo: kept in this browser until the service has it. */
  function decide(verdict) {
    try {
      outbox.add({ imageId: id, ...verdict });
      told.replaceChildren("Saving ...");
    } catch (error) {
      told.replaceChildren(problem(error));
    }
  }

  const left = new AbortController();
  const hear = (type, heard) => outbox?.addEventListener(type, ({ detail }) => detail.entry.body.imageId === id && heard(detail), { signal: left.signal });
  hear("saved", ({ entry, answer }) => {
    told.replaceChildren(h("p", { class: "card" }, entry.body.undoes ? "Taken back." : `Saved: ${ANIMALS[answer.animal]}. The picture moves to its folder by itself.`));
    again();
  });
  hear("putOff", ({ text }) => told.replaceChildren(h("p", { class: "card" }, text)));
  hear("refused", () => {
    told.replaceChildren(); // above it says why
    again();
  });

  /** The answer, or null when this person has no such picture. */
  const found = (method) => api.request(method, path).catch((error) => {
    if (error.code !== "IMAGE_NOT_FOUND") throw error;
    return null;
  });

  function erase(image) {
    const failed = h("div");
    const asked = dialog("Erase it for good?",
      h("p", {}, `${image.fileName ?? id}: the picture, all its versions and what was seen on it are removed. Nobody can bring it back.`), failed,
      h("div", { class: "row" }, button("Erase", async ({ target }) => {
        target.disabled = true;
        try {
          // What an earlier try has erased is not found. What can be seen is no longer this person's to erase.
          if (!(await found("DELETE")) && (await found("GET"))) throw new Error("Only who sent this picture, or an operator, may erase it.");
        } catch (error) {
          target.disabled = false;
          return failed.replaceChildren(problem(error));
        }
        asked.close();
        announce("Erased.");
        navigate("/gallery");
      }, "danger"), button("Keep it", () => asked.close(), "", { autofocus: true })));
  }

  return () => { stop(); clearTimeout(timer); left.abort(); };
}

function decision(image, { reviews }) {
  const byPerson = reviews.some(({ kind, undone }) => kind === "verdict" && !undone);
  const [, minimum, , floor] = /^\d+:([\d.]+)\/([\d.]+)\/([\d.]+)/.exec(image.policyVersion ?? "") ?? [];
  return h("section", { class: "card" }, h("p", {}, pill(image)), image.reason && h("p", {}, byPerson && "A person decided. The machine said: ", image.reason),
    image.superseded && h("p", {}, image.superseded.reason),
    image.scores && scores(image.scores, [floor, minimum]),
    image.scores && minimum && h("p", { class: "muted small" }, `The marks: floor ${number(floor)} %, minimum ${number(minimum)} %.`));
}

const labels = ({ labels: seen }) => seen?.length > 0 && h("section", { class: "card" }, h("h2", {}, "What was seen"),
  h("ul", { class: "row labels" }, seen.map((label) => h("li", {}, `${label.name} ${percent(label.confidence)}`))));

function past({ reviews, carriedOut }, decide) {
  if (!reviews.length) return null;
  const standing = reviews.findLast(({ kind, undone }) => kind === "verdict" && !undone);
  return h("section", { class: "card" }, h("h2", {}, "What people decided"), h("ol", { class: "history" }, reviews.map((row) => h("li", {},
    h("strong", {}, row.kind === "undo" ? "Taken back" : ANIMALS[row.animal]), row.undone && " (taken back)", ` by ${row.by}`,
    h("span", { class: "muted small" }, ` ${[when(row.at), row.milliseconds && `${number(row.milliseconds / 1000)} s`, row.blind && "guess hidden"].filter(Boolean).join(", ")} `),
    row === standing && row.key && button("Take back", () => decide({ undoes: row.key }), "small")))),
  !carriedOut && h("p", { class: "muted" }, "The last decision is being carried out."));
}

const facts = (image) => h("section", { class: "card" }, h("h2", {}, "Facts"), h("dl", {}, [
  ["Sent", when(image.createdAt)], ["Sorted", when(image.timestamp)], ["File", [image.imageFormat !== "unknown" && image.imageFormat?.toUpperCase(), image.fileSize && bytes(image.fileSize)].filter(Boolean).join(", ")],
  ["Policy", image.policyVersion], ["Model", image.modelVersion], ["Lies at", image.location], ["Id", image.imageId],
].filter(([, value]) => value).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])));
