// Pictures to decide, in the service's order: asked for before they run out, loaded before they are shown, their links and
// leases kept fresh while somebody is there.

const MOST = 24; // pictures in one answer
const ONE_BY_ONE = 16; // to hold one by one: what is leased here is kept from others
const NAMED = 150; // pictures that a request may name as known, as in the service
const APART = 100; // skipped pictures, from which on no more are asked for: unnamed they would come again instead of new ones
const DECODED = 9; // the one on the screen and the next eight
const UNSAVED = 48; // with so many decisions unsaved, nothing more is asked for
const FRESH_MS = 4 * 60_000; // links and leases last five minutes
const AWAY_MS = 10 * 60_000; // nobody there for so long: the leases run out, and others get the pictures
const LONGEST_PAUSE_MS = 30_000;
const pause = (tries) => Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** tries);

const idsOf = (pictures) => pictures.map(({ imageId }) => imageId);

/** Event "change": something below is another, or a picture was loaded (`isLoaded`, or `isBroken`). */
export class Supply extends EventTarget {
  shown = []; // on the screen
  next = [];
  skipped = [];
  state = "asking"; // or "ready", or "failed" for the reason `error`
  left = 0; // pictures that wait for a decision; `isMore`: or more
  pending = 0; // decisions whose pictures are not moved yet
  #context;
  #query;
  #ahead;
  #passed;
  #decided = new Map(); // image id -> its sequence when it was decided here
  #isAsking = false;
  #askedAt = 0;
  #seenAt = Date.now();
  #notBefore = 0;
  #pauses = 0;
  #timer = 0;
  #reload = 0;
  #ends = new AbortController();

