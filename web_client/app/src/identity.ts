/** Who we are: the token that the server wants, and the name that a guest goes by. */

const NAME = "stretto.name";
const TOKEN = "stretto.token";
const GUEST = "stretto.guest";

/** Thrown where the server gives no guest tokens: one must be brought along. */
export class TokenNeeded extends Error {}

/** The name that the guest chose, or "". */
export function storedName(): string {
  return localStorage.getItem(NAME) ?? "";
}

/** Go by `name` from now on: the guest token in use is given up. */
export function storeName(name: string): void {
  localStorage.setItem(NAME, name);
  localStorage.removeItem(GUEST);
}

/** Use `token` in this browser from now on. */
export function storeToken(token: string): void {
  localStorage.setItem(TOKEN, token);
}

/** Resolve with a token that comes by the address or from another tab. */
export function onNewToken(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const look = (): void => {
      const token = givenToken();
      if (token !== null && expiry(token) > Date.now()) resolve(token);
    };
    window.addEventListener("hashchange", look, { signal });
    window.addEventListener("storage", look, { signal });
  });
}

/** Forget the token that was brought along: it was refused. */
export function forgetToken(): void {
  localStorage.removeItem(TOKEN);
}

/**
 * Return the token that was brought along, in the fragment of the address or by an earlier
 * visit, or null. The fragment is taken out of the address, so that nobody shares it.
 */
export function givenToken(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) {
    storeToken(token); // a reload must find it
    history.replaceState(null, "", location.pathname + location.search);
  }
  return localStorage.getItem(TOKEN);
}

/**
 * Return a guest's token, the same one in this browser while it is valid: edits that a closed
 * tab left unsent are delivered by the user who made them.
 *
 * Throws TokenNeeded where the server has no guests.
 */
export async function guestToken(): Promise<string> {
  const kept = localStorage.getItem(GUEST);
  if (kept !== null && expiry(kept) > Date.now() + 60_000) return kept;
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: storedName() }),
  });
  if (response.status === 404 || response.status === 405) throw new TokenNeeded();
  if (!response.ok) throw new Error(`the server gave no guest token (${response.status})`);
  const { token } = (await response.json()) as { token: string };
  localStorage.setItem(GUEST, token);
  return token;
}

/** Return when a token expires, in milliseconds; 0 when it does not say. */
export function expiry(token: string): number {
  try {
    const body = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const exp: unknown = (JSON.parse(atob(body)) as { exp?: unknown }).exp;
    return typeof exp === "number" ? exp * 1_000 : 0;
  } catch {
    return 0;
  }
}
