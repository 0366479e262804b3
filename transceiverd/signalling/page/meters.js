/**
 * Level meters: how loud, and at which frequency the loudest part is.
 *
 * `app.js` gives each meter the tap of `sound.js` it reads and starts and stops it with the call. Drawn once a frame,
 * put into words a few times a second: numbers that change faster cannot be read.
 */

const FLOOR_DB = -60; // below is silence for a voice call
const PEAK_FALL_DB_PER_S = 20;
const WORDS_EVERY_MS = 250;
const VOICE_HERTZ = [60, 8000]; // where a frequency is looked for
const CLEAR_DB = 25; // a line this far above the average of the spectrum is a tone and not noise

export class Meter {
  /** @param {HTMLElement} element with a bar `i` and a peak mark `b` @param {HTMLElement} reading */
  constructor(element, reading) {
    this._element = element;
    this._bar = element.querySelector("i");
    this._mark = element.querySelector("b");
    this._reading = reading;
    this._show(FLOOR_DB, FLOOR_DB);
  }

  /** Follow a tap until `stop`. */
  start(tap) {
    this.stop();
    this._tap = tap;
    this._samples = new Float32Array(tap.fftSize);
    this._spectrum = new Float32Array(tap.frequencyBinCount);
    this._peak = FLOOR_DB;
    this._drawnAt = performance.now();
    this._wordsAt = 0;
    this._frame = requestAnimationFrame((now) => this._draw(now));
  }

  /** Fall back to nothing. */
  stop() {
    if (this._frame) cancelAnimationFrame(this._frame);
    this._frame = 0;
    this._show(FLOOR_DB, FLOOR_DB);
    this._reading.textContent = "–";
    this._element.setAttribute("aria-valuetext", "silent");
  }

  _draw(now) {
    this._tap.getFloatTimeDomainData(this._samples);
    const level = decibels(this._samples);
    this._peak = Math.max(level, this._peak - (PEAK_FALL_DB_PER_S * (now - this._drawnAt)) / 1000, FLOOR_DB);
    this._drawnAt = now;
    this._show(level, this._peak);
    if (now - this._wordsAt >= WORDS_EVERY_MS) this._say(level, now);
    this._frame = requestAnimationFrame((next) => this._draw(next));
  }

  _show(level, peak) {
    this._bar.style.clipPath = `inset(0 ${100 - 100 * share(level)}% 0 0)`;
    this._mark.style.left = `${100 * share(peak)}%`;
    this._mark.hidden = peak <= FLOOR_DB;
  }

  _say(level, now) {
    this._wordsAt = now;
    this._tap.getFloatFrequencyData(this._spectrum);
    const silent = level <= FLOOR_DB;
    const hertz = silent ? null : tone(this._spectrum, this._tap.context.sampleRate / this._tap.fftSize);
    const words = silent ? "silent" : `\u2212${Math.round(-level)} dB${hertz ? ` · ${Math.round(hertz)} Hz` : ""}`;
    this._reading.textContent = words;
    this._element.setAttribute("aria-valuenow", String(Math.round(Math.max(level, FLOOR_DB))));
    this._element.setAttribute("aria-valuetext", words);
  }
}

/** Root mean square in dB of full scale; a full-scale sine is -3. */
export function decibels(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return sum === 0 ? -Infinity : 10 * Math.log10(sum / samples.length);
}

/** The frequency in Hz of a clear tone in a spectrum (dB a bin), else null. */
export function tone(spectrum, binHertz) {
  const first = Math.ceil(VOICE_HERTZ[0] / binHertz);
  const last = Math.min(Math.floor(VOICE_HERTZ[1] / binHertz), spectrum.length - 2);
  let best = first;
  let sum = 0;
  for (let bin = first; bin <= last; bin += 1) {
    if (spectrum[bin] > spectrum[best]) best = bin;
    sum += Math.max(spectrum[bin], -120);
  }
  if (spectrum[best] - sum / (last - first + 1) < CLEAR_DB) return null;
  return (best + vertex(spectrum[best - 1], spectrum[best], spectrum[best + 1])) * binHertz;
}

/** Where between the bins a parabola through three of them has its top: -0.5 to 0.5. */
function vertex(left, middle, right) {
  const curve = left - 2 * middle + right;
  return Number.isFinite(curve) && curve < 0 ? (0.5 * (left - right)) / curve : 0;
}

function share(level) {
  return Math.min(1, Math.max(0, 1 - level / FLOOR_DB));
}
