// Decisions that the service has not acknowledged yet. Each is in localStorage before it is sent, under a name of its own:
// a killed tab loses none, and two tabs never write over each other's.

import { button, h } from "./dom.js";
import { ANIMALS, when } from "./words.js";

const PREFIX = "petdetect.outbox.";
const AT_ONCE = 4; // a browser opens six connections to a host: two are left for pictures
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** The browser keeps nothing (more), so nothing may be decided. */
export class OutboxFull extends Error {
  message = "This browser keeps no more decisions, so what you see is not decided. Wait until all are saved; if that does not help, allow this page to store data.";
}

/** Events: "change"; "putOff" (detail: entry, text): another person has the picture; "saved" (detail: entry, answer) and "refused" (detail: entry), also of what another tab sent. */
class Outbox extends EventTarget {
  isStuck = false; // no answer comes, or faults of the service
  others = new Map(); // name -> number of unsaved entries of other people in this browser
  #api;
  #person;
  #entries = new Map(); // key -> entry, as in localStorage
  #sending = new Set(); // image ids
  #retries = new Map(); // key -> {tries, at}
  #failures = 0; // since the last answer
  #pausedUntil = 0;
  #timer = 0;

  constructor(api, person) {
    super();
    this.#api = api;
    this.#person = person;
    addEventListener("storage", (event) => this.#heard(event));
    addEventListener("pageshow", (event) => event.persisted && this.#read()); // events were missed meanwhile
    addEventListener("online", () => { this.#retries.clear(); this.#pausedUntil = 0; this.#send(); });
    addEventListener("beforeunload", (event) => this.unsaved.length && event.preventDefault());
    this.#read(true);
  }

  /** Oldest first. */
  get unsaved() {
    return this.#all.filter((entry) => !entry.refused);
  }

  /** What the service does not accept, until it is dismissed. */
  get refused() {
    return this.#all.filter((entry) => entry.refused);
  }

  /** How many wait for another person, who has the picture. */
  get putOff() {
    return this.unsaved.filter(({ key }) => this.#retries.get(key)?.isPutOff).length;
  }

  get #all() {
    return [...this.#entries.values()].sort((one, other) => one.order - other.order);
  }

  /** Keeps a verdict or an undo (the body of POST /people/reviews), then sends it. Throws OutboxFull. */
  add(body) {
    const { id, name } = this.#person;
    // A clock that is set back must not change the order.
    const order = Math.max(Date.now(), ...this.#all.slice(-1).map((last) => last.order + 1));
    const entry = { key: crypto.randomUUID(), person: id, name, at: new Date().toISOString(), order, body };
    if (!write(entry)) throw new OutboxFull();
    this.#entries.set(entry.key, entry);
    this.#tell("change");
    this.#send();
    return entry;
  }

  dismiss(entry) {
    this.#forget(entry);
    this.#tell("change");
  }

  /** `isFirst`: only then is something taken over, or two tabs would take it from each other without end. */
  #read(isFirst = false) {
    this.#entries.clear();
    this.others.clear();
    for (const entry of stored()) {
      if (entry.answer) this.#forget(entry); // the tab died between the answer and this
      else if (entry.person === this.#person.id || (isFirst && this.#takeOver(entry))) this.#entries.set(entry.key, entry);
      else if (!entry.refused) this.others.set(entry.name, (this.others.get(entry.name) ?? 0) + 1);
    }
    this.#tell("change");
    this.#send();
  }

  /** Who was removed and added again has another id and the same name: what they decided is still theirs. Whether it is. */
  #takeOver(entry) {
    const { person } = entry, { id, name } = this.#person;
    if (entry.name !== name || !write(Object.assign(entry, { person: id, isTakenOver: true }))) return false;
    localStorage.removeItem(nameOf(person, entry.key));
    return true;
  }

  /** Another tab wrote. */
  #heard({ key: name, newValue, oldValue }) {
    if (name === null) return this.#all.forEach(write); // somebody emptied the storage: it is still known here
    if (!name.startsWith(PREFIX)) return;
    const entry = JSON.parse(newValue ?? oldValue);
    if (entry.person !== this.#person.id) return this.#read();
    if (newValue && !entry.answer) this.#entries.set(entry.key, entry);
    else this.#entries.delete(entry.key);
    if (newValue && entry.answer) this.#tell("saved", { entry, answer: entry.answer });
    if (newValue && entry.refused) this.#tell("refused", { entry });
    this.#tell("change");
    this.#send();
  }

  /** Sends what may be sent now: the oldest entry of each picture, so that verdict and undo arrive in their order. */
  #send() {
    clearTimeout(this.#timer);
    const now = Date.now();
    const earlier = new Set(this.#sending);
    let next = Infinity;
    for (const entry of this.unsaved) {
      if (this.#sending.size >= AT_ONCE) return;
      if (earlier.has(entry.body.imageId)) continue;
      earlier.add(entry.body.imageId);
      const at = Math.max(this.#pausedUntil, this.#retries.get(entry.key)?.at ?? 0);
      if (at <= now) void this.#sendAlone(entry);
      else next = Math.min(next, at);
    }
    if (next < Infinity) this.#timer = setTimeout(() => this.#send(), next - now);
  }

  /** One tab at a time sends what belongs to a picture; the browser takes the lock from a dead one. */
  async #sendAlone(entry) {
    const { imageId } = entry.body;
    this.#sending.add(imageId);
    try {
      // While somebody has to sign in here, they may have done so in another tab: that one sends it then.
      await this.#api.session.token().catch(() => {}); // `#post` hears of it, too
      await navigator.locks.request(PREFIX + imageId, { ifAvailable: true }, (lock) => (lock ? this.#post(entry.key) : this.#later(entry)));
    } catch {
      this.#later(entry);
    }
    this.#sending.delete(imageId);
    this.#send();
  }

  async #post(key) {
    const entry = read(nameOf(this.#person.id, key)) ?? this.#entries.get(key); // also when somebody has emptied the storage
    if (!entry || entry.answer || entry.refused) { // another tab was faster
      this.#entries.delete(key);
      return this.#tell("change");
    }
    const { imageId } = entry.body;
    let answer;
    try {
      answer = await this.#api.request("POST", "/people/reviews", { body: entry.body, headers: { "Idempotency-Key": key } });
      if (answer.key !== key) throw new Error("Not the service's answer"); // a hotel's sign-in page, say
    } catch (error) {
      if (entry.isTakenOver && error.code === "IDEMPOTENCY_KEY_REUSED") { // it was saved under the id of before
        this.#worked(key);
        return this.dismiss(entry);
      }
      if (isFinal(error)) return this.#refuse(entry, error);
      this.#later(entry);
      if (error.code === "SOMEBODY_DECIDES") { // that is this picture alone, and ends within minutes: the others go on
        const retry = this.#retries.get(key);
        retry.isPutOff = true;
        if (retry.tries === 1) this.#tell("putOff", { entry, text: `${error.message} ${ADVICE.SOMEBODY_DECIDES}` });
        return this.#tell("change");
      }
      this.isStuck = true;
      // One pause for all: who is down is not asked by everything that waits. What fails within a pause was sent before it.
      if (Date.now() >= this.#pausedUntil) this.#pausedUntil = Date.now() + pause(++this.#failures);
      return this.#tell("change");
    }
    this.#worked(key);
    for (const later of this.unsaved) {
      // What was decided after it knows now what it follows.
      if (later.body.imageId === imageId && later.key !== key && !later.body.undoes) write(Object.assign(later, { body: { ...later.body, sequence: answer.sequence } }));
    }
    write({ ...entry, answer }); // tells the other tabs
    this.#forget(entry);
    this.#tell("saved", { entry, answer });
    this.#tell("change");
  }

  #refuse(entry, { status, code, message }) {
    this.#worked(entry.key);
    entry.refused = { status, code, message };
    write(entry);
    this.#entries.set(entry.key, entry);
    for (const later of this.unsaved) if (later.body.undoes === entry.key) this.#forget(later); // there is nothing to undo
    this.#tell("refused", { entry });
    this.#tell("change");
  }

  #worked(key) {
    this.isStuck = false;
    this.#failures = this.#pausedUntil = 0;
    this.#retries.delete(key);
  }

  #later({ key }) {
    const tries = (this.#retries.get(key)?.tries ?? 0) + 1;
    this.#retries.set(key, { tries, at: Date.now() + pause(tries) });
  }

  #forget({ person, key }) {
    this.#entries.delete(key);
    localStorage.removeItem(nameOf(person, key));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Whether the same can never be accepted. What stands between the service and here has no code, and passes; so does 401: it waits for a sign-in. */
function isFinal({ status, code }) {
  if (code === "UNKNOWN" || code === "SOMEBODY_DECIDES") return false; // a lease ends by itself
  if (status === 403) return code === "NOT_ALLOWED";
  if (status === 404) return code === "IMAGE_NOT_FOUND";
  return status >= 400 && status < 500 && ![401, 408, 425, 429].includes(status);
}

const pause = (tries) => Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tries - 1)) * (0.5 + Math.random() / 2);

const nameOf = (person, key) => `${PREFIX}${person}.${key}`;

/** Whether the browser keeps it: some say nothing, and keep nothing. */
function write(entry) {
  const name = nameOf(entry.person, entry.key), text = JSON.stringify(entry);
  try {
    localStorage.setItem(name, text);
    return localStorage.getItem(name) === text;
  } catch {
    return false;
  }
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null; // not ours
  }
}

function stored() {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(PREFIX)).map(read).filter(Boolean);
  } catch {
    return []; // this page may store nothing
  }
}

const ADVICE = {
  SOMEBODY_DECIDES: "It is kept in this browser, and sent again by itself until they have decided or gone.",
  DECIDED_ALREADY: "If you see it otherwise, correct it in the gallery.",
  NOT_FINISHED: "Decide later, in the gallery.",
  NOT_ALLOWED: "Then decide again.",
};

/** The outbox of who is signed in; `element` shows in every view what is not saved, `below` what was not accepted. */
export function createOutbox({ api, session, element, below, announce }) {
  const outbox = new Outbox(api, session.person);
  const unsaved = h("span", { class: "unsaved" }), refused = h("details", { class: "refused", hidden: true });
  element.append(unsaved);
  below.append(refused);
  const dismiss = (text, entries) => button(text, () => entries.forEach((entry) => outbox.dismiss(entry)), "quiet");
  let drawn = "", wasStuck = false;
  const draw = () => {
    const { isStuck, putOff } = outbox, many = outbox.unsaved.length, entries = outbox.refused;
    unsaved.textContent = [
      many && `${many} not saved yet${isStuck ? ", trying again" : putOff ? `, ${putOff} before somebody else` : ""}`,
      ...[...outbox.others].map(([name, theirs]) => `${theirs} not saved of ${name}: sign in with that name`),
    ].filter(Boolean).join("; ");
    if (isStuck && !wasStuck) announce("The service does not answer. Your decisions are kept, and sent again by themselves.");
    wasStuck = isStuck;
    const keys = entries.map(({ key }) => key).join();
    if (keys === drawn) return;
    drawn = keys;
    refused.hidden = !entries.length;
    refused.replaceChildren(...(entries.length ? [
      h("summary", {}, `${entries.length} not accepted`),
      h("div", {}, h("ul", {}, entries.map((entry) => h("li", {},
        `${ANIMALS[entry.body.animal] ?? "Undo"}, ${when(entry.at)}: ${entry.refused.message} ${ADVICE[entry.refused.code] ?? ""} `,
        h("a", { href: `#/gallery/${entry.body.imageId}` }, "See the picture"), dismiss("Dismiss", [entry])))), entries.length > 1 && dismiss("Dismiss all", entries)),
    ] : []));
  };
  outbox.addEventListener("change", draw);
  draw();
  return outbox;
}
