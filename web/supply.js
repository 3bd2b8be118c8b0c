// Pictures to decide, in the server's order: asked for before they run out, loaded before they are shown, their links
// and leases kept fresh while somebody is there.

import { answered } from "./outbox.js";

const MOST = 24; // pictures in one answer
const NAMED = 72; // pictures that one request may name as known
const DECODED = 9; // the one on the screen and the next eight
const UNSAVED = 48; // with so many decisions unsaved nothing more is asked for
const FRESH_MS = 4 * 60_000; // links and leases last five minutes
const AWAY_MS = 10 * 60_000; // nobody there for so long: the leases run out, and others get the pictures
const PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

/** Event "change": pictures, `state`, `left` or `pending` are others. */
export class Supply extends EventTarget {
  /** On the screen, and what follows. */
  shown = [];
  next = [];
  /** "asking" | "ready" | "empty" | "failed" (then `error`). */
  state = "asking";
  error = null;
  /** Pictures that wait for a decision (`leftIsMore`: or more), and decisions whose pictures are still being moved. */
  left = 0;
  leftIsMore = false;
  pending = 0;
  skipped = [];
  #context;
  #query;
  #enough;
  #loaded;
  #decided = new Map(); // image id -> sequence when it was decided here
  #asking = false;
  #askedAt = 0;
  #seenAt = Date.now();
  #notBefore = 0;
  #pauses = 0;
  #timer = 0;
  #ends = new AbortController();

