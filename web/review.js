// Review: one picture and one key for each decision, or a sheet of pictures with the same guess.

import { button, h, heading } from "./dom.js";
import { areOn, listen, switchKeys } from "./keys.js";
import { answered, OutboxFull } from "./outbox.js";
import { Supply } from "./supply.js";
import { ANIMALS, number, percent } from "./words.js";

const KEYS = { c: "cat", d: "dog", o: "other" };
const MANY = { cat: "cats", dog: "dogs", other: "neither cats nor dogs" };
const SHEET = 24;

/** Shows #/review (one picture), or #/review/cat, dog, other (sheets). Returns a function that ends it. */
export function mount(element, context) {
  const guess = Object.keys(ANIMALS).find((animal) => animal === context.route?.path[1]);
  const view = guess ? new Sheet(element, context, guess) : new Single(element, context);
  return () => view.close();
}

/** What outlives a view: the steps that can be undone, and what is known of the pictures' verdicts. */
class Memory {
  steps = []; // {place, done: [{picture, key, animal}]}, the last one last
  undone = new Set(); // keys
  brought = null; // pictures that an undo brings into the view that opens next
  #sequences = new Map(); // image id -> sequence of the last answer

  constructor(api, outbox) {
    this.older = older(api, outbox, this.undone);
    outbox.addEventListener("saved", ({ detail: { answer } }) => this.#sequences.set(answer.imageId, answer.sequence));
    outbox.addEventListener("refused", ({ detail: { entry } }) => {
      for (const step of this.steps) step.done = step.done.filter(({ key }) => key !== entry.key);
      this.steps = this.steps.filter(({ done }) => done.length);
    });
  }

  /** The sequence that a verdict about the picture follows. */
  sequenceOf({ imageId, sequence }) {
    const known = [sequence, this.#sequences.get(imageId)].filter((value) => value !== undefined);
    return known.length ? Math.max(...known) : undefined;
  }
}

const memories = new WeakMap(); // outbox -> Memory

/** The person's verdicts of earlier sessions that still hold, newest first: those not saved yet, then the server's. */
async function* older(api, outbox, undone) {
  const isOver = (key) => undone.has(key) || outbox.unsaved.some(({ body }) => body.undoes === key);
  for (const { key, body } of outbox.unsaved.reverse()) if (!body.undoes && !isOver(key)) yield { key, ...body };
  for (let before; before !== null; ) {
    const query = { limit: 50, before };
    const page = await answered((signal) => api.request("GET", "/people/reviews/mine", { query, signal }));
    for (const verdict of page.verdicts) if (!verdict.undone && !isOver(verdict.key)) yield verdict;
    before = page.before ?? null;
  }
}

/** What both views have: counts, keys, undo, and words about what happened. */
class Review {
  constructor(element, context, place, options) {
    const { api, outbox } = context;
    this.context = context;
    this.place = place;
    if (!memories.has(outbox)) memories.set(outbox, new Memory(api, outbox));
    this.memory = memories.get(outbox);
    this.said = h("p", { class: "said" });
    this.count = h("span", { class: "count" });
    this.stage = h("div", { class: "stage" });
    this.keys = h("input", { type: "checkbox", checked: areOn(), onchange: () => this.#switch() });
    element.append(
      heading("Review"),
      h("div", { class: "bar" },
        h("nav", { "aria-label": "Kinds of review" }, ["", ...Object.keys(MANY)].map((name) =>
          h("a", { href: `#/review${name && `/${name}`}`, "aria-current": name === place && "page" },
            name ? `Sheet: ${name}` : "One picture"))),
        this.count,
        h("label", {}, this.keys, " Keys")),
      this.said,
    );
    this.element = element;
    this.supply = new Supply(context, options.query, options);
    this.supply.addEventListener("change", () => this.changed());
    this.onrefused = ({ detail: { entry } }) => this.say(`Not accepted: ${entry.refused.message}`);
    outbox.addEventListener("refused", this.onrefused);
    this.undoing = Promise.resolve();
    if (this.memory.brought) this.supply.bring(this.memory.brought);
    this.memory.brought = null;
    this.#switch();
  }

  /** To be called when the element is complete. `within` hears its keys even when single keys are off. */
  start(actions, within) {
    this.stopKeys = listen({ ...actions, u: () => this.undo() }, () => this.keys.checked, within);
    this.changed();
  }

  close() {
    this.stopKeys();
    this.supply.close();
    this.context.outbox.removeEventListener("refused", this.onrefused);
    clearTimeout(this.timer);
  }

  #switch() {
    switchKeys(this.keys.checked);
    this.element.classList.toggle("no-keys", !this.keys.checked);
  }

  changed() {
    const { left, leftIsMore, pending } = this.supply;
    this.left = `${number(left)}${leftIsMore ? "+" : ""} left`;
    this.count.textContent = this.left + (pending ? `, ${number(pending)} being moved` : "");
  }

  /** On the screen at once; to a screen reader at most once a second, the newest. */
  say(text) {
    this.said.textContent = text;
    this.newest = `${text} ${this.left}`;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.context.announce(this.newest);
    }, 1000);
  }

  /** Keeps decisions: [picture, animal, milliseconds]. Returns the pictures of those that the browser has kept. */
  keep(decisions, mode) {
    const done = [];
    try {
      for (const [picture, animal, milliseconds] of decisions) {
        const { imageId, blind } = picture;
        const sequence = this.memory.sequenceOf(picture);
        const { key } = this.context.outbox.add({ imageId, animal, blind, mode, milliseconds: Math.round(milliseconds), sequence });
        done.push({ picture, key, animal });
        this.supply.decided({ imageId, sequence });
      }
    } catch (error) {
      if (!(error instanceof OutboxFull)) throw error;
      this.say(error.message);
    }
    if (done.length) this.memory.steps.push({ place: this.place, done });
    return done.map(({ picture }) => picture);
  }

  /** One after the other, however fast the key is pressed. */
  undo() {
    this.undoing = this.undoing.then(() => this.#undo()).catch((error) => this.say(`Not undone: ${error.message}`));
  }

  async #undo() {
    const step = this.memory.steps.at(-1) ?? (await this.#olderStep());
    if (!step) return this.say("There is nothing to undo.");
    for (const { picture, key } of step.done.filter(({ key }) => !this.memory.undone.has(key))) {
      this.context.outbox.add({ imageId: picture.imageId, undoes: key });
      this.memory.undone.add(key);
    }
    this.memory.steps = this.memory.steps.filter((other) => other !== step);
    const pictures = step.done.map(({ picture }) => picture);
    for (const picture of pictures) if (!picture.viewUrl) Object.assign(picture, await this.#found(picture));
    const what = pictures.length > 1 ? `${pictures.length} decisions` : ANIMALS[step.done[0].animal].toLowerCase();
    if (step.place === this.place) {
      this.supply.bring(pictures);
      this.back(step);
    } else {
      this.memory.brought = pictures;
      this.context.navigate(`/review${step.place && `/${step.place}`}`);
    }
    this.say(`Undone: ${what}.`);
  }

  async #olderStep() {
    const { value } = await this.memory.older.next();
    // Whether the guess was hidden is not known here, so it is.
    return value && { place: "", done: [{ picture: { imageId: value.imageId, blind: value.blind ?? true }, key: value.key, animal: value.animal }] };
  }

  /** The picture of an earlier session. */
  async #found({ imageId, blind }) {
    const image = await answered((signal) => this.context.api.request("GET", `/people/images/${imageId}`, { signal }));
    return { viewUrl: image.viewUrl, blind };
  }

  /** Instead of pictures: why there are none, and what to do. */
  nothing() {
    const { state, error, skipped } = this.supply;
    if (state === "asking") return h("p", { class: "muted" }, "Asking for pictures ...");
    if (state === "failed") return h("div", {}, h("p", {}, error.message), button("Try again", () => this.supply.fill(), "primary"));
    return h("div", {},
      h("p", {}, skipped.length ? "All others are decided." : "Nothing waits for a decision here. New pictures come by themselves."),
      skipped.length
        ? button(`Look again at ${skipped.length} skipped`, () => { this.supply.bring(skipped.splice(0)); this.supply.retry(); this.changed(); }, "primary")
        : button("Look again", () => this.supply.fill(), "primary"));
  }
}

class Single extends Review {
  constructor(element, context) {
    super(element, context, "", { query: { mode: "single" }, enough: 16, loaded: 8 });
    this.seen = h("aside", { class: "card seen", "aria-label": "What the machine saw" });
    this.buttons = h("div", { class: "decide" },
      Object.entries(KEYS).map(([key, animal]) => keyed(ANIMALS[animal], key, () => this.decide(animal), "primary")),
      keyed("Skip", "s", () => this.skip()), keyed("Undo", "u", () => this.undo()));
    element.append(h("div", { class: "single" }, this.stage, this.buttons, this.seen));
    const actions = Object.fromEntries(Object.entries(KEYS).map(([key, animal]) => [key, () => this.decide(animal)]));
    this.start({ ...actions, s: () => this.skip() });
  }

