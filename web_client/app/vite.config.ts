import { defineConfig } from "vite";

const SERVER = "http://127.0.0.1:8080";

export default defineConfig({
  resolve: { conditions: ["stretto-source", "module", "browser", "development|production"] },
  build: {
    outDir: "../../server/stretto_server/page",
    emptyOutDir: true,
    // The content security policy knows no data: scripts or styles.
    assetsInlineLimit: 0,
    modulePreload: false,
    target: "es2022",
  },
  server: {
    proxy: { "/socket.io": { target: SERVER, ws: true }, "/dev": SERVER },
  },
});
