/**
 * What `RTCPeerConnection.getStats` tells about a call, as the few numbers that the page shows.
 *
 * One reader for one call; `app.js` reads once a second. Rates are of the time since the reading before. The server
 * echoes gaps as they came, so what is missing at our end was lost on the way there or on the way back.
 */

/**
 * @typedef {object} Sample
 * @property {number | null} roundTrip ms, of the last STUN check or RTCP report, whichever is newer
 * @property {number | null} jitterThere ms, as the server measures it
 * @property {number | null} jitterBack ms, as we measure it
 * @property {number | null} lossThere percent, as the server reports it
 * @property {number | null} lossBack percent of what should have come back
 * @property {number} arrived packets since the reading before
 * @property {string} path `address:port` at the server and the transport, empty while there is none
 * @property {string} cipher of DTLS and SRTP, empty while there is none
 */

export class StatisticsReader {
  constructor(peer) {
    this._peer = peer;
    this._before = { lost: 0, received: 0 };
  }

  /** @returns {Promise<Sample>} */
  async read() {
    const all = [...(await this._peer.getStats()).values()];
    const of = (type) => all.find((each) => each.type === type && (each.kind ?? "audio") === "audio");
    const inbound = of("inbound-rtp");
    const remote = of("remote-inbound-rtp");
    const pair = selectedPair(all);
    const flow = this._flow(inbound);
    return {
      roundTrip: scaled(pair?.currentRoundTripTime ?? remote?.roundTripTime, 1000),
      jitterThere: scaled(remote?.jitter, 1000),
      jitterBack: inbound?.packetsReceived ? scaled(inbound.jitter, 1000) : null,
      lossThere: scaled(remote?.fractionLost, 100),
      lossBack: flow.loss,
      arrived: flow.arrived,
      path: describePath(all, pair),
      cipher: describeCipher(of("transport")),
    };
  }

  _flow(inbound) {
    const now = { lost: inbound?.packetsLost ?? 0, received: inbound?.packetsReceived ?? 0 };
    const lost = Math.max(0, now.lost - this._before.lost);
    const arrived = Math.max(0, now.received - this._before.received);
    this._before = now;
    return { arrived, loss: lost + arrived > 0 ? (100 * lost) / (lost + arrived) : null };
  }
}

/** The candidate pair in use. Firefox marks it, the others name it in the transport. */
function selectedPair(all) {
  const transport = all.find((each) => each.type === "transport");
  const pairs = all.filter((each) => each.type === "candidate-pair");
  return pairs.find((pair) => pair.id === transport?.selectedCandidatePairId) ?? pairs.find((pair) => pair.selected);
}

function describePath(all, pair) {
  const candidate = all.find((each) => each.id === pair?.remoteCandidateId);
  if (!candidate?.address) return "";
  const host = candidate.address.includes(":") ? `[${candidate.address}]` : candidate.address;
  return `${(candidate.protocol ?? "udp").toUpperCase()} to ${host}:${candidate.port}`;
}

const TLS_VERSIONS = { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3", "0303": "DTLS 1.2", "0304": "DTLS 1.3" };

function describeCipher(transport) {
  const version = TLS_VERSIONS[(transport?.tlsVersion ?? "").toUpperCase()] ?? "";
  return [version, srtpName(transport?.srtpCipher)].filter(Boolean).join(", ");
}

/** Browsers write one profile as `SRTP_AES128_CM_HMAC_SHA1_80` or `AES_CM_128_HMAC_SHA1_80`. */
function srtpName(profile) {
  if (!profile) return "";
  const [bits] = /128|256/.exec(profile) ?? [""];
  return `SRTP AES-${bits}-${profile.includes("GCM") ? "GCM" : "CM"}`;
}

function scaled(value, factor) {
  return Number.isFinite(value) ? value * factor : null;
}
