/** The microphone's samples as PCM16 at 8 kHz, 100 ms at a time. Runs in the audio thread. */

const RATE = 8000;

class Capture extends AudioWorkletProcessor {
  #chunk = new Int16Array(RATE / 10);
  #filled = 0;
  #sum = 0;
  #count = 0;
  #phase = 0;

  /** Each new sample is the mean of those it stands for, which also dampens what 8 kHz cannot carry. */
  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.#sum += sample;
      this.#count += 1;
      this.#phase += RATE / sampleRate;
      if (this.#phase < 1) continue;
      this.#put(this.#sum / this.#count);
      this.#phase -= 1;
      this.#sum = this.#count = 0;
    }
    return true;
  }

  #put(sample) {
    this.#chunk[this.#filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
    if (this.#filled < this.#chunk.length) return;
    this.port.postMessage(this.#chunk.buffer.slice(0));
    this.#filled = 0;
  }
}

registerProcessor("capture", Capture);
