/**
 * The HTTP side of a call: the call API of DESIGN 5, seen from a browser.
 *
 * Used by `call.js` (place, hang up) and `app.js` (readiness, diagnosis). Whatever goes wrong becomes a `CallError`
 * with a fixed `kind`, so that `diagnosis.js` can put it into words. Nothing is tried again here.
 */

const CALLS = "/v1/realtime/calls";
const READY = "/readyz";
// The server gives a transceiver 5 s for its reply before it says 503; a little more for the way.
const PLACE_TIMEOUT_MS = 10_000;
const ASK_TIMEOUT_MS = 4_000;

/** Why a call was not placed or did not last. */
export class CallError extends Error {
  /**
   * @param {string} kind what `diagnosis.js` has words for
   * @param {string} message the server's or the browser's own words
   * @param {{status?: number, code?: string, retryAfter?: number, cause?: unknown}} more
   */
  constructor(kind, message, more = {}) {
    super(message, { cause: more.cause });
    this.kind = kind;
    this.status = more.status ?? 0;
    this.code = more.code ?? "";
    this.retryAfter = more.retryAfter ?? 0;
  }
}

/** Talks to the server that the page came from. */
export class Signalling {
  constructor() {
    this.token = "";
  }

  /** Offer in, answer and the call's own URL out. Throws CallError. */
  async place(offer) {
    const response = await this._ask(CALLS, {
      method: "POST",
      body: offer,
      headers: { "Content-Type": "application/sdp" },
      signal: AbortSignal.timeout(PLACE_TIMEOUT_MS),
    });
    if (!response.ok) throw await refusal(response);
    const location = response.headers.get("Location");
    if (!location) throw new CallError("answer", "the server's answer has no Location");
    return { answer: await response.text(), location: new URL(location, response.url).pathname };
  }

  /** End the call at `location`; also while the page goes away. Never throws: the server ends a silent call itself. */
  async hangUp(location) {
    try {
      await this._ask(`${location}/hangup`, { method: "POST", keepalive: true });
    } catch (error) {
      console.info("hang-up did not reach the server:", error.message);
    }
  }

  /** What the server knows of the call; null when it knows no such call. Throws CallError when it cannot be asked. */
  async diagnosis(location) {
    const response = await this._ask(`${location}/diagnosis`, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    if (response.status === 404) return null;
    if (!response.ok) throw await refusal(response);
    return response.json();
  }

  /** Whether a call made now could succeed: `{ready, reasons}`. Throws CallError when nobody answers. */
  async readiness() {
    const response = await this._ask(READY, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    const said = await response.json().catch(() => ({}));
    return { ready: response.ok, reasons: said.reasons ?? [said.error?.message ?? `HTTP ${response.status}`] };
  }

  async _ask(path, options) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    try {
      return await fetch(path, { cache: "no-store", ...options, headers });
    } catch (cause) {
      const kind = cause.name === "TimeoutError" ? "timeout" : "unreachable";
      throw new CallError(kind, cause.message, { cause });
    }
  }
}

/** The error that a refusing response stands for; its JSON is optional (a proxy may have answered). */
async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  return new CallError(kindOf(response.status), error?.message ?? `HTTP ${response.status} ${response.statusText}`, {
    status: response.status,
    code: error?.code ?? "",
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

function kindOf(status) {
  if (status === 401 || status === 403) return "token";
  if (status === 429) return "busy";
  if (status === 503) return "not-ready";
  return status >= 500 ? "server" : "refused";
}