  /** `query`: mode and guess of the request. `enough`: ask while fewer than that follow. `loaded`: load so many ahead. */
  constructor(context, query, { enough, loaded }) {
    super();
    this.#context = context;
    this.#query = query;
    this.#enough = enough;
    this.#loaded = loaded;
    const { signal } = this.#ends;
    const isThere = () => { this.#seenAt = Date.now(); };
    for (const type of ["keydown", "pointerdown"]) document.addEventListener(type, isThere, { signal });
    document.addEventListener("visibilitychange", () => this.#keepFresh(), { signal });
    context.outbox.addEventListener("saved", () => this.fill(), { signal });
    const clock = setInterval(() => this.#keepFresh(), 15_000);
    signal.addEventListener("abort", () => { clearInterval(clock); clearTimeout(this.#timer); });
    void this.fill();
  }

  close() {
    this.#ends.abort();
  }

  /** Puts the next `many` on the screen. */
  advance(many) {
    this.shown = this.next.splice(0, many);
    this.#load();
    void this.fill();
  }

  /** Puts these on the screen, and back what is there. */
  bring(pictures) {
    const ids = new Set(pictures.map(({ imageId }) => imageId));
    this.next = [...this.shown, ...this.next].filter(({ imageId }) => !ids.has(imageId));
    this.shown = pictures;
    for (const { imageId } of pictures) this.left += this.#decided.delete(imageId) ? 1 : 0;
    this.#load();
  }

  decided(picture) {
    this.#decided.set(picture.imageId, picture.sequence ?? 0);
    this.left = Math.max(0, this.left - 1);
  }

  /** Not now: comes again when nothing else is left. */
  skip(picture) {
    this.skipped.push(picture);
  }

  /** Asks for more if that is due. */
  async fill() {
    const { outbox } = this.#context;
    if (this.#asking || this.next.length >= this.#enough || outbox.unsaved.length > UNSAVED) return;
    if (!this.next.length || Date.now() >= this.#notBefore) await this.#ask(false);
  }

  /** Asks again for what is held: with new links, and the leases prolonged. */
  async refresh() {
    if (!this.#asking) await this.#ask(true);
  }

  async #ask(isRefresh) {
    clearTimeout(this.#timer);
    this.#asking = true;
    const { api, outbox } = this.#context;
    const unsaved = outbox.unsaved.map(({ body }) => body.imageId);
    const held = [...this.shown, ...this.next].map(({ imageId }) => imageId);
    const known = [...new Set([...(isRefresh ? [] : held), ...unsaved, ...this.skipped.map(({ imageId }) => imageId)])];
    const query = { ...this.#query, limit: MOST, except: known.slice(0, NAMED).join(",") };
    let pause;
    try {
      const answer = await answered((signal) => api.request("GET", "/people/reviews", { query, signal }));
      if (this.#ends.signal.aborted) return;
      pause = this.#take(answer, isRefresh);
    } catch (error) {
      if (this.#ends.signal.aborted) return;
      this.error = error;
      this.state = "failed";
      pause = this.#longer();
    } finally {
      this.#asking = false;
    }
    this.#load();
    this.dispatchEvent(new Event("change"));
    this.#notBefore = Date.now() + pause;
    if (pause) this.#timer = setTimeout(() => document.hidden || this.fill(), pause);
    else void this.fill();
  }

  /** Takes the answer over. Returns after how many milliseconds to ask again. */
  #take({ pictures, waiting, pending }, isRefresh) {
    const counts = Object.values(waiting);
    const unsaved = new Set(this.#context.outbox.unsaved.map(({ body }) => body.imageId));
    this.leftIsMore = counts.some((count) => count >= 1000);
    this.left = Math.max(0, counts.reduce((sum, count) => sum + count, 0) - unsaved.size);
    this.pending = pending;
    this.#askedAt = Date.now();
    const before = new Map([...this.shown, ...this.next].map((picture) => [picture.imageId, picture]));
    const onScreen = new Set(this.shown.map(({ imageId }) => imageId));
    const away = new Set([...unsaved, ...this.skipped.map(({ imageId }) => imageId)]);
    const more = [];
    for (const picture of pictures) {
      const known = before.get(picture.imageId);
      // An index may still show what was decided a moment ago.
      if (away.has(picture.imageId) || picture.sequence <= this.#decided.get(picture.imageId)) continue;
      if (known) Object.assign(known, picture);
      if (!onScreen.has(picture.imageId) && (isRefresh || !known)) more.push(known ?? picture);
    }
    this.next = isRefresh ? more : [...this.next, ...more];
    this.state = this.next.length || this.shown.length ? "ready" : "empty";
    if (isRefresh) return PAUSE_MS;
    if (more.length) this.#pauses = 0;
    return more.length >= MOST ? 0 : this.#longer();
  }

  #longer() {
    return Math.min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ** this.#pauses++);
  }

  /** Loads what comes soon. `isLoaded` and `isBroken` of a picture say how that went. */
  #load() {
    const soon = [...this.shown, ...this.next.slice(0, this.#loaded)];
    soon.forEach((picture, index) => {
      if (picture.image && !(picture.isBroken && picture.tried !== picture.viewUrl)) return;
      const image = new Image();
      Object.assign(picture, { image, tried: picture.viewUrl, isLoaded: false, isBroken: false });
      image.alt = ""; // its name stands beside it, and never the guess
      image.src = picture.viewUrl;
      const loaded = index < DECODED ? image.decode() : once(image);
      loaded.then(() => { picture.isLoaded = true; }, () => this.#broke(picture)).then(() => this.dispatchEvent(new Event("change")));
    });
  }

  /** Perhaps its link is too old: once more with a new one. */
  #broke(picture) {
    picture.isBroken = true;
    if (picture.isSecondTry || this.#ends.signal.aborted) return;
    picture.isSecondTry = true;
    void this.refresh();
  }

  #keepFresh() {
    const now = Date.now();
    if (document.hidden || now - this.#seenAt > AWAY_MS) return;
    void (this.#askedAt && now - this.#askedAt > FRESH_MS ? this.refresh() : this.fill());
  }
}

function once(image) {
  return new Promise((resolve, reject) => {
    image.addEventListener("load", resolve);
    image.addEventListener("error", reject);
  });
}
