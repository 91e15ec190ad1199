/** Speech recognition by the browser, and the push-to-talk button. */

const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
const REFUSED = "The microphone is not allowed. Allow it in the browser’s address bar, or type: typing always works.";
const MISSING = "No microphone was found. Typing always works.";
const OFFLINE = "The browser’s speech recognition cannot be reached. Typing always works.";
const CANNOT = "This browser cannot recognise speech. Typing always works.";

const FAILED = { "not-allowed": REFUSED, "audio-capture": MISSING, network: OFFLINE, "service-not-allowed": OFFLINE };

/** Why speech cannot be recognised, in a sentence; empty if it can. */
export function recognitionProblem() {
  return Recognition ? "" : CANNOT;
}

/**
 * Begin to listen; `stop()` of the result ends it. begun: called when the microphone is open. words: called with what
 * has been recognised so far. ended: called at the end, with a sentence if it failed.
 */
export function listen({ begun, words, ended }) {
  const recognition = new Recognition();
  let failed;
  Object.assign(recognition, { lang: navigator.language, interimResults: true, onstart: begun });
  recognition.onresult = ({ results }) => words([...results].map((result) => result[0].transcript).join(" "));
  recognition.onerror = ({ error }) => {
    failed = FAILED[error];
  };
  recognition.onend = () => ended(failed);
  recognition.start();
  return recognition;
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
