/** Speech in: the browser's own recognition, if it has one. */

const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
const REFUSED = "The microphone is not allowed. Allow it in the browser’s address bar, or type: typing always works.";
const MISSING = "No microphone was found. Typing always works.";
const OFFLINE = "The browser’s speech recognition cannot be reached. Typing always works.";
const CANNOT = "This browser cannot recognise speech. Typing always works.";

const FAILED = { "not-allowed": REFUSED, "audio-capture": MISSING, network: OFFLINE, "service-not-allowed": OFFLINE };

/** Why nobody can listen, in a sentence; nothing if the browser can. */
export function deaf() {
  return Recognition ? "" : CANNOT;
}

/**
 * Begin to listen. The answer's `stop()` ends it. begun: called when the microphone is ours. words: told what was
 * understood so far. ended: told when it is over, with a sentence if it failed.
 */
export function listen({ begun, words, ended }) {
  const hearing = new Recognition();
  let failed;
  Object.assign(hearing, { lang: navigator.language, interimResults: true, onstart: begun });
  hearing.onresult = ({ results }) => words([...results].map((result) => result[0].transcript).join(" "));
  hearing.onerror = ({ error }) => {
    failed = FAILED[error];
  };
  hearing.onend = () => ended(failed);
  hearing.start();
  return hearing;
}

/** Press and hold, or click to begin and to end; the space bar does the same outside text fields and buttons. */
export function pressToTalk(button, { begin, end, active }) {
  let since = 0;
  const press = () => {
    since = active() ? 0 : Date.now();
    (since ? begin : end)();
  };
  const release = () => {
    if (since && Date.now() - since > 400) end();
    since = 0;
  };
  const free = (target) => target === button || !target.closest("input, button, dialog");
  const ours = (event) => event.code === "Space" && free(event.target);
  button.addEventListener("pointerdown", (event) => event.button === 0 && press());
  addEventListener("pointerup", release);
  addEventListener("pointercancel", release);
  button.addEventListener("click", (event) => {
    if (event.detail !== 0) return; // a pointer's, which has pressed already
    press();
    since = 0; // nothing is held
  });
  addEventListener("keydown", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  addEventListener("keyup", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    release();
  });
}
