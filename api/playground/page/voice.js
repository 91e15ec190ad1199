/** Speaks an answer with the browser's voice, sentence by sentence. */

const PAUSE = 400; // ms without a new word, after which what is there is spoken
const SENTENCE = /^[\s\S]*?[.!?…。！？]+["'”’)]*(?=\s)/;

export class Voice {
  #unsaid = "";
  #timer = 0;

  constructor({ muted }) {
    this.muted = muted;
  }

  mute(muted) {
    this.muted = muted;
    if (muted) this.stop();
  }

  /** Words of an answer, as they come. */
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

  /** Silence, at once. */
  stop() {
    this.#unsaid = "";
    globalThis.speechSynthesis?.cancel();
  }
}

function say(text) {
  speechSynthesis.speak(new SpeechSynthesisUtterance(text.trim()));
}
