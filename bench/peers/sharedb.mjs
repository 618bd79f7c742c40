// ShareDB as its README sets it up: documents in memory, the recommended stream on ws.
// GET /<document> answers with the text, so that nobody has to believe the clients.

import http from "node:http";
import WebSocketJSONStream from "@teamwork/websocket-json-stream";
import { type } from "ot-text-unicode";
import ShareDB from "sharedb";
import { WebSocketServer } from "ws";

ShareDB.types.register(type);
const backend = new ShareDB();
const reader = backend.connect();

const server = http.createServer((request, response) => {
  const doc = reader.get("texts", decodeURIComponent(request.url.slice(1)));
  doc.fetch((error) => {
    response.writeHead(error ? 500 : 200, { "Content-Type": "text/plain; charset=utf-8" });
    response.end(error ? String(error) : doc.data);
  });
});
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => backend.listen(new WebSocketJSONStream(socket)));
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  console.log(`ready ${server.address().port}`);
});