  get picture() {
    return this.supply.shown[0];
  }

  changed() {
    super.changed();
    if (!this.picture && this.supply.next.length) this.supply.advance(1);
    this.draw();
  }

  back() {
    this.draw();
  }

  draw() {
    const { picture } = this;
    const what = !picture ? null : picture.isLoaded ? picture.image : picture.isBroken ? "broken" : "loading";
    if (this.drawn === what && this.drawnFor === picture && what) return;
    this.drawn = what;
    this.drawnFor = picture;
    this.shownAt = picture?.isLoaded ? performance.now() : 0; // what nobody has seen cannot be decided
    if (!picture) this.stage.replaceChildren(this.nothing());
    else if (picture.isLoaded) this.stage.replaceChildren(picture.image);
    else this.stage.replaceChildren(h("p", {}, picture.isBroken ? "This picture cannot be shown. Skip it, or try again later." : "Loading the picture ..."));
    this.seen.replaceChildren(...(picture ? seen(picture) : []));
  }

  decide(animal) {
    if (!this.shownAt) return;
    const kept = this.keep([[this.picture, animal, performance.now() - this.shownAt]], "single");
    if (kept.length) this.go(`${ANIMALS[animal]}.`);
  }

  skip() {
    if (!this.picture) return;
    this.supply.skip(this.picture);
    this.go("Skipped: it comes again later.");
  }

