// Review: one picture and one key for each decision, or a sheet of pictures with the same guess.

import { button, h, heading, scores } from "./dom.js";
import { areOn, listen, switchKeys } from "./keys.js";
import { OutboxFull } from "./outbox.js";
import { Supply } from "./supply.js";
import { ANIMALS, count, number, percent } from "./words.js";

const KEYS = { c: "cat", d: "dog", o: "other" };
const KINDS = { "": "One by one", cat: "Cats", dog: "Dogs", other: "Others" };
const SHEET = 24;
const BROKEN = "This picture cannot be shown. It is asked for again by itself; you can skip it.";

/** Shows #/review (one picture) or #/review/cat, dog, other (a sheet). Returns a function that ends it. */
export function mount(element, context) {
  const guess = Object.keys(ANIMALS).find((animal) => animal === context.route.path[1]);
  const view = guess ? new Sheet(element, context, guess) : new Single(element, context);
  return () => view.close();
}

const memories = new WeakMap(); // outbox -> what outlives a view

class Memory {
  steps = []; // what can be undone, the last at the end: {kind, pictures: all, done: [{picture, key, animal}] of those decided}
  passed = new Set(); // image ids that were skipped: the service is told
  undone = new Set(); // keys
  brought = []; // pictures that an undo brings into the view that opens next
  older = null; // decisions of earlier sessions
  sequences = new Map(); // image id -> sequence of the last answer

  static of({ outbox }) {
    if (!memories.has(outbox)) memories.set(outbox, new Memory(outbox));
    return memories.get(outbox);
  }

  constructor(outbox) {
    outbox.addEventListener("saved", ({ detail: { answer } }) => this.sequences.set(answer.imageId, answer.sequence));
    outbox.addEventListener("refused", ({ detail: { entry } }) => {
      for (const step of this.steps) {
        const refused = step.done.find(({ key }) => key === entry.key);
        step.done = step.done.filter((one) => one !== refused);
        step.pictures = step.pictures.filter((picture) => picture !== refused?.picture);
      }
      this.steps = this.steps.filter(({ pictures }) => pictures.length);
    });
  }
}

/** The person's decisions that still hold, newest first: those that are not saved yet, then the service's. */
async function* decisions({ api, outbox }, undone) {
  const holds = ({ key }) => !undone.has(key) && !outbox.unsaved.some(({ body }) => body.undoes === key);
  for (const { key, body } of outbox.unsaved.reverse()) if (body.animal && holds({ key })) yield { key, ...body };
  for (let before; before !== null; ) {
    const page = await api.request("GET", "/people/reviews/mine", { query: { limit: 50, before } });
    for (const verdict of page.verdicts) if (!verdict.undone && holds(verdict)) yield verdict;
    ({ before = null } = page);
  }
}

/** What both kinds have. */
class Review {
  constructor(element, context, kind, query, ahead) {
    Object.assign(this, { element, context, kind, memory: Memory.of(context), undoing: Promise.resolve(), ends: new AbortController() });
    this.stage = h("div", { class: "stage" });
    this.said = h("p", { class: "said" });
    this.count = h("span", { class: "count" });
    this.keys = h("input", { type: "checkbox", checked: areOn(), onchange: () => this.switch() });
    element.append(heading("Review"), h("div", { class: "bar" },
      h("nav", { "aria-label": "Kinds of review" }, Object.entries(KINDS).map(([name, text]) =>
        h("a", { href: `#/review/${name}`, "aria-current": name === kind && "page" }, text))),
      this.count, h("label", {}, this.keys, "Keys")), this.said);
    this.switch();
    this.supply = new Supply(context, query, ahead, this.memory.passed);
    this.supply.addEventListener("change", () => this.changed());
    const { signal } = this.ends;
    context.outbox.addEventListener("refused", ({ detail: { entry } }) => this.say(`Not accepted. ${entry.refused.message}`), { signal });
    context.outbox.addEventListener("putOff", ({ detail }) => this.say(detail.text), { signal });
    if (this.memory.brought.length) this.supply.bring(this.memory.brought.splice(0));
  }

  /** When all is in its place. */
  begin(actions, within) {
    const animals = Object.entries(KEYS).map(([key, animal]) => [key, () => this.judge(animal)]);
    this.stop = listen({ ...Object.fromEntries(animals), u: () => this.undo(), ...actions }, () => this.keys.checked, within);
    this.changed();
  }

