/** Speech out: the server's audio if it speaks, else the browser's own voice, sentence by sentence. */

const RATE = 16000; // samples a second of the server's audio: PCM16, little-endian, mono
const PAUSE = 400; // ms without a new word, after which what is there is spoken
const SENTENCE = /^[\s\S]*?[.!?…。！？]+["'”’)]*(?=\s)/;

export class Voice {
  #context = null;
  #playing = new Set();
  #until = 0;
  #unsaid = "";
  #timer = 0;

  constructor({ muted }) {
    this.muted = muted;
  }

  mute(muted) {
    this.muted = muted;
    if (muted) this.stop();
  }

  /** Words of an answer, as they come, for the browser's voice. */
  words(text) {
    if (this.muted || !globalThis.speechSynthesis) return;
    this.#unsaid += text;
    for (let found; (found = SENTENCE.exec(this.#unsaid)); ) {
      this.#unsaid = this.#unsaid.slice(found[0].length);
      say(found[0]);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#rest(), PAUSE);
  }

  #rest() {
    if (this.#unsaid.trim()) say(this.#unsaid);
    this.#unsaid = "";
  }

  /** A piece of the server's audio, base64, played after what came before it. */
  audio(content) {
    if (this.muted || !content || !globalThis.AudioContext) return;
    this.#context ??= new AudioContext();
    this.#context.resume();
    const source = this.#context.createBufferSource();
    source.buffer = decoded(this.#context, content);
    source.connect(this.#context.destination);
    source.onended = () => this.#playing.delete(source);
    this.#until = Math.max(this.#until, this.#context.currentTime);
    source.start(this.#until);
    this.#until += source.buffer.duration;
    this.#playing.add(source);
  }

  /** Silence, at once. */
  stop() {
    this.#unsaid = "";
    this.#until = 0;
    globalThis.speechSynthesis?.cancel();
    for (const source of this.#playing) source.stop();
    this.#playing.clear();
  }
}

function say(text) {
  speechSynthesis.speak(new SpeechSynthesisUtterance(text.trim()));
}

function decoded(context, content) {
  const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
  const samples = new DataView(bytes.buffer);
  const buffer = context.createBuffer(1, Math.max(1, bytes.length >> 1), RATE);
  const channel = buffer.getChannelData(0);
  for (let at = 0; at < bytes.length >> 1; at++) channel[at] = samples.getInt16(2 * at, true) / 32768;
  return buffer;
}
