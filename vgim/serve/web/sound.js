// WAV files read and written, and recordings from the microphone.

/** Samples in [-1, 1] and sample rate of the mono PCM16 WAV files that the playground sends. */
export function readWav(buffer) {
  const view = new DataView(buffer);
  const rate = view.getUint32(24, true);
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (view.getUint32(at) === 0x64617461) { // "data"
      const samples = new Float32Array(size / 2);
      for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(at + 8 + 2 * i, true) / 32768;
      return { samples, rate };
    }
    at += 8 + size + (size % 2);
  }
  throw new Error("the playground sent no WAV file");
}

/** A mono PCM16 WAV file of samples in [-1, 1]. */
export function writeWav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((mark, i) => view.setUint8(at + i, mark.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => {
    view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true);
  });
  return view.buffer;
}

/** Start to record. `stop()` of the result ends it; `wav` is a promise of the recording as a WAV file. */
export async function record() {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const wav = new Promise((done, failed) => {
    recorder.addEventListener("stop", async () => {
      for (const track of stream.getTracks()) track.stop();
      const context = new AudioContext();
      try {
        const sound = await context.decodeAudioData(await new Blob(parts, { type: recorder.mimeType }).arrayBuffer());
        const mono = new Float32Array(sound.length);
        for (let channel = 0; channel < sound.numberOfChannels; channel++) {
          sound.getChannelData(channel).forEach((value, i) => { mono[i] += value / sound.numberOfChannels; });
        }
        done(writeWav(mono, sound.sampleRate));
      } catch (error) {
        failed(error);
      } finally {
        context.close();
      }
    });
  });
  recorder.start();
  return { wav, stop: () => { if (recorder.state !== "inactive") recorder.stop(); } };
}