  close() {
    this.stop();
    this.supply.close();
    clearTimeout(this.timer);
    this.ends.abort();
  }

  switch() {
    switchKeys(this.keys.checked);
    this.element.classList.toggle("no-keys", !this.keys.checked);
  }

  changed() {
    const { left, isMore, pending } = this.supply;
    this.left = `${number(left)}${isMore ? " or more" : ""} ${this.kind ? "of all kinds " : ""}left`;
    this.count.textContent = this.left + (pending ? `, ${number(pending)} being moved` : "");
  }

  /** On the screen at once, aloud at most once a second. */
  say(text) {
    this.said.textContent = text;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.context.announce(`${this.said.textContent} ${this.left}`);
    }, 1000);
  }

  /** Keeps decisions [picture, animal, milliseconds] about `pictures`. Returns the pictures of those that the browser has kept. */
  keep(pictures, decided, mode) {
    const done = [];
    try {
      for (const [picture, animal, milliseconds] of decided) {
        const { imageId, blind } = picture;
        const sequence = Math.max(picture.sequence ?? 0, this.memory.sequences.get(imageId) ?? 0);
        const { key } = this.context.outbox.add({ imageId, animal, blind, mode, milliseconds: Math.round(milliseconds), sequence });
        done.push({ picture, key, animal });
        this.supply.decided({ imageId, sequence });
      }
    } catch (error) {
      if (!(error instanceof OutboxFull)) throw error;
      this.say(error.message);
    }
    if (done.length) this.memory.steps.push({ kind: this.kind, pictures, done });
    return done.map(({ picture }) => picture);
  }

  /** One after the other, however fast the key is pressed. */
  undo() {
    this.undoing = this.undoing.then(() => this.undoOne()).catch((error) => this.say(error.message));
  }

  async undoOne() {
    const { memory, context } = this;
    const step = memory.steps.at(-1) ?? (await this.older());
    if (!step) return this.say("There is nothing to undo.");
    for (const { picture, key } of step.done) {
      if (!memory.undone.has(key)) context.outbox.add({ imageId: picture.imageId, undoes: key });
      memory.undone.add(key);
    }
    memory.steps = memory.steps.filter((other) => other !== step);
    if (!step.pictures.length) return this.say("Taken back.");
    const { done: [first], pictures } = step;
    this.say(step.done.length > 1 ? `${step.done.length} undone.` : first ? `Undone: ${ANIMALS[first.animal]}.` : "Undone: skipped.");
    for (const picture of pictures) {
      // One of an earlier session; if it does not come, it waits among the others.
      if (!picture.viewUrl) Object.assign(picture, await context.api.request("GET", `/people/images/${picture.imageId}`));
    }
    if (step.kind === this.kind) {
      this.supply.bring(pictures);
      this.back(step);
      this.changed();
    } else {
      memory.brought = pictures;
      context.navigate(`/review/${step.kind}`);
    }
  }

  async older() {
    const { memory, context } = this;
    memory.older ??= decisions(context, memory.undone);
    try {
      const { value: found } = await memory.older.next();
      if (!found) return null;
      const { imageId, key, animal, blind, mode } = found, picture = { imageId, blind };
      // A correction is of a picture whose turn to be judged has not come: it is not brought.
      return { kind: "", pictures: mode === "gallery" ? [] : [picture], done: [{ picture, key, animal }] };
    } catch (error) {
      memory.older = null; // next time from the newest
      throw error;
    }
  }

  /** Instead of pictures: why there are none, and what to do. */
  nothing() {
    const { kind, memory, supply, context } = this, { state, error, skipped } = supply, others = supply.left - skipped.length;
    if (state === "asking") return h("p", {}, "Asking for pictures ...");
    const look = () => {
      if (!kind) return supply.again();
      memory.brought = skipped; // they are judged one by one
      context.navigate("/review/");
    };
    const apart = button(`Look at ${skipped.length} ${kind ? "left out" : "skipped"}`, look, "primary");
    if (supply.isFull) return h("div", {}, h("p", {}, h("strong", {}, "Decide some of these first."), " This page keeps no more apart."), apart);
    if (state === "failed") return h("div", {}, h("p", {}, error.message), button("Try again", () => supply.fill(), "primary"));
    return h("div", {},
      h("p", {}, h("strong", {}, skipped.length ? "The rest is decided." : kind ? `Nothing that leans to ${kind} waits for you now.` : "Nothing waits for you now.")),
      others > 0 && h("p", {}, kind ? `${count(others, "picture")} of other kinds, or before other people: look at them one by one.`
        : `${count(others, "picture")} before other people now. What they leave comes by itself within five minutes.`),
      h("p", {}, "New pictures come by themselves."),
      skipped.length > 0 && apart,
      kind && !skipped.length && others > 0 && h("a", { class: "button primary", href: "#/review/" }, "One by one"));
  }
}

