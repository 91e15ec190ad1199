/** The playground's page: shows and speaks the server's messages, and sends what the user does to the server. */

import { Connection } from "./connection.js";
import { $, el } from "./dom.js";
import { show } from "./panels.js";
import { listen, pressToTalk, recognitionProblem } from "./recognition.js";
import { openSaving } from "./saving.js";
import { Transcript } from "./transcript.js";
import { Voice } from "./voice.js";

const TRIES = [
  ["clock", "What time is it in Tokyo?"],
  ["weather", "What’s the weather in Paris?"],
  ["book_table", "A table for four at 19:00, please"],
  ["lookup", "Tell me about Ada Lovelace"],
];
const POLL = 1000; // ms between looks at what goes on inside
const SOON = 300; // ms after an event
const KEYS = "123456789*0#";
const KEY_PAUSE = 1000; // ms without another key, after which those that were pressed are sent
const NO_CONNECTION = "There is no connection to the server.";
const LONGEST = 100_000; // characters, for the server too
const TOO_LONG = `It is longer than ${LONGEST.toLocaleString("en")} characters: shorten it.`;

const transcript = new Transcript($("#log"), $("#scroll"));
const voice = new Voice({ muted: localStorage.getItem("muted") === "true" });
const wire = () => $("#wire").value;
const connection = new Connection({ status: showConnection, message: receive, wire, authorized: arrive });
let connected = false;
let state = {};
let listening = null;
let poll = 0;
let pressed = ""; // keys that are not sent yet
let keyPause = 0;
let due = Infinity; // when the next look is

// Messages from the server.

const RECEIVE = {
  "turn.start": ({ role }) => role === "user" && voice.stop(),
  "user.transcript.interim_delta": ({ turn_id, content }) => transcript.caller(turn_id, content, false),
  "user.transcript.delta": ({ turn_id, content }) => transcript.caller(turn_id, content, false),
  "user.transcript": ({ turn_id, content }) => transcript.caller(turn_id, content, true),
  "response.text": ({ turn_id, content }) => {
    transcript.words(turn_id, content);
    voice.words(content);
  },
  "response.data": ({ turn_id, content }) =>
    content?.call_id && content.status ? transcript.tool(turn_id, content) : transcript.shown(turn_id, content),
  "response.end": ({ turn_id }) => transcript.ended(turn_id),
  "playground.heard": ({ turn_id, ...how }) => {
    voice.stop();
    transcript.heard(turn_id, how);
  },
  "playground.error": ({ error }) => transcript.note(error, "error"),
  "playground.control": (control) => transcript.note(became(control)),
  "playground.duplicated": ({ status, same }) => {
    const once = state.own ? ", and nothing ran twice" : ""; // another backend may well do it again, and say the same
    const answer = same ? `the same answer came${once}` : `another answer came, with status ${status}`;
    transcript.note(`The last webhook was sent once more: ${answer}.`, same ? "note" : "error");
  },
};

function receive(message) {
  RECEIVE[message.type]?.(message);
  showWelcome();
  look(SOON);
}

// The connection, and the state of the agent.

function showConnection(is, sentence = "") {
  connected = is === "connected";
  const tried = is === "connecting" && $("#connection").dataset.is === "gone";
  if (!tried) {
    $("#connection").dataset.is = is;
    $("#connection").textContent = { connecting: "Connecting …", connected: "Connected", gone: "Not connected" }[is];
    if ($("#gone").textContent !== sentence) $("#gone").textContent = sentence;
  }
  if (is === "gone") {
    stopAll();
    transcript.endAll();
  }
  if (connected) look(0);
}

/** What the agent does with the call. */
function became({ action, value }) {
  const said = { hang_up: "The agent hangs up.", transfer: `The agent transfers the call to ${value}.` };
  const keys = `The agent presses the keys ${value}.`;
  return said[action] ?? (action === "send_dtmf" ? keys : "The call is over. Reconnect calls again.");
}

async function arrive(isAnother) {
  if (isAnother) transcript.note("That call cannot be taken up again, so another one begins.");
  await refresh();
  if (transcript.empty && state.memory) transcript.restore(state.memory);
  showWelcome();
}

async function refresh() {
  const answer = await fetch(`/playground/state?conversation_id=${encodeURIComponent(connection.conversation)}`);
  if (!answer.ok) throw new Error(`state: ${answer.status}`);
  state = await answer.json();
  show(state);
  $("#keys").hidden = !state.keys?.includes(wire());
  transcript.learn(state.turns ?? []);
  showWelcome();
}

/** Look again in `ms` at the latest, and then once a second, while the page is seen and the server is there. */
function look(ms) {
  if (Date.now() + ms >= due) return;
  clearTimeout(poll);
  due = Date.now() + ms;
  poll = setTimeout(async () => {
    due = Infinity;
    if (!connected) return;
    if (!document.hidden) await refresh().catch(() => {});
    look(POLL);
  }, ms);
}

