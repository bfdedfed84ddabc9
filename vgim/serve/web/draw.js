// Waveforms and spectrograms on canvases, in the colors of the page.

const POINTS = 512; // window of the FFT: 32 ms at 16 kHz
const RANGE_DB = 80;
const LEFT = 46, BOTTOM = 20, TOP = 6, RIGHT = 6; // room for axes, in CSS pixels

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/** Red, green and blue of a color of the page, whatever its notation. */
function rgb(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.fillStyle = getComputedStyle(probe).color;
  probe.remove();
  canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
}

/** A canvas with one unit for a CSS pixel, emptied; and its size in these units. */
function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = `12px ${style("--sans")}`;
  return { context, width, height, ratio };
}

const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/** Steps of 1, 2 or 5 times a power of ten, at most `most` of them up to `end`. */
function stepFor(end, most) {
  for (let power = 10 ** Math.floor(Math.log10(end / most)); ; power *= 10) {
    for (const factor of [1, 2, 5]) if (end / (factor * power) <= most) return factor * power;
  }
}

/**
 * The waveform: for each pixel the span of its samples.
 *
 * @param {number} loudest sample that reaches the edge
 * @param {number} seconds that the canvas is wide, so that two sounds can be compared
 */
export function drawWave(canvas, { samples, rate }, loudest, seconds) {
  const { context, width, height } = prepare(canvas);
  const scale = (height / 2 - 2) / Math.max(loudest, 1e-4), middle = height / 2;
  context.fillStyle = css(rgb("--faint"));
  context.fillRect(LEFT, middle, width - LEFT - RIGHT, 1);
  context.fillStyle = css(rgb("--c0"));
  const columns = Math.max(1, Math.floor(((width - LEFT - RIGHT) * samples.length) / rate / seconds));
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column * samples.length) / columns);
    const to = Math.max(from + 1, Math.floor(((column + 1) * samples.length) / columns));
    let low = Infinity, high = -Infinity;
    for (let i = from; i < to; i++) { low = Math.min(low, samples[i]); high = Math.max(high, samples[i]); }
    context.fillRect(LEFT + column, middle - high * scale, 1, Math.max(1, (high - low) * scale));
  }
  canvas.setAttribute("aria-label", `waveform, ${(samples.length / rate).toFixed(2)} seconds, peak ${loudestOf(samples).toFixed(2)}`);
}

export function loudestOf(samples) {
  let loudest = 0;
  for (const value of samples) loudest = Math.max(loudest, Math.abs(value));
  return loudest;
}

/** Levels in dB of short-time spectra: `columns` frames, spread over the sound, of POINTS / 2 + 1 frequencies. */
export function spectra({ samples }, columns) {
  const bins = POINTS / 2 + 1;
  const levels = new Float32Array(columns * bins);
  const real = new Float64Array(POINTS), imaginary = new Float64Array(POINTS);
  let loudest = -Infinity;
  for (let column = 0; column < columns; column++) {
    const center = Math.round(((column + 0.5) * samples.length) / columns);
    for (let i = 0; i < POINTS; i++) {
      const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / POINTS);
      real[i] = (samples[center - POINTS / 2 + i] ?? 0) * hann;
      imaginary[i] = 0;
    }
    fft(real, imaginary);
    for (let bin = 0; bin < bins; bin++) {
      const level = 10 * Math.log10(Math.max(1e-14, real[bin] ** 2 + imaginary[bin] ** 2));
      levels[column * bins + bin] = level;
      loudest = Math.max(loudest, level);
    }
  }
  return { levels, columns, bins, loudest };
}

/** The number of spectra that fill a canvas. */
export const columnsOf = (canvas) => Math.max(1, Math.min(600, Math.floor(canvas.clientWidth - LEFT - RIGHT)));

/**
 * Spectra as an image, loud points in the color of ink, with axes in Hz and seconds.
 *
 * @param {number} loudest level in dB that has the color of ink
 * @param {number} seconds that the canvas is wide
 */
export function drawSpectrogram(canvas, sound, { levels, columns, bins }, loudest, seconds) {
  const { context, width, height, ratio } = prepare(canvas);
  const paper = rgb("--sheet"), ink = rgb("--ink"), soft = css(rgb("--soft"));
  const image = new ImageData(columns, bins);
  for (let column = 0; column < columns; column++) {
    for (let bin = 0; bin < bins; bin++) {
      const shade = Math.max(0, Math.min(1, 1 + (levels[column * bins + bin] - loudest) / RANGE_DB));
      const at = 4 * ((bins - 1 - bin) * columns + column);
      for (let c = 0; c < 3; c++) image.data[at + c] = paper[c] + shade * (ink[c] - paper[c]);
      image.data[at + 3] = 255;
    }
  }
  const picture = document.createElement("canvas");
  picture.width = columns;
  picture.height = bins;
  picture.getContext("2d").putImageData(image, 0, 0);
  const right = width - RIGHT, bottom = height - BOTTOM;
  context.imageSmoothingEnabled = ratio * (bottom - TOP) < bins;
  const own = sound.samples.length / sound.rate;
  context.drawImage(picture, LEFT, TOP, ((right - LEFT) * own) / seconds, bottom - TOP);
  context.fillStyle = context.strokeStyle = soft;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const nyquist = sound.rate / 2, step = height > 150 ? 2000 : 4000;
  for (let hz = 0; hz <= nyquist; hz += step) {
    const y = bottom - ((bottom - TOP) * hz) / nyquist;
    context.fillRect(LEFT - 4, y, 4, 1);
    context.fillText(hz ? `${hz / 1000} kHz` : "0 Hz", LEFT - 6, y);
  }
  const every = stepFor(seconds, Math.max(2, (right - LEFT) / 80));
  context.textBaseline = "alphabetic";
  for (let tick = 0; tick * every <= seconds; tick++) {
    const second = tick * every, x = LEFT + ((right - LEFT) * second) / seconds;
    context.textAlign = x > right - 20 ? "right" : "center";
    context.fillRect(Math.min(x, right - 1), bottom, 1, 4);
    context.fillText(`${Number(second.toPrecision(4))} s`, x, bottom + 16);
  }
  canvas.setAttribute("aria-label", `spectrogram, 0 to ${nyquist} Hz, 0 to ${own.toFixed(2)} seconds`);
}

/** The discrete Fourier transform in place, of a length that is a power of two. */
function fft(real, imaginary) {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const turn = (-2 * Math.PI * k) / size, c = Math.cos(turn), s = Math.sin(turn);
      for (let at = k; at < n; at += size) {
        const other = at + half;
        const x = real[other] * c - imaginary[other] * s, y = real[other] * s + imaginary[other] * c;
        real[other] = real[at] - x; imaginary[other] = imaginary[at] - y;
        real[at] += x; imaginary[at] += y;
      }
    }
  }
}