  go(text) {
    this.supply.advance(1);
    this.changed();
    this.say(text);
  }
}

class Sheet extends Review {
  constructor(element, context, guess) {
    super(element, context, guess, { query: { mode: "sheet", guess }, enough: SHEET, loaded: SHEET });
    this.guess = guess;
    this.marks = new Map(); // image id -> animal, or "" for left out
    this.stage.classList.add("sheet");
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", `Pictures that look like ${guess}`);
    this.fileButton = keyed("File", "Enter", () => this.file(), "primary");
    this.hint = h("p", { class: "hint" },
      `All that the machine leans to call ${guess}. Mark those that are not: a mark leaves a picture out, for a look at it alone; an animal files it as that. `,
      h("span", { class: "keyed" }, "Arrows move, Space marks."));
    element.append(this.hint, this.stage, h("div", { class: "decide" }, this.fileButton,
      Object.entries(KEYS).filter(([, animal]) => animal !== guess).map(([key, animal]) => keyed(`It is ${animal}`, key, () => this.mark(animal))),
      keyed("Undo", "u", () => this.undo())));
    const animals = Object.fromEntries(Object.entries(KEYS).map(([key, animal]) => [key, () => this.mark(animal)]));
    this.stage.addEventListener("keyup", (event) => event.key === " " && event.preventDefault()); // else it would click, too
    this.start({
      ...animals, " ": () => this.mark(), Enter: () => this.file(),
      ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1), ArrowUp: () => this.move(-this.columns), ArrowDown: () => this.move(this.columns),
    }, this.stage);
  }

