/**
 * One call, from the offer to its end: peer connection, the two transports' states, the timeline, hanging up.
 *
 * Made by `app.js` for every press on Call and never used again. It owns no element of the page and no sound; it tells
 * through events: `state` (detail: the state), `remote` (detail: a MediaStream), `ended` (detail: an `End`). The offer
 * leaves without a candidate: the server is ICE-lite and learns the address from the first check (RFC 8445 7.3.1.3).
 *
 *     offer -> signalling -> ice -> dtls -> audio -> connected <-> interrupted
 *     any of them -> ended
 */

import { CallError } from "./signalling.js";
import { Timeline } from "./setup.js";

const FOLLOWS = {
  offer: ["signalling", "ended"],
  signalling: ["ice", "ended"],
  ice: ["dtls", "audio", "ended"],
  dtls: ["audio", "ended"],
  audio: ["connected", "interrupted", "ended"],
  connected: ["interrupted", "ended"],
  interrupted: ["connected", "ended"],
  ended: [],
};
const FIRST_AUDIO_POLL_MS = 10; // half a packet of 20 ms

/**
 * How a call ended.
 * @typedef {{by: "us" | "server" | "network" | "browser", error?: CallError}} End
 */

export class Call extends EventTarget {
  /** @param {import("./signalling.js").Signalling} signalling @param {MediaStreamTrack} track what to send */
  constructor(signalling, track) {
    super();
    this.timeline = new Timeline(performance.now());
    this.state = "offer";
    this.location = "";
    this.connectedAt = 0;
    this.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this._signalling = signalling;
    this._sender = this.peer.addTrack(track);
    this.peer.addEventListener("track", (event) => this._onTrack(event));
    this.peer.addEventListener("iceconnectionstatechange", () => this._look());
    this.peer.addEventListener("connectionstatechange", () => this._look());
  }

  /** The state of ICE and of DTLS in the browser's words, `new` before there is any. */
  get transports() {
    const dtls = this._sender.transport;
    return { ice: dtls?.iceTransport?.state ?? this.peer.iceConnectionState, dtls: dtls?.state ?? "new" };
  }

  /** Place the call. Does not throw: what goes wrong is an `ended` event. */
  async start() {
    try {
      await this._offer();
      await this._signal();
      this._look();
    } catch (error) {
      const known = error instanceof CallError ? error : new CallError("browser", error.message, { cause: error });
      this._end({ by: known.kind === "browser" ? "browser" : "server", error: known });
    }
  }

  /** Let go of the connection of a call that ended; `hangUp`: the server does not know yet that it has. */
  async release(hangUp) {
    if (hangUp && this.location) await this._signalling.hangUp(this.location);
    this.peer.close();
  }

  /** Send another track from now on, without a new offer. */
  async send(track) {
    await this._sender.replaceTrack(track);
  }

  /** End it from this side, also while the page goes away; a second time does nothing. */
  hangUp() {
    this._end({ by: "us" });
  }

  /** The server says that it has ended, or it knows the call no more. */
  endedByServer() {
    this._end({ by: "server" });
  }

  async _offer() {
    await this.peer.setLocalDescription();
    this.timeline.mark("offered", performance.now());
    this._move("signalling");
    const dtls = this._sender.transport;
    dtls?.addEventListener("statechange", () => this._look());
    dtls?.iceTransport?.addEventListener("statechange", () => this._look());
  }

  async _signal() {
    const { answer, location } = await this._signalling.place(this.peer.localDescription.sdp);
    this.location = location;
    // Hung up while the answer was on its way: the server must hear of it.
    if (this.state === "ended") return this.release(true);
    await this.peer.setRemoteDescription({ type: "answer", sdp: answer });
    this.timeline.mark("answered", performance.now());
    this._move("ice");
  }

  /** Something about the transports changed: bring state and timeline up to date. */
  _look() {
    if (["offer", "signalling", "ended"].includes(this.state)) return;
    const { ice, dtls } = this.transports;
    if (ice === "connected" || ice === "completed") this._checked();
    if (dtls === "connected") this._secured();
    if (dtls === "closed") return this._end({ by: "server" });
    if (this.peer.connectionState === "failed" || dtls === "failed") return this._end({ by: "network" });
    if (this.connectedAt) this._move(ice === "disconnected" ? "interrupted" : "connected");
    this._tell("state", this.state);
  }

  _checked() {
    this.timeline.mark("checked", performance.now());
    if (this.state === "ice") this._move("dtls");
  }

  _secured() {
    this._checked();
    this.timeline.mark("secured", performance.now());
    if (this.state !== "dtls") return;
    this._move("audio");
    this._awaitAudio();
  }

  /** The first packet that comes back; no event tells of it, the list of sources does. */
  _awaitAudio() {
    if (this.state === "ended" || this.connectedAt) return;
    const [receiver] = this.peer.getReceivers();
    if (receiver.getSynchronizationSources().length === 0) {
      setTimeout(() => this._awaitAudio(), FIRST_AUDIO_POLL_MS);
      return;
    }
    this.connectedAt = performance.now();
    this.timeline.mark("heard", this.connectedAt);
    this._move("connected");
  }

  _onTrack(event) {
    this._tell("remote", new MediaStream([event.track]));
  }

  /**
   * Once. Our own end reaches the server as a hang-up before the transports close. With any other the one who listens
   * may ask the server why, and then calls `release`: a hung-up call explains nothing any more.
   */
  _end(end) {
    if (this.state === "ended") return;
    this.lastTransports = remains(this.transports);
    this._move("ended");
    if (end.by === "us" && this.location) this.release(true);
    this._tell("ended", end);
  }

  _move(state) {
    if (state === this.state) return;
    if (!FOLLOWS[this.state].includes(state)) return;
    this.state = state;
    this._tell("state", state);
  }

  _tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** What is left of the transports' states at a call's end: what had not worked, and that the rest is closed. */
function remains({ ice, dtls }) {
  const unfinished = ["new", "checking", "connecting", "disconnected", "failed"];
  const left = (state) => (unfinished.includes(state) ? state : "closed");
  return { ice: left(ice), dtls: left(dtls) };
}