class Single extends Review {
  constructor(element, context) {
    super(element, context, "", { mode: "single" }, 8);
    this.seen = h("aside", { class: "card seen", "aria-label": "What the machine saw" });
    element.append(h("div", { class: "single" }, this.stage, h("div", { class: "decide" },
      Object.entries(KEYS).map(([key, animal]) => keyed(ANIMALS[animal], key, () => this.judge(animal), "verdict", animal)),
      keyed("Skip", "s", () => this.skip()), keyed("Undo", "u", () => this.undo())), this.seen));
    this.begin({ s: () => this.skip() });
  }

  changed() {
    const { supply } = this;
    if (!supply.shown.length && supply.next.length) return supply.advance(1), this.changed();
    super.changed();
    const [picture] = supply.shown;
    const what = picture?.isLoaded ? picture.image : picture?.isBroken ? BROKEN : "Loading the picture ...";
    if (picture && this.picture === picture && this.drawn === what) return;
    if (this.picture !== picture) this.seen.replaceChildren(...(picture ? seen(picture) : []));
    this.seen.hidden = !picture;
    for (const verdict of this.element.querySelectorAll(".verdict")) verdict.ariaDisabled = !picture;
    Object.assign(this, { picture, drawn: what });
    this.shownAt = picture?.isLoaded && performance.now(); // what nobody has seen cannot be decided
    this.stage.replaceChildren(!picture ? this.nothing() : what !== BROKEN ? what
      : h("div", {}, h("p", {}, BROKEN), button("Load it again", () => supply.reload(), "primary")));
  }

  back() {}

  judge(animal) {
    if (!this.shownAt) return;
    if (this.keep([this.picture], [[this.picture, animal, performance.now() - this.shownAt]], "single").length) this.go(`${ANIMALS[animal]}.`);
  }

  skip() {
    if (!this.picture) return;
    this.memory.steps.push({ kind: "", pictures: [this.picture], done: [] });
    if (this.shownAt) this.memory.passed.add(this.picture.imageId);
    this.supply.skipped.push(this.picture);
    this.go("Skipped.");
  }

  go(text) {
    this.supply.advance(1);
    this.changed();
    this.say(text);
  }
}

