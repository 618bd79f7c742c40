/** Names for what has none yet: documents and guests. */

const ADJECTIVES =
  "amber bright calm clear early gentle golden honest kind light lively mellow merry quiet silver still sunny swift warm wise";
const NOUNS =
  "badger birch brook cedar crane falcon fern finch harbor heron lark lynx maple meadow otter pine robin sparrow wren willow";
const LETTERS = "23456789abcdefghjkmnpqrstuvwxyz";

/** Returns a number in [0, 1). */
export type Chance = () => number;

/** Return an id that can be read aloud: `quiet-otter-7f3kq2`. */
export function documentName(chance: Chance): string {
  const tail = Array.from({ length: 6 }, () => LETTERS[Math.floor(chance() * LETTERS.length)]);
  return `${pick(ADJECTIVES, chance)}-${pick(NOUNS, chance)}-${tail.join("")}`;
}

/** Return a name for a guest: `Quiet Otter`. */
export function guestName(chance: Chance): string {
  return `${capital(pick(ADJECTIVES, chance))} ${capital(pick(NOUNS, chance))}`;
}

/** Tell whether `id` may name a document. */
export function isDocumentName(id: string): boolean {
  if (!/^[A-Za-z0-9._:~-][A-Za-z0-9._:~/-]{0,199}$/.test(id)) return false;
  return id.split("/").every((segment) => !["", ".", ".."].includes(segment));
}

/** Return up to two letters for an avatar. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined];
  return (
    letters
      .map((word) => [...(word ?? "")][0] ?? "")
      .join("")
      .toUpperCase() || "?"
  );
}

function pick(words: string, chance: Chance): string {
  const list = words.split(" ");
  return list[Math.floor(chance() * list.length)] ?? "";
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