  get columns() {
    const tiles = [...this.stage.children];
    return Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length);
  }

  changed() {
    super.changed();
    const { supply } = this;
    if (!supply.shown.length && supply.next.length) supply.advance(SHEET);
    if (this.drawn !== supply.shown || !supply.shown.length) this.draw();
    this.update();
  }

  back(step) {
    this.marks = new Map(step.done.filter(({ animal }) => animal !== this.guess).map(({ picture, animal }) => [picture.imageId, animal]));
    this.draw();
    this.update();
  }

  draw() {
    const { shown } = this.supply;
    const hadFocus = this.stage.contains(document.activeElement);
    this.drawn = shown;
    this.shownAt = performance.now();
    this.tiles = shown.map((picture, index) => h("button", {
      type: "button", class: "shot", tabindex: index ? -1 : 0, onclick: () => { this.at = index; this.mark(); }, onfocus: () => this.point(index),
    }, picture.image, h("span", { class: "mark" })));
    this.at = 0;
    this.stage.replaceChildren(...(shown.length ? this.tiles : [this.nothing()]));
    if (hadFocus || (shown.length && document.activeElement === document.body)) this.tiles[0]?.focus({ preventScroll: true });
  }

  /** Marks, names and numbers as they are now. */
  update() {
    this.supply.shown.forEach((picture, index) => {
      if (picture.isBroken) this.marks.set(picture.imageId, "");
      const mark = this.marks.get(picture.imageId);
      const words = picture.isBroken ? "cannot be shown" : mark === "" ? "left out" : mark ?? "";
      const tile = this.tiles[index];
      if (picture.image.parentElement !== tile) tile.prepend(picture.image);
      tile.setAttribute("aria-pressed", mark !== undefined);
      tile.setAttribute("aria-label", `Picture ${index + 1}${words && `, ${words}`}`);
      tile.lastChild.textContent = words;
    });
    const many = this.supply.shown.filter(({ imageId }) => !this.marks.has(imageId)).length;
    this.fileButton.firstChild.textContent = `File ${many} as ${this.guess}`;
    this.fileButton.disabled = !this.supply.shown.length;
  }

  move(steps) {
    const to = this.at + steps;
    if (!this.tiles[to]) return;
    this.tiles[to].focus();
  }

  point(index) {
    this.tiles[this.at].tabIndex = -1;
    this.tiles[index].tabIndex = 0;
    this.at = index;
  }

  /** Marks the picture that the arrows are at; without an animal: leaves it out, or no longer. */
  mark(animal) {
    const picture = this.supply.shown[this.at];
    if (!picture) return;
    if (animal === this.guess || (animal ?? "") === this.marks.get(picture.imageId) || (!animal && this.marks.has(picture.imageId))) {
      this.marks.delete(picture.imageId);
    } else this.marks.set(picture.imageId, animal ?? "");
    this.update();
  }

  /** Files what is not left out. Nothing that nobody could see is filed. */
  file() {
    const { shown } = this.supply;
    if (!shown.length) return;
    const loading = shown.filter(({ isLoaded, isBroken }) => !isLoaded && !isBroken).length;
    if (loading) return this.say(`Wait a moment: ${loading} pictures are still loading.`);
    const filed = shown.filter(({ imageId }) => this.marks.get(imageId) !== "");
    const each = (performance.now() - this.shownAt) / shown.length;
    const kept = new Set(this.keep(filed.map((picture) => [picture, this.marks.get(picture.imageId) ?? this.guess, each]), "sheet"));
    const rest = shown.filter((picture) => !kept.has(picture));
    if (kept.size < filed.length) {
      this.supply.bring(rest); // the browser keeps no more: `keep` has said so
      return this.changed();
    }
    rest.forEach((picture) => this.supply.skip(picture));
    this.marks.clear();
    this.supply.advance(SHEET);
    this.changed();
    this.say(`${kept.size} filed${rest.length ? `, ${rest.length} left out` : ""}.`);
  }
}

/** A button with its key. */
function keyed(text, key, action, kind) {
  const made = button(text, action, kind, { "aria-keyshortcuts": key });
  made.append(" ", h("kbd", { "aria-hidden": "true" }, key === "Enter" ? "↵" : key.toUpperCase()));
  return made;
}

/** What the machine saw; nothing of it when the guess is hidden. */
function seen({ blind, leaning, scores = {}, reason, labels = [], fileName }) {
  if (blind) return [h("h2", {}, "The guess is hidden"), h("p", {}, "Say what you see. This picture checks how often the machine is right.")];
  return [
    h("h2", {}, `It leans to ${leaning ?? "nothing"}`),
    h("p", {}, reason ?? ""),
    h("dl", {}, Object.entries(scores).flatMap(([animal, score]) => [
      h("dt", {}, ANIMALS[animal] ?? animal), h("dd", {}, h("meter", { min: 0, max: 100, value: score }), ` ${percent(score)}`)])),
    h("p", { class: "muted small" }, "Seen: ", labels.map(({ name, confidence }) => `${name} ${percent(confidence)}`).join(", ") || "nothing"),
    fileName && h("p", { class: "muted small" }, fileName),
  ].filter(Boolean);
}
