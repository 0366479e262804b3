/**
 * The call page: joins the controls, one call at a time, and everything that shows it.
 *
 * Only wiring is here. `call.js` is the call, `sound.js` the sound, `signalling.js` HTTP; `panel.js`, `meters.js`,
 * `setup.js` and `graphs.js` show; `diagnosis.js` puts failures into words.
 */

import { Call } from "./call.js";
import { explainDelay, explainEnd, explainError, hasEnded } from "./diagnosis.js";
import { Graph } from "./graphs.js";
import { Meter } from "./meters.js";
import { element, Panel } from "./panel.js";
import { milliseconds, SetupView } from "./setup.js";
import { CallError, Signalling } from "./signalling.js";
import { microphonePossible, Sound } from "./sound.js";
import { StatisticsReader } from "./statistics.js";

const TICK_MS = 1_000;
const DIAGNOSIS_EVERY_TICKS = 3; // in a call that works; while it is being set up, every tick
const READINESS_EVERY_TICKS = 5; // while there is no call
const LOST_AFTER = 2; // "no such call" so many times in a row: not just a process that is being replaced
const CHOICES_KEY = "ringline.choices";

class App {
  constructor() {
    this.panel = new Panel();
    this.signalling = new Signalling();
    this.sound = new Sound(element("pump"));
    this.call = null;
    this.attempt = 0; // counts presses on Call: what belongs to an older one is void
    this.ticks = 0;
    this.unknown = 0;
    this.flowing = false;
    this.notice = null; // what the controls have to report, beside the server's findings
    this.sentMeter = new Meter(element("sent-meter"), element("sent-reading"));
    this.heardMeter = new Meter(element("heard-meter"), element("heard-reading"));
    this.setup = new SetupView({
      bar: element("setup-bar"),
      phases: element("setup-phases"),
      total: element("setup-total"),
    });
    this.graphs = {
      roundTrip: graph("round-trip-graph", "Round-trip time", "ms", 10, ["--alone"]),
      jitter: graph("jitter-graph", "Jitter", "ms", 10, ["--first", "--second"]),
      loss: graph("loss-graph", "Loss", "percent", 5, ["--first", "--second"]),
    };
  }

  /** Connect the controls and look at the server. */
  start() {
    this.setup.show(null);
    this._readToken();
    this._restoreChoices();
    element("call").addEventListener("click", () => this._press());
    element("token-form").addEventListener("submit", (event) => this._takeToken(event));
    addEventListener("hashchange", () => this._readToken());
    addEventListener("pagehide", () => this._leave());
    for (const input of document.querySelectorAll("input[type=radio]")) {
      input.addEventListener("change", () => this._choose(input));
    }
    setInterval(() => this._tick(), TICK_MS);
    this.panel.started();
    this._askReadiness();
  }

  // ---------------------------------------------------------------- the call's life

  _press() {
    if (this.call) this.call.hangUp();
    else if (element("call").dataset.active === "true") this._cancel();
    else this._begin();
  }

  async _begin() {
    const attempt = (this.attempt += 1);
    this._clear();
    this.sound.prepare();
    const kind = chosen("source");
    this.panel.state(kind === "microphone" ? "asking" : "offer");
    try {
      const source = await this.sound.open(kind);
      if (attempt !== this.attempt) return source.stop();
      this._keep(source);
      this._place(source.track);
    } catch (error) {
      if (attempt === this.attempt) this._fail(error);
    }
  }

  /** Pressed again before there is a call: the browser may still be asking for the microphone. */
  _cancel() {
    this.attempt += 1;
    this.sound.rest();
    this.panel.state("idle");
  }

  _place(track) {
    const call = new Call(this.signalling, track);
    this.call = call;
    this.unknown = 0;
    this.statistics = new StatisticsReader(call.peer);
    this.sentMeter.start(this.sound.sent);
    call.addEventListener("state", () => this._show(call));
    call.addEventListener("remote", ({ detail }) => {
      this.sound.play(detail);
      this.heardMeter.start(this.sound.heard);
    });
    call.addEventListener("ended", ({ detail }) => this._ended(call, detail));
    this._show(call);
    call.start();
  }

  async _ended(call, end) {
    this.call = null;
    this._quiet();
    this.panel.report(null);
    this.panel.transports(call.lastTransports);
    if (end.by === "us") return this.panel.state("ended");
    if (end.error) {
      call.release(true);
      return this._fail(end.error);
    }
    this.panel.state(call.connectedAt ? "ended" : "failed");
    const attempt = this.attempt;
    const diagnosis = await this._askDiagnosis(call);
    call.release(end.by === "network" && diagnosis !== null && !hasEnded(diagnosis));
    if (attempt !== this.attempt) return;
    if (diagnosis) this.panel.serverView(diagnosis);
    this.panel.report(explainEnd(end.by, call.lastTransports, diagnosis, call.connectedAt > 0));
  }

  _fail(error) {
    this._quiet();
    const known = error instanceof CallError ? error : new CallError("browser", error.message);
    this.panel.state("failed");
    this.panel.report(explainError(known));
    this.panel.askToken(known.kind === "token");
  }

  /** The page goes away, or into the browser's memory from which it may come back. */
  _leave() {
    this.call?.hangUp();
    this._cancel();
  }

  // ---------------------------------------------------------------- showing

  _show(call) {
    if (this.call !== call) return;
    this.panel.state(call.state);
    this.panel.transports(call.transports);
    this.setup.show(call.timeline);
    if (call.state === "connected") {
      this.panel.report(this.notice);
      this.panel.clock(performance.now() - call.connectedAt);
    }
  }

