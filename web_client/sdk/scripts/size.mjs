// Fails when the client, bundled with socket.io-client and minified, is too large for the wire.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const MOST_BYTES = 45_000;
const root = fileURLToPath(new URL("..", import.meta.url));

const result = await build({
  root,
  configFile: false,
  logLevel: "error",
  resolve: { conditions: ["stretto-source", "module", "browser", "production"] },
  build: {
    write: false,
    target: "es2022",
    minify: true,
    rollupOptions: { preserveEntrySignatures: "strict", input: `${root}/src/index.ts` },
    modulePreload: false,
  },
});
const code = result.output.map((chunk) => chunk.code ?? "").join("");
const bytes = gzipSync(code, { level: 9 }).length;
const kilobytes = (bytes / 1000).toFixed(1);
console.log(`stretto-client with socket.io-client: ${kilobytes} kB min+gzip (most: 45 kB)`);
process.exit(bytes > MOST_BYTES ? 1 : 0);