class Sheet extends Review {
  constructor(element, context, guess) {
    super(element, context, guess, { mode: "sheet", guess }, SHEET);
    this.marks = new Map(); // image id -> animal, or "" when it is left out
    this.stage.className = "stage sheet";
    this.file = keyed("File", "Enter", () => this.fileAll(), "primary");
    this.reload = button("Load again", () => this.supply.reload());
    this.stage.addEventListener("keyup", (event) => event.key === " " && event.preventDefault()); // else it clicks, too
    element.append(
      h("p", {}, `The machine leans to ${guess}. Mark what is not: as what it is, or left out, to judge it one by one. `,
        h("span", { class: "keyed" }, "Arrows move, Space marks.")),
      this.stage, h("div", { class: "decide" }, this.file,
        Object.entries(KEYS).filter(([, animal]) => animal !== guess).map(([key, animal]) => keyed(`It is ${animal}`, key, () => this.judge(animal), "verdict", animal)),
        keyed("Undo", "u", () => this.undo()), this.reload));
    const down = () => this.tiles.filter((tile) => tile.offsetTop === this.tiles[0].offsetTop).length;
    this.begin({
      " ": () => this.judge(), Enter: () => this.fileAll(), ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1),
      ArrowUp: () => this.move(-down()), ArrowDown: () => this.move(down()),
    }, this.stage);
  }

  changed() {
    const { supply } = this;
    if (!supply.shown.length && supply.next.length) return supply.advance(SHEET), this.changed();
    super.changed();
    if (this.drawn !== supply.shown || !supply.shown.length) this.draw();
    let many = 0;
    this.tiles.forEach((tile, index) => {
      const { imageId, image, isBroken } = supply.shown[index];
      const mark = isBroken ? "" : this.marks.get(imageId), isMarked = mark !== undefined;
      const words = isBroken ? "cannot be shown" : mark === "" ? "left out" : mark ?? "";
      if (image.parentElement !== tile) tile.prepend(image);
      tile.lastChild.textContent = words;
      tile.setAttribute("aria-pressed", isMarked);
      tile.setAttribute("aria-label", `Picture ${index + 1}${words && `, ${words}`}`);
      many += !isMarked;
    });
    this.reload.hidden = !supply.shown.some(({ isBroken }) => isBroken);
    this.file.firstChild.textContent = `File ${many} as ${this.kind}`;
  }

  draw() {
    const { shown } = this.supply;
    const hadFocus = this.stage.contains(document.activeElement) || document.activeElement === document.body;
    Object.assign(this, { drawn: shown, at: 0, shownAt: performance.now() });
    this.tiles = shown.map((_, index) => h("button", {
      type: "button", class: "shot", tabindex: index ? -1 : 0, onfocus: () => this.point(index), onclick: () => { this.point(index); this.judge(); },
    }, h("span", { class: "mark" })));
    this.stage.replaceChildren(...(shown.length ? this.tiles : [this.nothing()]));
    if (hadFocus) this.tiles[0]?.focus({ preventScroll: true });
  }

  back({ pictures, done }) {
    const found = new Map(done.map(({ picture, animal }) => [picture, animal]));
    this.marks = new Map(pictures.map((picture) => [picture.imageId, found.get(picture) ?? ""]).filter(([, animal]) => animal !== this.kind));
  }

  move(steps) {
    this.tiles[this.at + (this.stage.contains(document.activeElement) ? steps : 0)]?.focus();
  }

  point(index) {
    this.tiles[this.at].tabIndex = -1;
    this.tiles[index].tabIndex = 0;
    this.at = index;
  }

  /** Marks the picture that the arrows are at: as an animal, or left out. The same again takes the mark away. */
  judge(animal = "") {
    const { imageId } = this.supply.shown[this.at] ?? {};
    if (!imageId) return;
    const before = this.marks.get(imageId);
    if (animal === this.kind || before === animal || (before && !animal)) this.marks.delete(imageId);
    else this.marks.set(imageId, animal);
    this.changed();
  }

  /** Files what is not left out: nothing that nobody could see. */
  fileAll() {
    const { supply, marks } = this, { shown } = supply;
    const loading = shown.filter(({ isLoaded, isBroken }) => !isLoaded && !isBroken).length;
    if (loading || !shown.length) return this.say(`${count(loading, "picture")} still loading.`);
    const filed = shown.filter(({ imageId, isBroken }) => !isBroken && marks.get(imageId) !== "");
    const each = (performance.now() - this.shownAt) / shown.length;
    const kept = new Set(this.keep(shown, filed.map((picture) => [picture, marks.get(picture.imageId) ?? this.kind, each]), "sheet"));
    const rest = shown.filter((picture) => !kept.has(picture));
    if (kept.size < filed.length) {
      supply.shown = rest; // the browser keeps no more, as `keep` has said
    } else {
      supply.skipped.push(...rest);
      marks.clear();
      supply.advance(SHEET);
      this.say(`${kept.size} filed, ${rest.length} left out.`);
    }
    this.changed();
  }
}

/** A button, and its key. Of a double click it hears the first: what comes after it has nobody seen. Undo hears each. */
function keyed(text, key, action, kind, animal) {
  const made = button(text, (event) => (event.detail > 1 && key !== "u") || action(), kind, { "aria-keyshortcuts": key, "data-kind": animal });
  made.append(" ", h("kbd", { "aria-hidden": "true" }, key === "Enter" ? "↵" : key.toUpperCase()));
  return made;
}

/** What the machine saw, unless its guess is hidden. */
function seen({ blind, leaning, scores: found = {}, reason, labels = [], fileName }) {
  if (blind) return [h("h2", {}, "The guess is hidden"), h("p", {}, "Say what you see: this picture shows how often the machine is right.")];
  return [
    h("h2", {}, leaning ? `It leans to ${leaning}` : "What the machine saw"), h("p", {}, reason ?? ""),
    ...scores(found),
    h("p", { class: "muted small" }, labels.map(({ name, confidence }) => `${name} ${percent(confidence)}`).join(", ")),
    h("p", { class: "muted small" }, fileName ?? ""),
  ];
}