  _clear() {
    this.notice = null;
    this.panel.report(null);
    this.panel.askToken(false);
    this.panel.transports({ ice: "new", dtls: "new" });
    this.panel.path(null);
    this.panel.serverView(null);
    this.setup.show(null);
    for (const graph of Object.values(this.graphs)) graph.clear();
    for (const id of ["round-trip", "jitter", "loss"]) element(id).textContent = "–";
  }

  _quiet() {
    this.sentMeter.stop();
    this.heardMeter.stop();
    this.sound.rest();
  }

  // ---------------------------------------------------------------- once a second

  _tick() {
    this.ticks += 1;
    if (this.call) {
      this._measure(this.call);
      const well = this.call.state === "connected" && this.flowing && this.unknown === 0;
      if (!well || this.ticks % DIAGNOSIS_EVERY_TICKS === 0) this._diagnose(this.call);
    } else if (this.ticks % READINESS_EVERY_TICKS === 0 && !document.hidden) {
      this._askReadiness();
    }
  }

  async _measure(call) {
    if (call.connectedAt) this.panel.clock(performance.now() - call.connectedAt);
    const sample = await this.statistics.read();
    if (this.call !== call || !call.connectedAt) return;
    const now = performance.now();
    this.flowing = sample.arrived > 0;
    this.panel.path(sample);
    this.graphs.roundTrip.push(now, [sample.roundTrip]);
    this.graphs.jitter.push(now, [sample.jitterThere, sample.jitterBack]);
    this.graphs.loss.push(now, [sample.lossThere, sample.lossBack]);
    element("round-trip").textContent = sample.roundTrip === null ? "–" : milliseconds(sample.roundTrip);
    this.panel.pair("jitter", sample.jitterThere, sample.jitterBack, "ms");
    this.panel.pair("loss", sample.lossThere, sample.lossBack, "%");
  }

  async _diagnose(call) {
    const diagnosis = await this._askDiagnosis(call);
    if (this.call !== call || diagnosis === undefined) return;
    this.unknown = diagnosis === null ? this.unknown + 1 : 0;
    if (diagnosis) this.panel.serverView(diagnosis);
    if (this.unknown >= LOST_AFTER || hasEnded(diagnosis)) {
      call.endedByServer();
    } else if (diagnosis) {
      this.panel.report(explainDelay(diagnosis) ?? this.notice);
    }
  }

  /** The diagnosis, null: no such call; undefined: it cannot be asked now. */
  async _askDiagnosis(call) {
    if (!call.location) return undefined;
    try {
      return await this.signalling.diagnosis(call.location);
    } catch (error) {
      console.info("no diagnosis:", error.message);
      return undefined;
    }
  }

  async _askReadiness() {
    try {
      const { ready, reasons } = await this.signalling.readiness();
      this.panel.readiness(ready ? "good" : "warning", ready ? "Server ready" : `Not ready: ${reasons.join("; ")}`);
    } catch {
      this.panel.readiness("bad", "Server does not answer");
    }
  }

  // ---------------------------------------------------------------- controls

  async _choose(input) {
    saveChoices();
    if (input.name === "echo") return this.sound.delay(input.value === "second");
    this.panel.hint(input.value);
    if (this.call) await this._switch(this.call, input.value);
  }

  /** Send something else in a call that goes on. */
  async _switch(call, kind) {
    try {
      const source = await this.sound.open(kind);
      if (this.call !== call) return source.stop();
      await call.send(source.track);
      this._keep(source);
      this.notice = null;
    } catch (error) {
      this.notice = explainError(error);
      choose("source", this.kind);
      this.panel.hint(this.kind);
    }
    this.panel.report(this.notice);
  }

  _keep(source) {
    this.sound.keep(source);
    this.kind = source.kind;
    // Only when it ends by itself: unplugged, or taken away in the browser's settings.
    source.track.addEventListener("ended", () => {
      this.notice = explainError(new CallError("microphone-gone", "the track has ended"));
      this.panel.report(this.notice);
    });
  }

  _restoreChoices() {
    for (const [name, value] of Object.entries(savedChoices())) choose(name, value);
    if (!microphonePossible()) choose("source", "tone");
    this.panel.hint(microphonePossible() ? chosen("source") : "insecure");
    this.sound.delay(chosen("echo") === "second");
  }

  _readToken() {
    const found = /(?:^#|&)token=([^&]*)/.exec(location.hash);
    if (found) this.signalling.token = decodeURIComponent(found[1]);
  }

  /** Into the address, so that a reload keeps it; a fragment is never sent to a server. */
  _takeToken(event) {
    event.preventDefault();
    location.hash = `token=${encodeURIComponent(element("token").value.trim())}`;
    this._readToken();
    element("token").value = "";
    this._begin();
  }
}

function graph(id, name, unit, smallest, colours) {
  return new Graph(element(id), { name, unit, smallest, colours });
}

function chosen(name) {
  return document.querySelector(`input[name=${name}]:checked`).value;
}

function choose(name, value) {
  for (const input of document.querySelectorAll("input[type=radio]")) {
    if (input.name === name && input.value === value) input.checked = true;
  }
}

function saveChoices() {
  try {
    localStorage.setItem(CHOICES_KEY, JSON.stringify({ source: chosen("source"), echo: chosen("echo") }));
  } catch {
    // Storage may be forbidden; then nothing is remembered.
  }
}

function savedChoices() {
  try {
    return JSON.parse(localStorage.getItem(CHOICES_KEY)) ?? {};
  } catch {
    return {};
  }
}

new App().start();
