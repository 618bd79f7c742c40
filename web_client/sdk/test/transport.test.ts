import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { RealtimeClient } from "../src/index.js";
import { type Connection, type ConnectionListener, connectSocket } from "../src/transport.js";
import { until } from "./server.js";

const OPEN = `0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`;
const DEFLATE = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
const LONG = "x".repeat(2_000);
const IGNORING: ConnectionListener = { received: () => undefined, lost: () => undefined };

/** A server that takes WebSockets and writes down what it is offered and sent. */
class RawServer {
  readonly offers: (string | undefined)[] = [];
  readonly frames: Buffer[] = [];
  private readonly server: Server;
  private readonly sockets: Socket[] = [];

  constructor() {
    this.server = createServer((_request, response) => response.writeHead(404).end());
    this.server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
      this.sockets.push(socket);
      this.accept(request, socket);
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private accept(request: IncomingMessage, socket: Socket): void {
    const offer = request.headers["sec-websocket-extensions"];
    this.offers.push(offer);
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const head = [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${createHash("sha1").update(key).digest("base64")}`,
      ...(offer === undefined ? [] : [`Sec-WebSocket-Extensions: ${DEFLATE}`]),
    ];
    socket.write(`${head.join("\r\n")}\r\n\r\n`);
    socket.write(Buffer.concat([Buffer.from([0x81, OPEN.length]), Buffer.from(OPEN)]));
    socket.on("data", (data: Buffer) => this.frames.push(data));
    socket.on("error", () => undefined);
  }
}

describe("compression", () => {
  const servers: RawServer[] = [];
  const connections: Connection[] = [];

  afterEach(() => {
    for (const connection of connections.splice(0)) connection.close();
    for (const server of servers.splice(0)) server.close();
  });

  /** Connect, and return the frame that joins the namespace "/" with `token`. */
  async function joining(token: string, compression?: boolean): Promise<[RawServer, Buffer]> {
    const server = new RawServer();
    servers.push(server);
    const connection = await connectSocket(await server.listen(), IGNORING, compression);
    connections.push(connection);
    connection.join("/", token).catch(() => undefined);
    await until(() => server.frames.length === 1);
    return [server, server.frames[0] as Buffer];
  }

  test("is not offered unless it is asked for", async () => {
    const [server, frame] = await joining(LONG);
    expect(server.offers).toEqual([undefined]);
    expect(frame[0]).toBe(0x81);
    expect(frame.length).toBeGreaterThan(LONG.length);
  });

  test("compresses long frames", async () => {
    const [server, frame] = await joining(LONG, true);
    expect(server.offers).toEqual([expect.stringMatching(/^permessage-deflate\b/)]);
    expect(frame[0]).toBe(0xc1); // RFC 7692, section 6: RSV1 says that it is compressed
    expect(frame.length).toBeLessThan(200);
  });

  test("sends short frames as they are", async () => {
    const [, frame] = await joining("short", true);
    expect(frame[0]).toBe(0x81);
  });

  test.each([true, false])("is an option of the client: %s", async (compression) => {
    const server = new RawServer();
    servers.push(server);
    const url = await server.listen();
    const client = new RealtimeClient({ url, auth: { token: "t" }, compression });
    client.connect().catch(() => undefined);
    await until(() => server.offers.length === 1);
    expect(server.offers[0] !== undefined).toBe(compression);
    await client.close();
  });
});
