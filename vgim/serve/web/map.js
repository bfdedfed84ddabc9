// The map of utterances: points to choose A and B from, and a handle to drag from one to the other.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 480, HEIGHT = 320, MARGIN = 26;
const MOST_COLORS = 8;
const NEAR = 26; // how far from a point a click still chooses it

/**
 * @param {SVGElement} svg
 * @param {{choose: (key: string) => void, move: (share: number) => void}} act what clicks and drags do
 */
export class SoundMap {
  constructor(svg, keyList, sounds, act) {
    this.svg = svg;
    this.sounds = new Map();
    this.xs = sounds.map((sound) => sound.xy[0]);
    this.ys = sounds.map((sound) => sound.xy[1]);
    const speakers = [...new Set(sounds.map((sound) => sound.speaker))].sort();
    this.colors = speakers.length <= MOST_COLORS ? new Map(speakers.map((name, i) => [name, `c${i}`])) : new Map();
    for (const [name, color] of this.colors) {
      const item = document.createElement("li"), swatch = document.createElement("span");
      swatch.className = `swatch ${color}`;
      item.append(swatch, `speaker ${name}`);
      keyList.append(item);
    }
    for (const sound of sounds) this.add(sound);
    this.way = this.make("line", "way");
    this.ends = { a: this.end("A"), b: this.end("B") };
    this.handle = this.make("circle", "handle", { r: 9 });
    this.drag(act);
  }

  make(kind, name, attributes = {}) {
    const made = document.createElementNS(SVG, kind);
    made.setAttribute("class", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    this.svg.append(made);
    return made;
  }

  end(name) {
    const text = this.make("text", "end-name", { "text-anchor": "middle" });
    text.textContent = name;
    return { ring: this.make("circle", "end", { r: 9 }), text };
  }

  /** Add a point; sounds of one's own beyond the edge are drawn at the edge. */
  add(sound) {
    if (!sound.xy) return;
    const [x, y] = this.position(sound.xy);
    const point = document.createElementNS(SVG, "circle");
    for (const [key, value] of Object.entries({ cx: x, cy: y, r: sound.speaker ? 5 : 6 })) point.setAttribute(key, value);
    point.setAttribute("class", sound.speaker ? `point ${this.colors.get(sound.speaker) ?? ""}` : "own");
    const title = document.createElementNS(SVG, "title");
    title.textContent = [sound.name, sound.speaker && `speaker ${sound.speaker}`, sound.transcript].filter(Boolean).join(", ");
    point.append(title);
    this.svg.insertBefore(point, this.way ?? null);
    this.sounds.set(sound.key, { x, y, point });
  }

  remove(key) {
    this.sounds.get(key)?.point.remove();
    this.sounds.delete(key);
  }

  position([x, y]) {
    const place = (value, values, size) => {
      const low = Math.min(...values), high = Math.max(...values);
      const share = high > low ? (value - low) / (high - low) : 0.5;
      return Math.max(8, Math.min(size - 8, MARGIN + share * (size - 2 * MARGIN)));
    };
    return [place(x, this.xs, WIDTH), HEIGHT - place(y, this.ys, HEIGHT)];
  }

  /** Show A, B and how far the handle is. */
  show(a, b, share) {
    const from = this.sounds.get(a), to = this.sounds.get(b);
    for (const [{ ring, text }, place] of [[this.ends.a, from], [this.ends.b, to]]) {
      ring.toggleAttribute("hidden", !place);
      text.toggleAttribute("hidden", !place);
      if (!place) continue;
      ring.setAttribute("cx", place.x); ring.setAttribute("cy", place.y);
      text.setAttribute("x", place.x); text.setAttribute("y", place.y < 30 ? place.y + 26 : place.y - 14);
    }
    this.line = from && to && a !== b ? { from, to } : null;
    for (const part of [this.way, this.handle]) part.toggleAttribute("hidden", !this.line);
    if (!this.line) return;
    for (const [key, value] of Object.entries({ x1: from.x, y1: from.y, x2: to.x, y2: to.y })) this.way.setAttribute(key, value);
    this.handle.setAttribute("cx", from.x + share * (to.x - from.x));
    this.handle.setAttribute("cy", from.y + share * (to.y - from.y));
  }

  drag({ choose, move }) {
    const at = (event) => {
      const box = this.svg.getBoundingClientRect();
      return [((event.clientX - box.left) * WIDTH) / box.width, ((event.clientY - box.top) * HEIGHT) / box.height];
    };
    let dragging = false;
    this.handle.addEventListener("pointerdown", (event) => {
      dragging = true;
      this.handle.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    this.handle.addEventListener("pointermove", (event) => {
      if (!dragging || !this.line) return;
      const [x, y] = at(event), { from, to } = this.line;
      const dx = to.x - from.x, dy = to.y - from.y, square = dx * dx + dy * dy;
      const share = square ? ((x - from.x) * dx + (y - from.y) * dy) / square : 0;
      move(Math.max(0, Math.min(1, share)));
    });
    for (const kind of ["pointerup", "pointercancel"]) this.handle.addEventListener(kind, () => { dragging = false; });
    this.svg.addEventListener("click", (event) => {
      if (event.target === this.handle) return;
      const [x, y] = at(event);
      let nearest = null, distance = NEAR;
      for (const [key, place] of this.sounds) {
        const away = Math.hypot(place.x - x, place.y - y);
        if (away < distance) [nearest, distance] = [key, away];
      }
      if (nearest !== null) choose(nearest);
    });
  }
}
