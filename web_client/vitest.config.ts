import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["stretto-source"] },
  test: {
    include: ["*/test/**/*.test.ts"],
  },
});