  /**
   * `query`: mode and guess of the request. `ahead`: so many are loaded before they are shown. `passed`: ids of pictures
   * on which somebody would not decide, until the service knows.
   */
  constructor(context, query, ahead, passed) {
    super();
    this.#context = context;
    this.#query = query;
    this.#ahead = ahead;
    this.#passed = passed;
    const { signal } = this.#ends;
    const isThere = () => { this.#seenAt = Date.now(); };
    for (const type of ["keydown", "pointerdown"]) document.addEventListener(type, isThere, { signal });
    document.addEventListener("visibilitychange", () => this.#keepFresh(), { signal });
    context.outbox.addEventListener("saved", ({ detail: { entry } }) => {
      const { imageId, animal } = entry.body;
      const isUndone = context.outbox.unsaved.some(({ body }) => body.undoes === entry.key);
      if (animal && !isUndone) this.next = this.next.filter((picture) => picture.imageId !== imageId); // decided in another tab
      if (!animal) this.#notBefore = this.#pauses = 0; // undone: it may be among the next
      this.fill();
    }, { signal });
    addEventListener("online", () => this.reload(), { signal });
    const clock = setInterval(() => this.#keepFresh(), 15_000);
    signal.addEventListener("abort", () => [clock, this.#timer, this.#reload].forEach(clearTimeout));
    this.fill();
  }

  close() {
    this.#ends.abort();
  }

  /** Puts the next `many` on the screen. */
  advance(many) {
    this.shown = this.next.splice(0, many);
    this.#load();
    this.fill();
  }

  /** Puts these on the screen again, as many as it shows, and what is there behind them. */
  bring(pictures) {
    const ids = new Set(idsOf(pictures)), isAnother = ({ imageId }) => !ids.has(imageId);
    this.left += pictures.length - this.skipped.filter((picture) => !isAnother(picture)).length; // what is skipped waits all the time
    const many = this.#ahead === MOST ? MOST : 1;
    this.next = [...pictures.slice(many), ...[...this.shown, ...this.next].filter(isAnother)];
    this.skipped = this.skipped.filter(isAnother);
    this.shown = pictures.slice(0, many);
    for (const id of ids) {
      this.#decided.delete(id);
      this.#passed.delete(id);
    }
    this.#load();
  }

  /** Puts what was skipped behind what follows. */
  again() {
    this.next.push(...this.skipped.splice(0));
    this.dispatchEvent(new Event("change"));
  }

  decided({ imageId, sequence = 0 }) {
    this.#decided.set(imageId, sequence);
    this.#passed.delete(imageId);
    this.left = Math.max(0, this.left - 1);
  }

  /** Whether some of what was skipped must be decided first. */
  get isFull() {
    return this.skipped.length >= APART;
  }

  /** Asks for more when that is due. */
  fill() {
    const isDue = !this.isFull && this.next.length < Math.max(DECODED, this.#ahead) && this.#context.outbox.unsaved.length <= UNSAVED;
    if (isDue && !(this.next.length && Date.now() < this.#notBefore)) void this.#ask();
  }

  async #ask(isRefresh = false) {
    if (this.#isAsking || this.#ends.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#isAsking = true;
    const { api, outbox } = this.#context;
    const away = [...idsOf(this.skipped), ...outbox.unsaved.map(({ body }) => body.imageId)];
    const unsaved = outbox.unsaved.filter(({ body }) => body.animal).length, before = this.#decided.size;
    const known = isRefresh ? away : [...idsOf(this.shown), ...idsOf(this.next), ...away];
    const limit = this.#ahead === MOST ? MOST : isRefresh ? ONE_BY_ONE + 1 : ONE_BY_ONE - this.next.length;
    const passed = [...this.#passed].slice(0, MOST);
    const query = { ...this.#query, limit, except: [...new Set(known)].slice(0, NAMED).join(), skipped: passed.join() };
    let wait = pause(this.#pauses++);
    try {
      const answer = await api.request("GET", "/people/reviews", { query, signal: this.#ends.signal });
      if (this.#take(answer, isRefresh, away) === limit) wait = this.#pauses = 0;
      this.left = Math.max(0, this.left - unsaved - Math.max(0, this.#decided.size - before)); // what the service did not know
      this.state = "ready";
      for (const id of passed) this.#passed.delete(id); // the service has noted it
    } catch (error) {
      Object.assign(this, { state: "failed", error });
    }
    this.#isAsking = false;
    if (this.#ends.signal.aborted) return;
    this.#notBefore = Date.now() + wait;
    this.#timer = setTimeout(() => {
      this.#notBefore = 0;
      if (!document.hidden) this.fill();
    }, wait);
    this.#load();
    this.dispatchEvent(new Event("change"));
  }

  /** Takes an answer over. Returns how many pictures in it are new. A refresh replaces what follows. */
  #take({ pictures, waiting, pending }, isRefresh, away) {
    const counts = Object.values(waiting);
    Object.assign(this, { pending, isMore: counts.some((count) => count >= 1000) });
    this.left = counts.reduce((sum, count) => sum + count, 0);
    this.#askedAt = Date.now();
    const before = new Map([...this.shown, ...this.next].map((picture) => [picture.imageId, picture]));
    const onScreen = new Set(idsOf(this.shown)), apart = new Set([...away, ...idsOf(this.skipped)]);
    const more = [];
    let added = 0;
    for (const picture of pictures) {
      const known = before.get(picture.imageId);
      // An index may still show what was decided a moment ago.
      if (apart.has(picture.imageId) || picture.sequence <= this.#decided.get(picture.imageId)) continue;
      if (isRefresh && this.isFull && !known) continue;
      if (known) Object.assign(known, picture);
      else added++;
      if (!onScreen.has(picture.imageId) && (isRefresh || !known)) more.push(known ?? picture);
    }
    this.next = isRefresh ? more : [...this.next, ...more];
    return added;
  }

  /** Asks for new links of what could not be loaded. */
  reload() {
    clearTimeout(this.#reload);
    this.#reload = 0;
    if ([...this.shown, ...this.next].some(({ isBroken }) => isBroken)) void this.#ask(true);
  }

  #load() {
    const wanted = [...this.shown, ...this.next.slice(0, this.#ahead)];
    wanted.forEach((picture, index) => {
      if (!picture.image || (picture.isBroken && picture.tried !== picture.viewUrl)) void this.#loadOne(picture, index < DECODED);
    });
    const tries = wanted.filter(({ isBroken }) => isBroken).map(({ tries }) => tries);
    if (tries.length && this.#isThere) this.#reload ||= setTimeout(() => this.reload(), pause(Math.min(...tries)));
  }

  async #loadOne(picture, isNear) {
    const image = new Image();
    image.alt = "The picture to decide"; // never the guess, nor the file's name
    Object.assign(picture, { image, tried: picture.viewUrl, isLoaded: false, isBroken: false });
    try {
      image.src = picture.blind ? await copyOf(picture.viewUrl) : picture.viewUrl;
      await (isNear ? image.decode() : new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject })));
      picture.isLoaded = true;
    } catch {
      picture.isBroken = true; // perhaps its link has ended
      picture.tries = (picture.tries ?? 0) + 1;
      this.#load();
    }
    if (picture.blind) URL.revokeObjectURL(image.src);
    this.dispatchEvent(new Event("change"));
  }

  get #isThere() {
    return !document.hidden && Date.now() - this.#seenAt < AWAY_MS;
  }

  #keepFresh() {
    if (!this.#isThere) return;
    if (this.#askedAt && Date.now() - this.#askedAt > FRESH_MS) void this.#ask(true);
    else {
      this.#load();
      this.fill();
    }
  }
}

/** A link holds the folder, which tells the guess: a blind picture is shown under an address that says nothing. */
async function copyOf(viewUrl) {
  const answer = await fetch(viewUrl, { cache: "no-store" }); // one that an <img> has left in the cache may not be read
  if (!answer.ok) throw new Error(`No picture (${answer.status})`);
  return URL.createObjectURL(await answer.blob());
}
