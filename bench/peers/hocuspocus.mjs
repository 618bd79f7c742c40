// Hocuspocus as its documentation sets it up, without extensions: documents in memory.
// GET /<document> answers with the text, so that nobody has to believe the clients.

import { Server } from "@hocuspocus/server";

const server = new Server({
  address: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
  quiet: true,
  stopOnSignals: false, // it would wait for documents that nobody unloads
  async beforeUnloadDocument() {
    throw null; // keeps it in memory: it is read when the clients are gone
  },
  async onRequest({ request, response, instance }) {
    const document = instance.documents.get(decodeURIComponent(request.url.slice(1)));
    response.writeHead(document ? 200 : 404, { "Content-Type": "text/plain; charset=utf-8" });
    response.end(document?.getText("text").toString());
    throw null; // what tells Hocuspocus that this request was answered
  },
});
await server.listen();
console.log(`ready ${server.address.port}`);
