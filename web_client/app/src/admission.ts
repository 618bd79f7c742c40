/** How the page gets in: as a guest, or with a token that somebody brings along. */
import { RealtimeClient } from "stretto-client";
import { askName, askToken } from "./dialogs";
import { element } from "./elements";
import {
  expiry,
  forgetToken,
  givenToken,
  guestToken,
  onNewToken,
  storedName,
  storeName,
  storeToken,
  TokenNeeded,
} from "./identity";
import { guestName } from "./names";
import type { Notices } from "./notices";

const STRANGER = "It does not know you yet, and it has no guests.";
const EXPIRED = "Your token has expired. What you write is kept and goes out with a new one.";

/** Return a client that the server let in, and that asks for another token when it needs one. */
export async function admittedClient(notices: Notices): Promise<RealtimeClient> {
  if (givenToken() === null && (await becomeGuest())) {
    const client = new RealtimeClient({ getToken: guestToken });
    await client.connect();
    return client;
  }
  const desk = new TokenDesk(notices);
  const client = new RealtimeClient({ getToken: () => desk.token() });
  await insist(client, desk);
  client.on("connection.refused", (reason) => {
    desk.refused(reason);
    void insist(client, desk);
  });
  return client;
}

/** Connect, with as many tokens as it takes. */
async function insist(client: RealtimeClient, desk: TokenDesk): Promise<void> {
  for (;;) {
    try {
      await client.connect();
      desk.isAdmitted = true;
      return;
    } catch (reason) {
      if (client.state !== "refused") throw reason;
      desk.refused(reason);
    }
  }
}

/** Hands out the token in use; once that is of no use any more, it asks for another. */
class TokenDesk {
  /** Whether there is a text on the page that a question must not interrupt. */
  isAdmitted = false;
  private reason = "";
  private asked: Promise<string> | null = null;

  constructor(private readonly notices: Notices) {}

  token(): string | Promise<string> {
    const token = givenToken();
    if (token !== null && (expiry(token) === 0 || expiry(token) > Date.now())) return token;
    this.asked ??= this.ask(token === null ? this.reason || STRANGER : EXPIRED).finally(() => {
      this.asked = null;
    });
    return this.asked;
  }

  refused(reason: unknown): void {
    forgetToken();
    const message = reason instanceof Error ? reason.message : String(reason);
    this.reason = `The token was not accepted: ${message}.`;
  }

  /** Wait for a token: from the user, from the address, or from another tab. */
  private async ask(reason: string): Promise<string> {
    const done = new AbortController();
    const asked = this.isAdmitted
      ? this.notices
          .ask(reason, "Enter a token", done.signal)
          .then(() => askToken(reason, done.signal))
      : askToken(reason, done.signal);
    const token = await Promise.race([asked, onNewToken(done.signal)]);
    done.abort();
    storeToken(token);
    return token;
  }
}

/** Get a guest's token, under a name of the guest's choice; false where there are none. */
async function becomeGuest(): Promise<boolean> {
  try {
    await guestToken();
  } catch (reason) {
    if (reason instanceof TokenNeeded) return false;
    throw reason;
  }
  if (storedName() === "") storeName(await askName(guestName(Math.random)));
  element("rename").hidden = false;
  return true;
}