function showWelcome() {
  $("#welcome").hidden = !transcript.empty;
  const names = state.tools?.map(({ name }) => name) ?? [];
  const tries = TRIES.filter(([name]) => names.includes(name)).map(([, text]) => text);
  if ($("#tries").textContent === tries.join("")) return;
  $("#tries").replaceChildren(...tries.map((text) => el("button", { type: "button" }, text)));
}

// Controls.

function say(text) {
  const sent = text.length <= LONGEST && connection.send({ type: "client.response.text", content: text });
  if (sent) voice.stop();
  else hint(`That was not sent. ${text.length > LONGEST ? TOO_LONG : NO_CONNECTION}`);
  return sent;
}

function press(key) {
  clearTimeout(keyPause);
  pressed += key;
  hint(`Keys: ${[...pressed].join(" ")}`);
  if (key === "#") sendKeys();
  else keyPause = setTimeout(sendKeys, KEY_PAUSE);
}

function sendKeys() {
  const sent = connection.send({ type: "playground.keys", digits: pressed });
  forgetKeys();
  if (sent) voice.stop();
  hint(sent ? "" : `That was not sent. ${NO_CONNECTION}`);
}

function forgetKeys() {
  clearTimeout(keyPause);
  pressed = "";
}

function interrupt() {
  cancelAll();
  bargeIn();
}

/** A barge-in without words. */
function bargeIn() {
  connection.send({ type: "trigger.turn.start", role: "user" });
  connection.send({ type: "trigger.turn.end", role: "user" });
}

function stopAll() {
  voice.stop();
  listening?.stop();
}

/** Stops, and discards what has been dictated so far. */
function cancelAll() {
  if (listening) listening.cancelled = true;
  stopAll();
}

/** Interrupts as soon as the microphone is open, before a word is recognised. */
function beginListening() {
  const reason = connected ? recognitionProblem() : NO_CONNECTION;
  if (reason) return hint(reason);
  const now = (listening = { understood: "", stopped: false, cancelled: false });
  showListening(true);
  try {
    const recognition = listen({
      begun: () => begun(now),
      words: (text) => hint((now.understood = text)),
      ended: (failed) => endListening(now, failed),
    });
    now.stop = () => {
      now.stopped = true;
      recognition.stop();
    };
  } catch (error) {
    endListening(now, error.message);
  }
}

function begun(now) {
  if (now.stopped) return;
  voice.stop();
  bargeIn();
}

function endListening({ understood, cancelled }, failed) {
  listening = null;
  showListening(false);
  hint(failed);
  const words = cancelled ? "" : understood.trim();
  if (words && !say(words)) $("#text").value = words;
}

function showListening(on) {
  $("#talk").setAttribute("aria-pressed", on);
  if (on) hint("Listening …");
}

function hint(text) {
  $("#hint").textContent = text || "Hold the button or the space bar and talk, or click to begin and end. Esc interrupts.";
}

function showSound() {
  $("#sound").textContent = voice.muted ? "Sound off" : "Sound on";
}

/** Ends what is being said, and connects again. The server records what was heard of an answer. */
function reconnect() {
  stopAll();
  transcript.endAll();
  connection.connect();
}

function showWire() {
  $("#duplicate").disabled = wire() !== "layercode";
}

function startNew() {
  cancelAll();
  forgetKeys();
  history.replaceState(null, "", location.pathname);
  transcript.clear();
  connection.connect();
  $("#text").focus();
}

pressToTalk($("#talk"), { begin: beginListening, end: () => listening?.stop(), active: () => listening !== null });
$("#composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#text").value.trim();
  if (text && say(text)) $("#text").value = "";
});
$("#tries").addEventListener("click", ({ target }) => {
  if (target.matches("button") && say(target.textContent)) $("#text").focus();
});
$("#keys").append(...[...KEYS].map((key) => el("button", { type: "button" }, key)));
$("#keys").addEventListener("click", ({ target }) => target.matches("button") && press(target.textContent));
$("#interrupt").addEventListener("click", interrupt);
$("#reconnect").addEventListener("click", reconnect);
$("#new").addEventListener("click", startNew);
$("#wire").addEventListener("change", () => {
  sessionStorage.setItem("wire", wire());
  showWire();
  startNew();
});
$("#duplicate").addEventListener("click", () => connection.send({ type: "playground.duplicate" }) || hint(NO_CONNECTION));
$("#save").addEventListener("click", () => openSaving(connection.conversation));
$("#sound").addEventListener("click", () => {
  voice.mute(!voice.muted);
  localStorage.setItem("muted", voice.muted);
  showSound();
});
addEventListener("keydown", (event) => event.key === "Escape" && !$("#saving").open && interrupt());
document.addEventListener("visibilitychange", () => !document.hidden && look(0));

$("#wire").value = sessionStorage.getItem("wire") ?? "layercode";
showWire();
showSound();
hint();
connection.connect();
