// Who is it? Sign-in on Amazon Cognito's own page: authorization code with PKCE. The tokens stay in this tab.

const TOKENS = "pet-detector.tokens";
const BEGUN = "pet-detector.sign-in";
const CHANNEL = "pet-detector.sign-in";
const EARLY_MS = 60_000; // a token is refreshed so long before it ends
const YOUNG_MS = 10_000; // one so young that is refused is not refused for its age

export class SignInError extends Error {}

/** Dispatches `needed` when somebody must sign in again, `changed` when somebody has. */
export class Session extends EventTarget {
  #tokens = JSON.parse(sessionStorage.getItem(TOKENS) ?? "null");
  #refreshing = null;
  #asked = null;

  /** `page`: the page's address, where the sign-in leads back to; one that the user pool's client knows. */
  constructor({ signInUrl, clientId }, page) {
    super();
    this.signInUrl = signInUrl.replace(/\/$/, "");
    this.clientId = clientId;
    this.page = page;
  }

  /** {id, name, groups}, or null. */
  get person() {
    if (!this.#tokens) return null;
    const claims = claimsOf(this.#tokens.id);
    const name = claims.email ?? claims["cognito:username"] ?? claims.sub;
    return { id: claims.sub, name, groups: claims["cognito:groups"] ?? [] };
  }

  /** What the page offers; the service checks each request by itself. */
  get may() {
    const groups = new Set(this.person?.groups);
    const policy = groups.has("operator");
    const review = policy || groups.has("reviewer");
    return { upload: policy || groups.has("uploader"), see: groups.size > 0, review, policy };
  }

  /** Leave for the sign-in; `after` is the hash to come back to. */
  async begin(after) {
    location.assign(await this.#authorizeUrl({ after }));
  }

  /** Sign in in a window of its own, so that this tab keeps what it has. Without such windows: in this tab. */
  async beginBeside() {
    const beside = window.open("", "pet-detector-sign-in", "popup,width=480,height=640"); // now, while it is a click
    if (!beside) return this.begin(location.hash);
    const { promise, resolve } = Promise.withResolvers();
    const channel = new BroadcastChannel(CHANNEL);
    const address = await this.#authorizeUrl({ beside: true }), state = new URL(address).searchParams.get("state");
    channel.onmessage = ({ data }) => data.state === state && resolve(data); // every tab hears it, and another may wait, too
    beside.location = address;
    try {
      await this.#complete(await promise);
    } finally {
      channel.close();
    }
  }

  /** When the sign-in led here, takes its answer. Returns the hash to go on with, or null. Throws SignInError. */
  async comeBack() {
    const answer = Object.fromEntries(new URLSearchParams(location.search));
    if (!answer.state) return null;
    history.replaceState(null, "", this.page); // neither the code nor an error stays in the address
    if (answer.state.startsWith("beside.")) {
      new BroadcastChannel(CHANNEL).postMessage(answer);
      window.close();
      throw new SignInError("You are signed in. You can close this window.");
    }
    return this.#complete(answer);
  }

  async #authorizeUrl(begun) {
    const verifier = random(), state = (begun.beside ? "beside." : "") + random();
    sessionStorage.setItem(BEGUN, JSON.stringify({ ...begun, state, verifier }));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
    return `${this.signInUrl}/oauth2/authorize?` + new URLSearchParams({
      response_type: "code", client_id: this.clientId, redirect_uri: this.page, scope: "openid email", state,
      code_challenge: base64url(new Uint8Array(digest)), code_challenge_method: "S256",
    });
  }

  async #complete({ state, code, error, error_description }) {
    const begun = JSON.parse(sessionStorage.getItem(BEGUN) ?? "null");
    sessionStorage.removeItem(BEGUN);
    if (begun?.state !== state) throw new SignInError("This sign-in was not begun in this tab. Please sign in again.");
    if (!code) throw new SignInError(`The sign-in did not succeed: ${error_description ?? error ?? "no code came back"}.`);
    const before = this.person?.id;
    const answer = await this.#tokenRequest({
      grant_type: "authorization_code", code, redirect_uri: this.page, code_verifier: begun.verifier,
    });
    if (!answer) throw new SignInError("The sign-in took too long, or was used before. Please sign in again.");
    const another = before != null && before !== claimsOf(answer.id_token).sub;
    if (another && this.#asked) {
      // For the page that is loaded next. What waits here is the first person's, and must not be sent as the second's.
      sessionStorage.setItem(TOKENS, JSON.stringify(tokensOf(answer)));
    } else {
      this.#keep(answer);
      this.#asked?.resolve();
      this.#asked = null;
    }
    this.dispatchEvent(new CustomEvent("changed", { detail: { another } }));
    return begun.after || "#/";
  }

  /** The ID token, refreshed when it is about to end. Waits while somebody has to sign in again. */
  async token(signal) {
    while (!this.#tokens || this.#tokens.until < Date.now()) await this.renew(this.#tokens?.id, signal);
    return this.#tokens.id;
  }

  /** Another token than this one, which is refused or about to end. Waits for a sign-in when there is no other way. */
  async renew(refused, signal) {
    if (this.#tokens && this.#tokens.id !== refused) return;
    this.#refreshing ??= this.#refresh().finally(() => { this.#refreshing = null; });
    if (await unless(signal, this.#refreshing)) return;
    if (!this.#asked) {
      this.#asked = Promise.withResolvers();
      this.dispatchEvent(new Event("needed"));
    }
    await unless(signal, this.#asked.promise);
  }

  /** Whether there are new tokens. Throws when nobody answers: then it is not known. */
  async #refresh() {
    const token = this.#tokens?.refresh;
    if (!token || Date.now() - this.#tokens.since < YOUNG_MS) return false;
    const answer = await this.#tokenRequest({ grant_type: "refresh_token", refresh_token: token });
    if (!answer || answer.id_token === this.#tokens.id) {
      this.#tokens.refresh = null; // refused: it will not do later either
      return false;
    }
    this.#keep({ refresh_token: token, ...answer });
    return true;
  }

  /** The answer, or null when it is a no. */
  async #tokenRequest(fields) {
    let response;
    try {
      response = await fetch(`${this.signInUrl}/oauth2/token`, {
        method: "POST", body: new URLSearchParams({ client_id: this.clientId, ...fields }), signal: AbortSignal.timeout(20_000),
      });
      if (response.ok) return await response.json();
    } catch {
      response = null;
    }
    if (response && response.status < 500 && response.status !== 429) return null;
    throw new SignInError("The sign-in service does not answer. See whether you are online, then try again.");
  }

  #keep(answer) {
    this.#tokens = tokensOf(answer);
    sessionStorage.setItem(TOKENS, JSON.stringify(this.#tokens));
  }

  /** Ends the session here and on the sign-in page. */
  signOut() {
    if (this.#tokens?.refresh) {
      const body = new URLSearchParams({ token: this.#tokens.refresh, client_id: this.clientId });
      fetch(`${this.signInUrl}/oauth2/revoke`, { method: "POST", body, keepalive: true }).catch(() => {});
    }
    this.#tokens = null;
    sessionStorage.removeItem(TOKENS);
    location.assign(`${this.signInUrl}/logout?` + new URLSearchParams({ client_id: this.clientId, logout_uri: this.page }));
  }
}

function tokensOf({ id_token, refresh_token, expires_in }) {
  const since = Date.now(), length = expires_in * 1000;
  return { id: id_token, refresh: refresh_token, since, until: since + Math.max(length - EARLY_MS, length / 2) };
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const base64url = (data) => btoa(String.fromCharCode(...data)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function claimsOf(token) {
  const text = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (character) => character.charCodeAt(0))));
}

/** What the promise gives; rejects when `signal` aborts first. */
function unless(signal, promise) {
  if (!signal) return promise;
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop);
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", stop));
}
