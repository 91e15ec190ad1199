/** Speech in: the microphone for a server that hears, else the browser's own recognition, if it has one. */

const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
const REFUSED = "The microphone is not allowed. Allow it in the browser’s address bar, or type: typing always works.";
const MISSING = "No microphone was found. Typing always works.";
const INSECURE = "The browser gives the microphone to https and localhost only. Typing always works.";
const OFFLINE = "The browser’s speech recognition cannot be reached. Typing always works.";
const CANNOT = "This browser cannot recognise speech, and the server has no ears of its own. Typing always works.";

const FAILED = { "not-allowed": REFUSED, "audio-capture": MISSING, network: OFFLINE, "service-not-allowed": OFFLINE };

/**
 * Begin to listen. The answer's `stop()` ends it; `ended` is told when it is over, with a sentence if it failed.
 * server: whether the server hears. chunk: told base64 PCM16 at 8 kHz. words: told what was understood so far.
 */
export async function listen({ server, chunk, words, ended }) {
  if (server) return record(chunk, ended);
  if (Recognition) return recognise(words, ended);
  throw new Error(CANNOT);
}

async function record(chunk, ended) {
  const stream = await microphone();
  const context = new AudioContext();
  await context.audioWorklet.addModule("capture.js");
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  capture.port.onmessage = ({ data }) => chunk(btoa(String.fromCharCode(...new Uint8Array(data))));
  context.createMediaStreamSource(stream).connect(capture);
  return {
    stop() {
      capture.port.onmessage = null;
      for (const track of stream.getTracks()) track.stop();
      context.close();
      ended();
    },
  };
}

async function microphone() {
  if (!navigator.mediaDevices) throw new Error(INSECURE);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? REFUSED : MISSING, { cause: error });
  }
}

function recognise(words, ended) {
  const hearing = new Recognition();
  let failed;
  Object.assign(hearing, { lang: navigator.language, interimResults: true });
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
  button.addEventListener("click", (event) => event.detail === 0 && press());
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
