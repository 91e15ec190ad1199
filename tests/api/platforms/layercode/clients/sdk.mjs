// The official js-sdk, driven by lines on stdin; what it calls back is a line of JSON on stdout.
// node sdk.mjs SERVER [CONVERSATION], beside a node_modules.
import readline from "node:readline";
import WebSocket from "ws";

globalThis.WebSocket = WebSocket;
for (const level of ["log", "info", "debug", "warn", "error"]) console[level] = () => {}; // it tells a lot
const { default: LayercodeClient } = await import("@layercode/js-sdk");
const out = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const [server, conversationId] = process.argv.slice(2);
const client = new LayercodeClient({
  agentId: "ag-123456",
  conversationId,
  authorizeSessionEndpoint: `${server}/api/authorize`,
  audioInput: false,
  audioOutput: false,
  onConnect: ({ conversationId }) => out({ type: "connected", conversationId }),
  onDisconnect: () => out({ type: "disconnected" }),
  onError: (error) => out({ type: "error", error: String(error) }),
  onMessage: out,
  onDataMessage: out,
});
client._websocketUrl = `${server.replace("http", "ws")}/layercode/v1/agents/web/websocket`;
await client.connect();

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { text, data } = JSON.parse(line);
  if (text !== undefined) await client.sendClientResponseText(text);
  else if (data !== undefined) await client.sendClientResponseData(data);
}
await client.disconnect();
process.exit(0);
