/**
 * Line graphs of the last minute on a canvas, one or two lines each.
 *
 * `app.js` pushes one sample a second. The colours come from the style sheet, so a graph follows light and dark; the
 * numbers are also in the canvas's label for those who cannot see it.
 */

const SPAN_MS = 60_000;
const LINE_WIDTH = 1.75;
const PADDING = { top: 8, right: 4, bottom: 8, left: 34 }; // CSS pixels; left: room for the scale's numbers
const FONT_PX = 11;
const LABEL_EVERY_MS = 5_000; // a screen reader need not hear of every second

export class Graph {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{name: string, unit: string, smallest: number, colours: string[]}} options `smallest`: least value of the
   *   scale's top, so that noise around zero does not fill the graph; `colours`: of the lines, as CSS properties
   */
  constructor(canvas, options) {
    this._canvas = canvas;
    this._options = options;
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Forget all samples. */
  clear() {
    this._samples = [];
    this._labelledAt = -Infinity;
    this._canvas.setAttribute("aria-label", `${this._options.name}: no call yet`);
    this.draw();
  }

  /** Add one sample: a value for each line, null where there is none. */
  push(at, values) {
    this._samples.push({ at, values });
    this._samples = this._samples.filter((sample) => at - sample.at <= SPAN_MS);
    this._describe(at, values);
    this.draw();
  }

  /** Draw what there is. */
  draw() {
    const { clientWidth: width, clientHeight: height } = this._canvas;
    if (!width || !height) return;
    const pen = this._pen(width, height);
    const style = getComputedStyle(this._canvas);
    const top = scaleTop(this._highest(), this._options.smallest);
    const place = this._placement(width, height, top);
    this._grid(pen, style, place, width, top);
    this._options.colours.forEach((name, line) => this._line(pen, style.getPropertyValue(name), place, line));
  }

  _pen(width, height) {
    const scale = window.devicePixelRatio || 1;
    this._canvas.width = Math.round(width * scale);
    this._canvas.height = Math.round(height * scale);
    const pen = this._canvas.getContext("2d");
    pen.scale(scale, scale);
    return pen;
  }

  _placement(width, height, top) {
    const end = this._samples.at(-1)?.at ?? 0;
    const inner = { width: width - PADDING.left - PADDING.right, height: height - PADDING.top - PADDING.bottom };
    return {
      x: (at) => PADDING.left + inner.width * (1 - (end - at) / SPAN_MS),
      y: (value) => PADDING.top + inner.height * (1 - Math.min(value, top) / top),
    };
  }

  _grid(pen, style, place, width, top) {
    pen.font = `${FONT_PX}px ${style.fontFamily}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    for (const value of [0, top / 2, top]) {
      const y = Math.round(place.y(value)) + 0.5;
      pen.strokeStyle = style.getPropertyValue("--grid");
      pen.beginPath();
      pen.moveTo(PADDING.left, y);
      pen.lineTo(width - PADDING.right, y);
      pen.stroke();
      pen.fillStyle = style.getPropertyValue("--muted");
      pen.fillText(short(value), PADDING.left - 7, y);
    }
  }

  _line(pen, colour, place, line) {
    pen.strokeStyle = colour;
    pen.fillStyle = colour;
    pen.lineWidth = LINE_WIDTH;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawing = false;
    let last = null;
    for (const { at, values } of this._samples) {
      const value = values[line] ?? null;
      if (value === null) {
        drawing = false;
        continue;
      }
      last = [place.x(at), place.y(value)];
      pen[drawing ? "lineTo" : "moveTo"](...last);
      drawing = true;
    }
    pen.stroke();
    if (last) dot(pen, ...last);
  }

  _highest() {
    return this._samples.reduce((high, { values }) => Math.max(high, ...values.map((value) => value ?? 0)), 0);
  }

  _describe(at, values) {
    if (at - this._labelledAt < LABEL_EVERY_MS) return;
    this._labelledAt = at;
    const { name, unit } = this._options;
    const known = values.filter((value) => value !== null).map((value) => `${short(value)} ${unit}`);
    this._canvas.setAttribute("aria-label", `${name}: ${known.join(" and ") || "not known yet"}`);
  }
}

function dot(pen, x, y) {
  pen.beginPath();
  pen.arc(x, y, LINE_WIDTH * 1.5, 0, 2 * Math.PI);
  pen.fill();
}

/** A round number at or above `value`: 1, 2 or 5 times a power of ten, but not below `smallest`. */
export function scaleTop(value, smallest) {
  if (value <= smallest) return smallest;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= value);
}

/** At most three characters that count. */
export function short(value) {
  if (value >= 10 || value === 0) return String(Math.round(value));
  return String(Number(value.toFixed(value >= 1 ? 1 : 2)));
}
