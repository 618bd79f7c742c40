/** `npm run examples`, beside `stretto serve --dev`. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const SERVER = process.env["STRETTO_URL"] ?? "http://127.0.0.1:8080";
const root = fileURLToPath(new URL(".", import.meta.url));

export default defineConfig({
  root,
  resolve: { conditions: ["stretto-source", "module", "browser", "development|production"] },
  build: {
    target: "es2022",
    rollupOptions: {
      input: ["index", "textarea", "codemirror", "react"].map((name) => `${root}${name}.html`),
    },
  },
  // The host stays what the address bar says: the server compares it with the origin.
  server: {
    proxy: {
      "/socket.io": { target: SERVER, ws: true, changeOrigin: false },
      "/dev": { target: SERVER, changeOrigin: false },
    },
  },
});
