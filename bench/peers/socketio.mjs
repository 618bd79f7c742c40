// socket.io as it is measured: node socketio.mjs '<options as JSON>'.
// The same few events as bench/engine/application.py.
import { createServer } from "node:http";
import { Server } from "socket.io";

const BACKLOG = 4096;
const options = { compression: false, ping_interval: 25, ...JSON.parse(process.argv[2] ?? "{}") };

// Without context takeover, as the other side does it: with its default socket.io compresses the
// small packets too, and needs about twice the CPU time for the large ones.
const deflate = { threshold: 1024, serverNoContextTakeover: true };

const http = createServer();
const io = new Server(http, {
  pingInterval: options.ping_interval * 1000,
  perMessageDeflate: options.compression && deflate,
});
let clients = 0;

io.on("connection", (socket) => {
  clients += 1;
  socket.on("disconnect", () => {
    clients -= 1;
  });
  socket.on("join", (rooms, answer) => {
    socket.join(rooms);
    answer(rooms.length);
  });
  socket.on("broadcast", (message) => {
    io.to("all").emit("event", message);
  });
  socket.on("echo", (message, answer) => answer(message));
  socket.on("count", (answer) => answer(clients));
  socket.on("members", (answer) => answer(io.sockets.adapter.rooms.get("all")?.size ?? 0));
});

http.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG }, () => {
  console.log(`ready ${http.address().port}`);
});
