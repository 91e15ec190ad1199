// A backend in another language, on the official node-server-sdk. It answers with what it was told before.
import http from "node:http";
import { streamResponse, verifySignature } from "@layercode/node-server-sdk";

const heard = [];

http
  .createServer(async (request, response) => {
    let payload = "";
    for await (const chunk of request.setEncoding("utf8")) payload += chunk;
    const signature = request.headers["layercode-signature"] ?? "";
    const signed = verifySignature({ payload, signature, secret: process.env.LAYERCODE_WEBHOOK_SECRET });
    if (!signed) return response.writeHead(401).end();
    const body = JSON.parse(payload);
    if (body.type === "session.end") return response.end("OK");
    const answer = streamResponse(body, async ({ stream }) => {
      stream.tts(body.type === "session.start" ? "Willkommen." : `Before that: ${heard.join(", ") || "nothing"}.`);
      if (body.text) heard.push(body.text);
      stream.end();
    });
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    for await (const chunk of answer.body) response.write(chunk);
    response.end();
  })
  .listen(0, "127.0.0.1", function () {
    console.log(this.address().port);
  });
