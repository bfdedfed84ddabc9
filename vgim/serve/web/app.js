// The page: what is chosen, what is asked for, and what is shown of the answers.

import { columnsOf, drawSpectrogram, drawWave, loudestOf, spectra } from "./draw.js";
import { SoundMap } from "./map.js";
import { Sliders } from "./sliders.js";
import { readWav, record } from "./sound.js";

const $ = (id) => document.getElementById(id);
// By this number the playground finds the sounds of this page, and no other page can.
const page = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const sounds = new Map(); // by key, in the order of the lists
let limits, map = null, sliders;
let before = null, after = null; // { samples, rate, url } of what is heard

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the playground does not answer; is vgim serve still running?");
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let told = text;
  try { told = JSON.parse(text).error; } catch { /* plain text */ }
  throw new Error(told || `the playground answered ${answer.status}`);
}

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("failed", failed);
}

// Requests: the newest wish is asked for as soon as the answer before it is there.

let wanted = null, busy = false, reference = "";

const wish = () => ({
  a: $("a").value,
  b: $("b").value || null,
  share: Number($("share").value),
  moved: $("b").value && $("moved").value ? Number($("moved").value) : null,
  values: Object.fromEntries(sliders.values),
  add: sliders.add,
});

async function update({ play = true } = {}) {
  map?.show($("a").value, $("b").value, Number($("share").value));
  if (!$("a").value) return;
  if (!$("moved").checkValidity()) {
    say(`Dimensions that go: ${$("moved").validationMessage} There are ${$("moved").max}.`, true);
    return;
  }
  wanted = { wish: wish(), play };
  if (busy) return;
  busy = true;
  document.documentElement.setAttribute("aria-busy", "true");
  while (wanted) {
    const next = wanted;
    wanted = null;
    try {
      await answerTo(next);
    } catch (error) {
      say(error.message, true);
    }
  }
  busy = false;
  document.documentElement.removeAttribute("aria-busy");
}

const decode = (change) => ask(`api/decode?page=${page}`, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change),
});

async function answerTo({ wish: change, play }) {
  const began = performance.now();
  const answer = await decode(change);
  const moved = JSON.parse(answer.headers.get("X-Moved"));
  const wav = await answer.arrayBuffer();
  await showReference(change);
  after = heard($("after"), wav, after);
  $("download").href = after.url;
  $("download").hidden = false;
  draw();
  if (play && $("play").checked && !wanted) $("after").play().catch(() => {}); // before a first click browsers are silent
  $("after-text").textContent = describe(change);
  const which = moved.length ? ` Dimensions that go: ${moved.slice(0, 20).join(", ")}${moved.length > 20 ? " …" : ""}.` : "";
  say(`${secondsOf(after).toFixed(2)} s of sound in ${Math.round(performance.now() - began)} ms.${which}`);
}

/** What a change is, in words. */
function describe(change) {
  const parts = [];
  if (change.b) parts.push(`${Math.round(100 * change.share)} % of the way from A to B`);
  const number = Object.keys(change.values).length;
  if (number) parts.push(`${number} ${number === 1 ? "dimension" : "dimensions"} changed`);
  return parts.join(", ") || "sound A decoded";
}

/** Fetch what Before shows, unless it is there. */
async function showReference({ a }) {
  const key = `${a} ${$("reference").value}`;
  if (key === reference) return;
  const answer = $("reference").value === "original"
    ? await ask(`api/sound?page=${page}&key=${encodeURIComponent(a)}`)
    : await decode({ a });
  before = heard($("before"), await answer.arrayBuffer(), before);
  reference = key;
}

/** Give a WAV file to an audio element; the sound before it is forgotten. */
function heard(audio, wav, old) {
  const url = URL.createObjectURL(new Blob([wav], { type: "audio/wav" }));
  audio.src = url;
  if (old) URL.revokeObjectURL(old.url);
  return { ...readWav(wav), url };
}

function draw() {
  if (!before || !after) return;
  const loudest = Math.max(loudestOf(before.samples), loudestOf(after.samples));
  const seconds = Math.max(secondsOf(before), secondsOf(after));
  for (const [name, sound] of [["before", before], ["after", after]]) {
    const columns = Math.max(1, Math.round((columnsOf($("spectrogram-before")) * secondsOf(sound)) / seconds));
    if (sound.spectra?.columns !== columns) sound.spectra = spectra(sound, columns);
    drawWave($(`wave-${name}`), sound, loudest, seconds);
    drawSpectrogram($(`spectrogram-${name}`), sound, sound.spectra, before.spectra.loudest, seconds);
  }
}

const secondsOf = ({ samples, rate }) => samples.length / rate;

// Sounds: utterances of the shards, uploads, recordings.

function addSound(sound, first = false) {
  sounds.set(sound.key, sound);
  for (const list of [$("a"), $("b")]) {
    const option = document.createElement("option");
    option.value = sound.key;
    const about = [sound.speaker && `speaker ${sound.speaker}`, `${sound.seconds.toFixed(1)} s`].filter(Boolean).join(", ");
    const words = sound.transcript ? ` “${sound.transcript.slice(0, 60)}${sound.transcript.length > 60 ? "…" : ""}”` : "";
    option.textContent = `${sound.name} (${about})${words}`;
    if (first) list.insertBefore(option, list.options[list === $("b") ? 1 : 0] ?? null);
    else list.append(option);
  }
}

