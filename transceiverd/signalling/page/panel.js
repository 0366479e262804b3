/**
 * What the page says in words: state and clock, the transports, the path, a failure's reasons, the server's view.
 *
 * `app.js` tells it what is the case; it owns the elements and all wording that is not a failure's (`diagnosis.js`).
 */

import { milliseconds } from "./setup.js";

const STATES = {
  idle: "Ready to call",
  asking: "Asking for the microphone…",
  offer: "Preparing the call…",
  signalling: "Asking the server…",
  ice: "Looking for a path…",
  dtls: "Agreeing on keys…",
  audio: "Waiting for the first audio…",
  connected: "Connected",
  interrupted: "Interrupted, trying to get through…",
  ended: "Call ended",
  failed: "The call failed",
};
const TONES = {
  connected: "good",
  completed: "good",
  new: "idle",
  closed: "idle",
  failed: "bad",
  disconnected: "warning",
};
const HINTS = {
  microphone: "With loudspeakers the echo can reach the microphone again: headphones sound best.",
  tone: "A steady 440 Hz: if 440 Hz comes back, the whole way there and back works.",
  insecure: "The microphone needs HTTPS. The test tone works without.",
};
const TRANSPORT_WORDS = { completed: "connected", new: "–", closed: "closed" };
// Steps of the server's own clock worth showing, from `transceiverd/phases.py`.
const SERVER_STEPS = { check_accepted: "first check", dtls_done: "DTLS done", first_media: "first audio" };

/** @param {string} id */
export const element = (id) => document.getElementById(id);

export class Panel {
  constructor() {
    this._clock = element("clock");
    this._state = element("state");
    this._button = element("call");
  }

  /** Every script is there: until now the page said that it is loading, and its button did nothing. */
  started() {
    this.state("idle");
    this.readiness("idle", STATES.signalling);
    this._button.disabled = false;
  }

  /** The state of the call, and what the button does in it. */
  state(name) {
    const active = !["idle", "ended", "failed"].includes(name);
    this._state.textContent = STATES[name];
    this._state.dataset.state = name;
    this._button.textContent = active ? "Hang up" : "Call";
    this._button.dataset.active = String(active);
    this._clock.hidden = name !== "connected" && name !== "interrupted";
    document.title = active ? `${STATES[name]} · Ringline` : "Ringline";
  }

  /** How long the call has lasted. */
  clock(elapsedMs) {
    const seconds = Math.floor(elapsedMs / 1000);
    const rest = String(seconds % 60).padStart(2, "0");
    this._clock.textContent = `${Math.floor(seconds / 60)}:${rest}`;
  }

  /** ICE and DTLS in the browser's words. */
  transports({ ice, dtls }) {
    for (const [id, state] of Object.entries({ ice, dtls })) {
      element(id).textContent = TRANSPORT_WORDS[state] ?? state;
      element(id).dataset.tone = TONES[state] ?? "busy";
    }
  }

  /** Where the packets go and how they are encrypted; null: not known. */
  path(sample) {
    element("path").textContent = sample?.path || "–";
    element("cipher").textContent = sample?.cipher || "–";
  }

  /** Two numbers in the colours of their lines; null: not known. */
  pair(id, there, back, unit) {
    const known = [[there, "first"], [back, "second"]].filter(([value]) => value !== null);
    if (known.length === 0) return element(id).replaceChildren("–");
    const parts = known.flatMap(([value, line]) => [" / ", colouredNumber(value, line)]);
    element(id).replaceChildren(...parts.slice(1), ` ${unit}`);
  }

  /** One sentence below the meters that suits what is sent. */
  hint(name) {
    element("hint").textContent = HINTS[name];
  }

  /** Whether the server would take a call now. */
  readiness(tone, words) {
    const line = element("readiness");
    if (line.textContent !== words) line.textContent = words;
    line.dataset.tone = tone;
  }

  /** Why something does not work; null: all is well. The same report twice is not announced twice. */
  report(report) {
    const card = element("report");
    card.hidden = report === null;
    if (report === null) return;
    card.dataset.tone = report.tone;
    setText(element("report-title"), report.title);
    setText(element("report-text"), report.text);
    element("report-text").hidden = !report.text;
    const list = element("report-reasons");
    if (list.textContent === report.reasons.join("").replaceAll("`", "")) return;
    list.replaceChildren(...report.reasons.map(reasonElement));
  }

  /** Ask for a token, or not any more. */
  askToken(on) {
    element("token-form").hidden = !on;
    if (on) element("token").focus();
  }

  /** The server's diagnosis as a list of facts. */
  serverView(diagnosis) {
    const rows = diagnosis ? facts(diagnosis) : [["Call", "none yet"]];
    element("server-facts").replaceChildren(
      ...rows.map(([name, value]) => {
        const row = document.createElement("div");
        row.append(textElement("dt", name), textElement("dd", value));
        return row;
      }),
    );
  }
}

function facts(diagnosis) {
  const { media, phases } = diagnosis;
  const steps = Object.entries(SERVER_STEPS).filter(([name]) => typeof phases[name] === "number");
  const drops = Object.entries(diagnosis.drops).filter(([, count]) => count > 0);
  return [
    ["Call", `${diagnosis.call_id.slice(0, 12)}…, ${diagnosis.state}`],
    ["You come from", diagnosis.addresses.map(described).join("; ") || `${diagnosis.client_address} (HTTP only)`],
    ["You were answered with", diagnosis.answered.join(", ") || "no address"],
    ["After the answer", steps.map(([name, words]) => `${words} ${milliseconds(phases[name])}`).join(", ") || "–"],
    ["DTLS", diagnosis.dtls?.version ? handshake(diagnosis.dtls) : "–"],
    ["Packets", packets(media ?? {})],
    ["Dropped", drops.map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`).join(", ") || "none"],
  ];
}

function packets({ packets_received: heard = 0, gaps_up: missing = 0, packets_sent: sent = 0 }) {
  return `${heard} heard, ${missing} missing, ${sent} sent`;
}

function handshake({ version, role }) {
  return `${version.replace("DTLSv", "DTLS ")}, opened by ${role === "client" ? "the server" : "this browser"}`;
}

function colouredNumber(value, line) {
  const made = textElement("span", value === 0 ? "0" : value.toFixed(value < 9.95 ? 1 : 0));
  made.className = line;
  return made;
}

function described(address) {
  const marks = [address.nominated && "nominated", address.proven && "proven"].filter(Boolean).join(", ");
  return marks ? `${address.client} (${marks})` : address.client;
}

/** What the server writes between backticks is a name in its configuration. */
function reasonElement(reason) {
  const item = document.createElement("li");
  item.append(...reason.split("`").map((part, index) => (index % 2 ? textElement("code", part) : part)));
  return item;
}

function textElement(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
