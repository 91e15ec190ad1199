/** Save as test: the conversation becomes a run file. */

import { $, el } from "./dom.js";
import { post, Refused } from "./connection.js";

let conversation = null;

export function openSaving(of) {
  conversation = of;
  $("#saved").replaceChildren();
  $("#saving").showModal();
  $("#name").focus();
}

async function save(event) {
  event.preventDefault();
  try {
    const { file, differs } = await post("/playground/save", { conversation_id: conversation, name: $("#name").value });
    $("#saved").replaceChildren(...saved(file, differs));
  } catch (error) {
    const sentence = error instanceof Refused ? error.message : "The server is not running, so nothing was saved.";
    $("#saved").replaceChildren(el("p.error", sentence));
  }
}

function saved(file, differs) {
  const turns = differs.join(", ");
  const note = turns ? `Turn ${turns} does not replay as it went: the command says where.` : "It replays as it went.";
  const command = el("code", `uv run voice replay ${file}`);
  return [el("p", "Saved: ", el("code", file), ". ", note), el("p", "Replay it: ", command)];
}

$("#saving form").addEventListener("submit", save);
$("#close").addEventListener("click", () => $("#saving").close());
