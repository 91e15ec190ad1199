/** Speech in: the microphone for a server that hears, else the browser's own recognition, if it has one. */

const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
const REFUSED = "The microphone is not allowed. Allow it in the browser’s address bar, or type: typing always works.";
const MISSING = "No microphone was found. Typing always works.";
const BUSY = "The microphone could not be opened: maybe another program holds it. Typing always works.";
const NO_SOUND = "The browser could not take up the microphone’s sound. Reload the page and try again, or type.";
const INSECURE = "The browser gives the microphone to https and localhost only. Typing always works.";
const OFFLINE = "The browser’s speech recognition cannot be reached. Typing always works.";
const CANNOT = "This browser cannot recognise speech, and the server has no ears of its own. Typing always works.";

const REASONS = { NotAllowedError: REFUSED, NotFoundError: MISSING };
const FAILED = { "not-allowed": REFUSED, "audio-capture": MISSING, network: OFFLINE, "service-not-allowed": OFFLINE };

/** Why nobody can listen, in a sentence; nothing if somebody can. server: whether the server hears. */
export function deaf(server) {
  if (server) return navigator.mediaDevices ? "" : INSECURE;
  return Recognition ? "" : CANNOT;
}

/**
 * Begin to listen. The answer's `stop()` ends it; `ended` is told when it is over, with a sentence if it failed.
 * begun: told when the microphone is ours. chunk: told base64 PCM16 at 8 kHz. words: told what was understood so far.
 */
export async function listen({ server, begun, chunk, words, ended }) {
  return server ? record(begun, chunk, ended) : recognise(begun, words, ended);
}

async function record(begun, chunk, ended) {
  const stream = await microphone();
  begun();
  let context;
  let capture;
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    context?.close();
  };
  try {
    context = new AudioContext();
    await context.audioWorklet.addModule("capture.js");
    capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(capture);
  } catch (error) {
    close();
    throw new Error(NO_SOUND, { cause: error });
  }
  capture.port.onmessage = ({ data }) => chunk(btoa(String.fromCharCode(...new Uint8Array(data))));
  return {
    stop() {
      capture.port.onmessage = null;
      close();
      ended();
    },
  };
}

async function microphone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true } });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? BUSY, { cause: error });
  }
}

function recognise(begun, words, ended) {
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
