// A slider for each dimension, the most informative first, some of them shown.

const AT_ONCE = 12;
const SPREAD = 3; // standard deviations to each side
const LEAST_STD = 0.1; // a dimension that hardly varies can still be moved
const PRIOR = { mean: 0, std: 1 }; // where nothing was measured

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

export class Sliders {
  /**
   * @param {{index: number, information: number | null, mean: number | null, std: number | null}[]} dimensions
   * @param {() => void} changed called when a value changes
   */
  constructor(parent, more, dimensions, changed) {
    this.parent = parent;
    this.more = more;
    this.dimensions = dimensions;
    this.changed = changed;
    this.values = new Map(); // value by dimension that is changed
    this.add = true;
    this.shown = [];
    more.addEventListener("click", () => {
      const first = this.shown.length;
      this.showMore();
      this.shown[first].input.focus();
    });
    this.showMore();
  }

  showMore() {
    const next = this.dimensions.slice(this.shown.length, this.shown.length + AT_ONCE);
    for (const dimension of next) this.shown.push(this.slider(dimension));
    const left = this.dimensions.length - this.shown.length;
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${Math.min(AT_ONCE, left)} more of ${this.dimensions.length} dimensions`;
  }

  /** Whether sliders add to the latents or set them; all values are forgotten. */
  setMode(add) {
    this.add = add;
    this.reset();
  }

  reset() {
    const had = this.values.size;
    this.values.clear();
    for (const slider of this.shown) slider.show();
    if (had) this.changed();
  }

  slider(dimension) {
    const make = (kind, parent, more = {}) => {
      const made = document.createElement(kind);
      Object.assign(made, more);
      parent.append(made);
      return made;
    };
    const id = `dimension-${dimension.index}`;
    const box = make("div", this.parent, { className: "slider" });
    const label = make("label", box, { htmlFor: id, textContent: `Dimension ${dimension.index}` });
    const { information, std } = dimension;
    if (std !== null) {
      make("span", label, { textContent: information === null ? `deviation ${std.toFixed(2)}` : `${information.toFixed(2)} nats` });
    }
    const reset = make("button", box, { type: "button", textContent: "Reset", disabled: true });
    reset.setAttribute("aria-label", `Reset dimension ${dimension.index}`);
    const row = make("span", box, { className: "ranged" });
    const input = make("input", row, { type: "range", id, step: "any" });
    const output = make("output", row);
    output.htmlFor = id;
    const show = () => {
      const spread = SPREAD * Math.max(LEAST_STD, std ?? PRIOR.std), middle = this.add ? 0 : dimension.mean ?? PRIOR.mean;
      const value = this.values.get(dimension.index);
      input.min = middle - spread;
      input.max = middle + spread;
      input.step = spread / 50;
      input.value = value ?? middle;
      output.textContent = value === undefined ? (this.add ? "+0.00" : "as it is") : this.add ? signed(value) : signed(value).replace("+", "");
      input.setAttribute("aria-valuetext", value === undefined ? "unchanged" : output.textContent);
      reset.disabled = value === undefined;
    };
    input.addEventListener("input", () => {
      this.values.set(dimension.index, Number(input.value));
      show();
      this.changed();
    });
    reset.addEventListener("click", () => {
      this.values.delete(dimension.index);
      show();
      input.focus();
      this.changed();
    });
    show();
    return { input, show };
  }
}
