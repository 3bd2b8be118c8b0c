// Requests with the person's token. A request outlives the token: it waits for the sign-in and goes on.

import { SignInError } from "./session.js";

const TIMEOUT_MS = 20_000;
const TRIES = 5; // of what only reads, and of what was throttled: then nothing was done

/** The service said no, or nothing. `status` is 0 and `code` NO_ANSWER when there was no answer at all. */
export class ApiError extends Error {
  constructor(status, code, message, requestId) {
    super(message);
    Object.assign(this, { status, code, requestId });
  }
}

export class Api {
  /** `base`: the URL that the paths begin at, with a slash at its end. */
  constructor(base, session) {
    this.base = base;
    this.session = session;
  }

  /** The parsed answer. Throws ApiError; when `signal` aborts, what it aborts with. GET, and what was throttled, is tried again by itself. */
  async request(method, path, { query = {}, body, headers = {}, signal } = {}) {
    const url = new URL(path.replace(/^\//, ""), this.base);
    for (const [name, value] of Object.entries(query)) if (value != null && value !== "") url.searchParams.set(name, value);
    for (let attempt = 1; ; ) {
      let token;
      try {
        token = await this.session.token(signal);
        return await once(method, url, token, body, headers, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof SignInError) error = new ApiError(0, "NO_ANSWER", error.message);
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 401) await this.session.renew(token, signal);
        else if ((method !== "GET" && error.status !== 429) || attempt++ >= TRIES || !isPassing(error.status)) throw error;
        else await pause(300 * 2 ** attempt * (0.5 + Math.random()), signal);
      }
    }
  }
}

async function once(method, url, token, body, headers, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response, answer;
  try {
    response = await fetch(url, {
      method,
      headers: { Authorization: token, ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    answer = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return {}; // not JSON: from something between the service and here
      throw error;
    });
  } catch {
    throw new ApiError(0, "NO_ANSWER", "The service does not answer. See whether you are online, then try again.");
  }
  if (response.ok) return answer;
  const message = answer.message ?? `The service answered with an error (${response.status}). Try again in a moment.`;
  throw new ApiError(response.status, answer.code ?? "UNKNOWN", message, answer.requestId);
}

const isPassing = (status) => [0, 429, 500, 502, 503, 504].includes(status);

/** Resolves after so many milliseconds; rejects when `signal` aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