function dropSound(key) {
  sounds.delete(key);
  map?.remove(key);
  for (const list of [$("a"), $("b")]) [...list.options].find((option) => option.value === key)?.remove();
}

async function send(name, body) {
  say(`Sending ${name} …`);
  try {
    if ((body.byteLength ?? body.size) > limits.bytes) {
      throw new Error(`${name} is larger than ${limits.bytes / 2 ** 20} MiB; send less`);
    }
    const answer = await ask(`api/sounds?page=${page}&name=${encodeURIComponent(name)}`, { method: "POST", body });
    const sound = await answer.json();
    for (const key of sound.dropped) dropSound(key);
    addSound(sound, true);
    map?.add(sound);
    $("a").value = sound.key;
    await update();
    if (sound.note) say(`${name}: ${sound.note}.`);
  } catch (error) {
    say(error.message, true);
  }
}

$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  if (file) await send(file.name, file);
  $("file").value = ""; // so that the same file can be chosen again
});

let recording = null, recordings = 0;
$("record").addEventListener("click", async () => {
  if (recording) { recording.stop(); return; }
  $("record").disabled = true;
  try {
    recording = await record();
  } catch (error) {
    say(`No microphone: ${error.message}`, true);
    return;
  } finally {
    $("record").disabled = false;
  }
  $("record").setAttribute("aria-pressed", "true");
  const began = performance.now();
  const timer = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    $("record").textContent = `Stop (${seconds.toFixed(1)} s)`;
    if (seconds > limits.seconds - 1) recording.stop();
  }, 100);
  try {
    await send(`recording ${++recordings}`, await recording.wav);
  } catch (error) {
    say(`The recording cannot be read: ${error.message}`, true);
  } finally {
    clearInterval(timer);
    recording = null;
    $("record").textContent = "Record";
    $("record").setAttribute("aria-pressed", "false");
  }
});

// Controls.

function setShare(share) {
  $("share").value = share;
  $("share-value").textContent = `${Math.round(100 * share)} %`;
  $("share").setAttribute("aria-valuetext", `${Math.round(100 * share)} percent of the way`);
}

function enableWay() {
  for (const id of ["share", "moved"]) $(id).disabled = !$("b").value;
  if (!$("b").value) setShare(0);
}

$("a").addEventListener("change", () => update());
$("b").addEventListener("change", () => { enableWay(); update(); });
$("share").addEventListener("input", () => { setShare(Number($("share").value)); update(); });
$("moved").addEventListener("input", () => update());
$("reference").addEventListener("change", () => update({ play: false }));
$("reset").addEventListener("click", () => sliders.reset());
for (const radio of document.getElementsByName("mode")) {
  radio.addEventListener("change", () => sliders.setMode(radio.value === "add"));
}

// One sound at a time.
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new ResizeObserver(draw).observe($("listen"));

function choose(key) {
  const picked = document.querySelector('input[name="pick"]:checked').value;
  $(picked).value = key;
  if (picked === "a") document.querySelector('input[name="pick"][value="b"]').checked = true;
  enableWay();
  update();
}

function show(start) {
  limits = start.limits;
  document.title = `${start.run}: vgim playground`;
  $("run").textContent = start.run;
  const layer = start.layer === null ? "" : `, layer ${start.layer}`;
  $("setting").textContent =
    `${start.num_dimensions} dimensions of module ${start.module}${layer} (family ${start.family}, step ${start.encoder_step}), ` +
    `decoded by ${start.decoder} (step ${start.decoder_step}). ${start.source ? `Utterances: ${start.source}.` : ""}`;
  $("problem").textContent = start.problem;
  $("problem").hidden = !start.problem;
  $("limits").textContent =
    `At most ${limits.seconds} s and ${limits.bytes / 2 ** 20} MiB, in a format that libsndfile reads; ${limits.sounds} sounds are kept.`;
  const [first] = start.dimensions;
  if (first.std === null) {
    $("order").textContent = "In the order of their index. Values are in the latents' own unit, up to 3 to each side.";
  } else {
    const order = first.information === null
      ? "Those that vary most come first: standard deviation over frames."
      : "The most informative first: KL of the posterior from N(0, 1), in nats per frame.";
    $("order").textContent = `${order} Values are in the latents' own unit, up to 3 standard deviations to each side.`;
  }
  $("moved").max = start.num_dimensions;
  $("b").append(new Option("none", ""));
  for (const sound of start.utterances) addSound(sound);
  if (start.explained) {
    map = new SoundMap($("map"), $("speakers"), start.utterances, {
      choose, move: (share) => { setShare(share); update(); },
    });
    const [first, second] = start.explained.map((share) => `${Math.round(100 * share)} %`);
    $("map-note").textContent =
      `Principal components of the latents' means over time: ${first} of the variance across, ${second} up. Drag the handle from A to B.`;
    $("map-figure").hidden = false;
  }
  sliders = new Sliders($("sliders"), $("more"), start.dimensions, update);
  if (!navigator.mediaDevices?.getUserMedia) {
    $("record").disabled = true;
    $("record").title = "This browser gives no microphone to this page";
  }
  enableWay();
  if (sounds.size) update({ play: false });
  else say("Upload or record a sound to begin.");
}

try {
  show(await (await ask("api/start")).json());
} catch (error) {
  say(error.message, true);
}
