// Verdicts that the server has not acknowledged yet. Each is in localStorage before it is sent, under its own name, so
// that a killed tab loses none and two tabs never write over each other's.

import { button, h } from "./dom.js";
import { ANIMALS, when } from "./words.js";

const PREFIX = "petdetect.outbox.";
const AT_ONCE = 4; // a browser opens six connections to a host: two are left for pictures
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
const NO_ANSWER = 15_000; // longer than the function's own timeout: later answers never come

/** The browser keeps nothing (more): nothing may be decided, because it could be lost. */
export class OutboxFull extends Error {
  constructor() {
    super(
      "This browser keeps no more decisions: its storage is full or switched off. Nothing was decided. Wait until all is saved; " +
        "else allow site data for this page, or leave the private window.",
    );
  }
}

/** Runs `request(signal)` and gives it up after 15 seconds, with an AbortError. */
export async function answered(request) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), NO_ANSWER);
  try {
    return await request(abort.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether sending the same again can never help. 401 waits for a sign-in; a gateway's own 403 and 404 pass by. */
function isFinal({ status, code }) {
  if (!(status >= 400 && status < 500) || [401, 408, 425, 429].includes(status)) return false;
  return (status !== 403 || code === "NOT_ALLOWED") && (status !== 404 || code === "IMAGE_NOT_FOUND");
}

/** Events: "change"; "saved" (detail: entry, answer), also for what another tab sent; "refused" (detail: entry). */
export class Outbox extends EventTarget {
  /** Whether the service does not answer, or with a fault of its own. */
  isStuck = false;
  /** Name -> number of unsaved entries of other people in this browser. */
  others = new Map();
  #api;
  #person;
  #entries = new Map(); // key -> entry, as in localStorage
  #sending = new Set(); // image ids
  #retries = new Map(); // key -> {tries, at}
  #failures = 0; // since the last answer
  #pausedUntil = 0;
  #timer = 0;
  #ends = new AbortController();

  /** `person`: {id, name}. */
  constructor(api, person) {
    super();
    this.#api = api;
    this.#person = person;
    const { signal } = this.#ends;
    addEventListener("storage", (event) => this.#heard(event), { signal });
    addEventListener("online", () => this.#hurry(), { signal });
    addEventListener("pageshow", () => this.#read(), { signal }); // events were missed while the page was put away
    addEventListener("beforeunload", (event) => this.unsaved.length && event.preventDefault(), { signal });
    this.#read();
  }

  /** Stops sending. What is unsaved stays in the browser. */
  close() {
    this.#ends.abort();
    clearTimeout(this.#timer);
  }

  /** Entries not acknowledged yet, oldest first. */
  get unsaved() {
    return this.#all().filter((entry) => !entry.refused);
  }

  /** Entries that the server does not accept, until they are dismissed. */
  get refused() {
    return this.#all().filter((entry) => entry.refused);
  }

  /** Keeps a verdict or an undo, then sends it. Throws OutboxFull when the browser does not keep it. */
  add(body) {
    const last = Math.max(0, ...[...this.#entries.values()].map((entry) => entry.order));
    const entry = {
      key: crypto.randomUUID(),
      person: this.#person.id,
      name: this.#person.name,
      at: new Date().toISOString(),
      order: Math.max(Date.now(), last + 1), // a clock that is set back must not change the order
      body,
    };
    if (!write(entry)) throw new OutboxFull();
    this.#entries.set(entry.key, entry);
    this.#changed();
    this.#send();
    return entry;
  }

  dismiss(key) {
    const entry = this.#entries.get(key);
    if (entry?.refused) this.#forget(entry);
    this.#changed();
  }

  #all() {
    return [...this.#entries.values()].sort((one, other) => one.order - other.order);
  }

  #read() {
    const all = stored();
    this.#entries = new Map(all.filter(({ person }) => person === this.#person.id).map((entry) => [entry.key, entry]));
    this.others = new Map();
    for (const { person, name, refused, answer } of all) {
      if (person !== this.#person.id && !refused && !answer) this.others.set(name, (this.others.get(name) ?? 0) + 1);
    }
    for (const entry of this.#all()) if (entry.answer) this.#forget(entry); // the tab died between answer and removal
    this.#changed();
    this.#send();
  }

  #heard({ key, newValue }) {
    if (key === null) return void this.#all().forEach(write); // somebody cleared the browser's storage: it is still known here
    if (!key.startsWith(PREFIX)) return;
    if (!key.startsWith(nameOf(this.#person.id, ""))) return this.#read();
    const entry = newValue && JSON.parse(newValue);
    if (entry?.answer) this.#tell("saved", { entry, answer: entry.answer });
    else if (entry?.refused) this.#tell("refused", { entry });
    if (entry && !entry.answer) this.#entries.set(entry.key, entry);
    else this.#entries.delete(entry?.key ?? key.slice(key.lastIndexOf(".") + 1));
    this.#changed();
    this.#send();
  }

  /** Starts what may be sent now: the oldest entry of each picture, so that verdict and undo arrive in their order. */
  #send() {
    clearTimeout(this.#timer);
    if (this.#ends.signal.aborted) return;
    const now = Date.now();
    const earlier = new Set(this.#sending);
    let next = Infinity;
    for (const entry of this.unsaved) {
      if (this.#sending.size >= AT_ONCE) return;
      const image = entry.body.imageId;
      if (earlier.has(image)) continue;
      earlier.add(image);
      const at = Math.max(this.#pausedUntil, this.#retries.get(entry.key)?.at ?? 0);
      if (at <= now) void this.#post(entry);
      else next = Math.min(next, at);
    }
    if (next < Infinity) this.#timer = setTimeout(() => this.#send(), next - now);
  }

  async #post(entry) {
    const image = entry.body.imageId;
    this.#sending.add(image);
    // A tab that holds the lock sends; the browser takes it from a dead one. Without locks two tabs may send the same:
    // the key makes that harmless.
    const locked = (send) =>
      navigator.locks ? navigator.locks.request(PREFIX + image, { ifAvailable: true }, send) : send(true);
    try {
      await locked((lock) => (lock ? this.#try(entry.key) : this.#later(entry)));
    } finally {
      this.#sending.delete(image);
      this.#send();
    }
  }

  async #try(key) {
    const entry = read(nameOf(this.#person.id, key));
    if (!entry || entry.answer) return void this.#entries.delete(key); // another tab was faster
    if (entry.refused) return void this.#entries.set(key, entry);
    const headers = { "Idempotency-Key": key };
    let answer;
    try {
      answer = await answered((signal) =>
        this.#api.request("POST", "/people/reviews", { body: entry.body, headers, signal }),
      );
      if (answer?.key !== key) throw new Error("Not our server's answer"); // a hotel's sign-in page, say
    } catch (error) {
      if (isFinal(error)) this.#refuse(entry, error);
      else this.#stuck(entry);
      return;
    }
    this.#worked(entry);
    // What was decided after it knows now what it follows.
    for (const later of this.unsaved) {
      if (later.body.imageId === entry.body.imageId && later.order > entry.order && !later.body.undoes) {
        later.body.sequence = answer.sequence;
        write(later);
      }
    }
    write({ ...entry, answer }); // tells the other tabs
    this.#forget(entry);
    this.#tell("saved", { entry, answer });
    this.#changed();
  }

  #refuse(entry, { status, code, message }) {
    this.#worked(entry);
    entry.refused = { status, code, message };
    write(entry);
    this.#entries.set(entry.key, entry);
    // There is nothing to undo of it.
    for (const later of this.unsaved) if (later.body.undoes === entry.key) this.#forget(later);
    this.#tell("refused", { entry });
    this.#changed();
  }

  #worked(entry) {
    this.isStuck = false;
    this.#failures = 0;
    this.#pausedUntil = 0;
    this.#retries.delete(entry.key);
  }

  #later(entry) {
    const tries = (this.#retries.get(entry.key)?.tries ?? 0) + 1;
    this.#retries.set(entry.key, { tries, at: Date.now() + pause(tries) });
  }

  /** A pause for all, too: a service that is down is not asked by everything that waits. */
  #stuck(entry) {
    this.#later(entry);
    this.isStuck = true;
    this.#pausedUntil = Date.now() + pause(++this.#failures);
    this.#changed();
  }

  #hurry() {
    this.#retries.clear();
    this.#pausedUntil = 0;
    this.#send();
  }

  #forget(entry) {
    this.#entries.delete(entry.key);
    localStorage.removeItem(nameOf(entry.person, entry.key));
  }

  #changed() {
    this.#tell("change");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The outbox of who is signed in; `element` shows in every view what is not saved and what was not accepted. */
export function createOutbox({ api, session, element, announce }) {
  const outbox = new Outbox(api, session.person);
  const unsaved = h("span", { class: "unsaved" });
  const refused = h("details", { class: "refused" });
  element.append(unsaved, refused);
  const draw = () => {
    const others = [...outbox.others].map(([name, many]) => `${many} of ${name}`).join(", ");
    unsaved.textContent = [
      outbox.unsaved.length && `${outbox.unsaved.length} not saved yet${outbox.isStuck ? ", trying again" : ""}`,
      others && `${others} not saved: sign in with that name`,
    ].filter(Boolean).join("; ");
    const entries = outbox.refused;
    refused.hidden = !entries.length;
    if (refused.dataset.keys === entries.map(({ key }) => key).join()) return;
    refused.dataset.keys = entries.map(({ key }) => key).join();
    refused.replaceChildren(
      h("summary", {}, `${entries.length} not accepted`),
      h("div", { class: "card" },
        h("ul", {}, entries.map((entry) => h("li", {},
          h("b", {}, nameOfBody(entry.body)), `, ${when(entry.at)}: ${entry.refused.message} ${ADVICE[entry.refused.code] ?? ""} `,
          h("a", { href: `#/gallery/${entry.body.imageId}` }, "See the picture"), " ",
          button("Dismiss", () => outbox.dismiss(entry.key), "quiet")))),
        entries.length > 1 && button("Dismiss all", () => entries.forEach(({ key }) => outbox.dismiss(key)), "quiet")),
    );
  };
  let wasStuck = false;
  outbox.addEventListener("change", () => {
    draw();
    if (outbox.isStuck && !wasStuck) announce("The service does not answer. Your decisions are kept, and sent again by themselves.");
    wasStuck = outbox.isStuck;
  });
  outbox.addEventListener("refused", ({ detail }) => announce(`Not accepted. ${detail.entry.refused.message}`));
  draw();
  return outbox;
}

const ADVICE = {
  SOMEBODY_DECIDES: "There is nothing to do.",
  DECIDED_ALREADY: "If you see it otherwise, correct it in the gallery.",
  NOT_FINISHED: "Decide later, in the gallery.",
  IMAGE_NOT_FOUND: "There is nothing to do.",
  NOTHING_TO_UNDO: "There is nothing to do.",
  NOT_ALLOWED: "Then decide it again.",
};

/** What a person did, in words. */
const nameOfBody = ({ animal, undoes }) => (undoes ? "Undo" : ANIMALS[animal]);

const nameOf = (person, key) => `${PREFIX}${person}.${key}`;

function pause(tries) {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)) * (0.5 + Math.random() / 2);
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null; // not written by this page
  }
}

/** Whether the browser keeps it: some say nothing and keep nothing. */
function write(entry) {
  const name = nameOf(entry.person, entry.key);
  const text = JSON.stringify(entry);
  try {
    localStorage.setItem(name, text);
    return localStorage.getItem(name) === text;
  } catch {
    return false;
  }
}

function stored() {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(PREFIX)).map(read).filter((entry) => entry?.key && entry.body);
  } catch {
    return []; // site data is switched off
  }
}
