/** Colours that come from the server, made safe and legible. */

const FALLBACK = "#6b7280";

/** Return `color` if it is `#rrggbb`, else grey. */
export function safeColor(color: string): string {
  return /^#[0-9a-f]{6}$/i.test(color) ? color : FALLBACK;
}

/** Return the colour, black or white, that is easier to read on `background`. */
export function inkOn(background: string): string {
  const [red, green, blue] = [1, 3, 5].map((at) =>
    linear(Number.parseInt(safeColor(background).slice(at, at + 2), 16) / 255),
  );
  const light = 0.2126 * (red ?? 0) + 0.7152 * (green ?? 0) + 0.0722 * (blue ?? 0);
  // Where the contrast to black, (light + .05) / .05, equals that to white, 1.05 / (light + .05).
  return light > 0.179 ? "#111111" : "#ffffff";
}

function linear(channel: number): number {
  return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
}
