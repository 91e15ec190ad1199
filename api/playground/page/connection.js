/** The connection to the server: authorizes, connects, and connects again when the server is back. */

const RETRY = 1000; // ms
const REPLACED = 4001; // close code: the conversation was opened elsewhere. To take it back at once would never end.
const TIMED_OUT = 4002;
const NOT_RUNNING = "The server is not running. Start it with: uv run voice dev. This page connects again by itself.";

export class Connection {
  #socket = null;
  #attempt = 0;

  /** status: told "connecting", "connected", or "gone" with a sentence. message: told each message. wire: gives the
   * one to use. authorized: told whether another conversation was begun than the address has. */
  constructor({ status, message, wire, authorized }) {
    Object.assign(this, { status, message, wire, authorized });
  }

  get conversation() {
    return location.hash.slice(1) || null;
  }

  /** Hang up, and connect: to the conversation of the address, or to a new one. */
  async connect() {
    const attempt = this.hangUp();
    this.status("connecting");
    try {
      const asked = this.conversation;
      const session = await authorize(asked, this.wire());
      if (attempt !== this.#attempt) return;
      history.replaceState(null, "", `#${session.conversation_id}`);
      await this.authorized(asked !== null && asked !== session.conversation_id);
      if (attempt === this.#attempt) this.#open(session.client_session_key, attempt);
    } catch (error) {
      this.#again(attempt, error instanceof Refused ? error.message : null);
    }
  }

  hangUp() {
    this.#socket?.close();
    this.#socket = null;
    return ++this.#attempt;
  }

  /** Whether it could be sent. */
  send(message) {
    const open = this.#socket?.readyState === WebSocket.OPEN;
    if (open) this.#socket.send(JSON.stringify(message));
    return open;
  }

  #open(key, attempt) {
    const url = new URL("/layercode/v1/agents/web/websocket", location.href.replace(/^http/, "ws"));
    url.search = new URLSearchParams({ client_session_key: key, events: "playground" });
    url.hash = "";
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => {
      this.send({ type: "client.ready" });
      this.status("connected");
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.message(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      if (code !== REPLACED && code !== TIMED_OUT) this.#again(attempt, null);
      else if (attempt === this.#attempt) this.status("gone", `${reason} Press Reconnect to go on here.`);
    };
  }

  #again(attempt, sentence) {
    if (attempt !== this.#attempt) return;
    this.#socket = null;
    this.status("gone", sentence ?? NOT_RUNNING);
    setTimeout(() => attempt === this.#attempt && this.connect(), RETRY);
  }
}

/** The server answered, and said no: in a sentence. */
export class Refused extends Error {}

async function authorize(conversation, wire) {
  return post("/playground/authorize", conversation ? { conversation_id: conversation, wire } : { wire });
}

export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said.error ?? `The server answered ${answer.status}. Its terminal says more.`);
  return said;
}
