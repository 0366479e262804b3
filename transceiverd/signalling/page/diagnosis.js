/**
 * Why a call does not work, in plain words: what the server knows of it joined with what the browser knows.
 *
 * Pure functions; `app.js` shows what they return. The server's findings (`GET .../diagnosis`) are shown in its own
 * words, because the same words stand in its log; the headline and what to do about it are ours.
 */

/**
 * @typedef {object} Report
 * @property {"error" | "warning"} tone
 * @property {string} title
 * @property {string} text what to do
 * @property {string[]} reasons findings of the server
 */

// What the browser knows by itself: the kind of a CallError, its headline, and what helps.
const BROWSER = {
  "microphone-denied": [
    "The microphone was refused",
    "Allow it for this page in the browser's address bar and call again, or send the test tone.",
  ],
  "microphone-missing": ["There is no microphone", "Plug one in and call again, or send the test tone."],
  "microphone-broken": [
    "The microphone cannot be opened",
    "Another program may be using it. Close that and call again, or send the test tone.",
  ],
  "microphone-insecure": [
    "The browser gives this page no microphone",
    "It does so only over HTTPS or on the server's own machine. Open the https:// address, or send the test tone.",
  ],
  "microphone-gone": ["The microphone went away", "Plug it in again and choose it once more, or send the test tone."],
  unreachable: ["The server does not answer", "Is it running, and is this device still in its network?"],
  timeout: ["The server took too long to answer", "It may be overloaded. Call again in a moment."],
  token: ["The server wants a token", "Open the link that the server printed at its start, or enter the token here."],
  busy: ["The server is full", "Call again in a moment."],
  "not-ready": ["The server is not ready for calls", "It usually is within a few seconds. Call again then."],
  server: ["The server failed", "The reason is in its log."],
  refused: ["The server refused the call", "This is what it says about the offer:"],
  answer: ["The server's answer makes no sense", "Something between here and the server may have changed it."],
  browser: ["The browser could not set up the call", "This is what it says:"],
};

// Where the server says that a call is stuck.
const STUCK = {
  ice: ["No path to the server", "The web page gets through, but the call's UDP packets do not."],
  dtls: ["No secure connection", "A path was found, but the two ends could not agree on keys over it."],
  media: ["No audio arrives", "The connection stands, but the server hears nothing."],
  consent: ["The connection was lost", "The network changed or broke off. Call again."],
};

// The same while the call still tries.
const DELAYED = {
  ice: "Still looking for a path",
  dtls: "Still no secure connection",
  media: "No audio arrives",
  consent: "The connection is interrupted",
};

// Ends of a call that the server's application or its operator wanted.
const ORDERLY = {
  hangup: ["The call was hung up at the server", ""],
  shutdown: ["The server was stopped", "Call again when it is back."],
  upgrade: ["The server was upgraded", "Call again."],
};
const LOST = [
  "The server knows this call no more",
  "The process that carried it has ended. A new call works within a second.",
];
const STOPPED = ["The server ended the call", "It cannot be asked why: it may have been stopped."];
const INTERRUPTED = ["The connection was lost", "The network changed or broke off. Call again."];
const ENDED_BY_SERVER = ["The server ended the call", "Its log says more."];

/** The browser's own error, a `CallError`. @returns {Report} */
export function explainError(error) {
  const [title, text] = BROWSER[error.kind] ?? BROWSER.browser;
  const own = error.kind.startsWith("microphone") || ["unreachable", "timeout"].includes(error.kind);
  return report("error", title, text, own ? [] : [error.message]);
}

/** A call that is being set up or runs: what hinders it, or null. @returns {Report | null} */
export function explainDelay(diagnosis) {
  if (!(diagnosis.stuck_in in DELAYED)) return null;
  return report("warning", DELAYED[diagnosis.stuck_in], STUCK[diagnosis.stuck_in][1], messages(diagnosis));
}

/**
 * A call that ended without being hung up here.
 * @param {string} by who ended it, see `call.js`
 * @param {{ice: string, dtls: string}} transports the browser's states at the end; `closed`: it had worked
 * @param {object | null | undefined} diagnosis null: the server knows no such call; undefined: it could not be asked
 * @param {boolean} wasConnected
 * @returns {Report}
 */
export function explainEnd(by, transports, diagnosis, wasConnected) {
  if (diagnosis === null) return report("error", ...LOST);
  if (diagnosis === undefined && by === "server") return report("error", ...STOPPED);
  const orderly = ORDERLY[diagnosis?.closed_reason];
  if (orderly) return report("warning", ...orderly);
  const [title, text] = headline(transports, diagnosis, wasConnected);
  return report("error", title, text, messages(diagnosis));
}

/** Whether the server's diagnosis is of a call that is over. */
export function hasEnded(diagnosis) {
  return diagnosis?.state === "closed" || diagnosis?.state === "closing";
}

function headline(transports, diagnosis, wasConnected) {
  const stuck = STUCK[diagnosis?.stuck_in];
  if (stuck) return stuck;
  if (transports.dtls === "failed") return STUCK.dtls;
  if (hasEnded(diagnosis)) return ENDED_BY_SERVER;
  if (wasConnected) return INTERRUPTED;
  return transports.ice === "closed" ? STUCK.dtls : STUCK.ice;
}

function messages(diagnosis) {
  const found = (diagnosis?.advice ?? []).map((advice) => advice.message);
  if (found.length === 0 && diagnosis?.closed_reason) found.push(`the call was closed: ${diagnosis.closed_reason}`);
  return found;
}

function report(tone, title, text, reasons = []) {
  return { tone, title, text, reasons: reasons.map(sentence) };
}

/** A capital in front and a full stop behind, unless there is another mark. */
function sentence(words) {
  const text = words.trim();
  return text && text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
}
