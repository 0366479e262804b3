/**
 * All sound of the page: what is sent, what is heard, and the taps that the meters read.
 *
 *     microphone ─┐
 *     test tone ──┴─▶ track to send            (tap "sent")
 *     remote track ─┬─▶ at once ──────────┬─▶ (tap "heard") ─▶ loudspeaker
 *                   └─▶ delayed by 1 s ───┘
 *
 * Owned by `app.js`, one for the life of the page. `prepare` must be called inside a click: phones let a page make
 * sound only then.
 */

import { CallError } from "./signalling.js";

export const TONE_HERTZ = 440; // concert pitch: everybody knows it, every codec passes it
const TONE_GAIN = 0.2; // -14 dB: clearly visible, not unpleasant
const DELAY_SECONDS = 1;
const FADE_SECONDS = 0.015; // no click when the echo's way is switched
const TAP_SAMPLES = 4096; // 85 ms at 48 kHz: a steady needle, and 12 Hz a bin before interpolation

export class Sound {
  /** @param {HTMLAudioElement} pump plays the remote stream silently: without it Chromium decodes nothing */
  constructor(pump) {
    this._pump = pump;
    this._delayed = false;
    this._stop = () => {};
    this.sent = null;
    this.heard = null;
  }

  /** Make or wake the audio engine. */
  prepare() {
    if (!this._context) this._build(new AudioContext({ latencyHint: "interactive" }));
    // Not awaited: without any output device it never settles.
    this._context.resume().catch(() => {});
  }

  /** `{kind, track, stop}` of the microphone or the tone. Throws CallError. The source before goes on until `keep`. */
  async open(kind) {
    const source = kind === "tone" ? this._openTone() : await this._openMicrophone();
    source.node.connect(this.sent);
    return source;
  }

  /** `source` is in use from now on; the one before is let go. */
  keep(source) {
    this._stop();
    this._stop = source.stop;
  }

  /** Play a remote stream. */
  play(stream) {
    this._remote?.disconnect();
    this._pump.srcObject = stream;
    this._pump.play().catch(() => {});
    this._remote = this._context.createMediaStreamSource(stream);
    this._remote.connect(this._once);
    this._remote.connect(this._delay);
  }

  /** Hear the echo at once, or after a second. */
  delay(on) {
    this._delayed = on;
    if (!this._context) return;
    const now = this._context.currentTime;
    this._once.gain.setTargetAtTime(on ? 0 : 1, now, FADE_SECONDS);
    this._late.gain.setTargetAtTime(on ? 1 : 0, now, FADE_SECONDS);
  }

  /** Let go of microphone, tone and remote stream, and rest. */
  rest() {
    this._stop();
    this._stop = () => {};
    this._remote?.disconnect();
    this._remote = null;
    this._pump.srcObject = null;
    this._context?.suspend().catch(() => {});
  }

  _build(context) {
    this._context = context;
    this.sent = tap(context);
    this.heard = tap(context);
    this._once = new GainNode(context, { gain: this._delayed ? 0 : 1 });
    this._late = new GainNode(context, { gain: this._delayed ? 1 : 0 });
    this._delay = new DelayNode(context, { maxDelayTime: DELAY_SECONDS, delayTime: DELAY_SECONDS });
    this._delay.connect(this._late);
    this._once.connect(this.heard);
    this._late.connect(this.heard);
    this.heard.connect(context.destination);
  }

  _openTone() {
    const oscillator = new OscillatorNode(this._context, { frequency: TONE_HERTZ });
    const node = new GainNode(this._context, { gain: TONE_GAIN });
    const outlet = this._context.createMediaStreamDestination();
    oscillator.connect(node).connect(outlet);
    oscillator.start();
    const [track] = outlet.stream.getAudioTracks();
    return { kind: "tone", track, node, stop: () => stopAll(track, node, () => oscillator.stop()) };
  }

  async _openMicrophone() {
    const stream = await microphone();
    const [track] = stream.getAudioTracks();
    const node = this._context.createMediaStreamSource(stream);
    return { kind: "microphone", track, node, stop: () => stopAll(track, node, () => {}) };
  }
}

/** Whether this page may ask for a microphone at all: only over HTTPS or from this machine. */
export function microphonePossible() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

async function microphone() {
  if (!microphonePossible()) throw new CallError("microphone-insecure", "this page is not in a secure context");
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true } });
  } catch (cause) {
    const kinds = { NotAllowedError: "microphone-denied", NotFoundError: "microphone-missing" };
    throw new CallError(kinds[cause.name] ?? "microphone-broken", cause.message, { cause });
  }
}

function tap(context) {
  return new AnalyserNode(context, { fftSize: TAP_SAMPLES, smoothingTimeConstant: 0.3 });
}

function stopAll(track, node, andThen) {
  track.stop();
  node.disconnect();
  andThen();
}
