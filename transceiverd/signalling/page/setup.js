/**
 * How long a call took to set up, split by phase: the marks, and the stacked bar that shows them.
 *
 * `call.js` marks, `app.js` draws. A phase lasts from the mark before it to its own; what overlaps (DTLS may begin on a
 * pair that ICE has not settled on yet) counts for the earlier phase.
 */

/** In the order of a call; `mark` is the moment that ends the phase. */
export const PHASES = [
  { name: "offer", label: "Offer", mark: "offered", hint: "the browser writes its offer" },
  { name: "signalling", label: "Signalling", mark: "answered", hint: "HTTP there and back, answer read" },
  { name: "ice", label: "ICE", mark: "checked", hint: "until a path answers" },
  { name: "dtls", label: "DTLS", mark: "secured", hint: "keys agreed" },
  { name: "audio", label: "First audio", mark: "heard", hint: "until the first packet is back" },
];

/** The moments of one call's set-up, in milliseconds of `performance.now()`. */
export class Timeline {
  constructor(start) {
    this._start = start;
    this._marks = new Map();
  }

  /** Note a moment; later ones of the same name change nothing. */
  mark(name, at) {
    if (!this._marks.has(name)) this._marks.set(name, at);
  }

  /** Milliseconds of each phase, null for one that has not ended. */
  durations() {
    let before = this._start;
    let open = false;
    return PHASES.map(({ mark }) => {
      const at = this._marks.get(mark);
      open ||= at === undefined;
      if (open) return null;
      const lasted = Math.max(0, at - before);
      before = Math.max(before, at);
      return lasted;
    });
  }

  /** Milliseconds up to the last phase that has ended in turn. */
  total() {
    return this.durations().reduce((sum, each) => sum + (each ?? 0), 0);
  }

  /** Whether all phases have ended. */
  complete() {
    return !this.durations().includes(null);
  }
}

/** The bar and its legend. */
export class SetupView {
  /** @param {{bar: HTMLElement, phases: HTMLElement, total: HTMLElement}} elements */
  constructor(elements) {
    this._elements = elements;
    this._parts = PHASES.map((phase) => this._build(phase));
  }

  /** Draw a timeline; null empties the view. */
  show(timeline) {
    const durations = timeline?.durations() ?? PHASES.map(() => null);
    this._parts.forEach((part, index) => showPart(part, durations[index]));
    this._elements.total.textContent = timeline?.complete() ? milliseconds(timeline.total()) : "";
  }

  _build(phase) {
    const slice = document.createElement("span");
    slice.dataset.phase = phase.name;
    this._elements.bar.append(slice);
    const item = document.createElement("li");
    item.dataset.phase = phase.name;
    item.title = phase.hint;
    const label = document.createElement("span");
    label.textContent = phase.label;
    const value = document.createElement("span");
    value.className = "number";
    item.append(label, value);
    this._elements.phases.append(item);
    return { slice, item, value };
  }
}

function showPart({ slice, item, value }, duration) {
  slice.style.flexGrow = String(duration ?? 0);
  slice.hidden = duration === null;
  item.dataset.done = String(duration !== null);
  value.textContent = duration === null ? "–" : milliseconds(duration);
}

/** `12 ms`, `1.25 s`. */
export function milliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value < 9.95 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
