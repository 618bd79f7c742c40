/** Who did something lately, and who is idle. */
import type { Member } from "stretto-client";

/** Whoever did nothing for this long is idle. */
export const IDLE_MS = 60_000;

/** Remembers when each member was last heard of. */
export class Activity {
  private readonly lastAt = new Map<string, number>();
  private places = new Map<string, string>();

  /** Take a presence update: whoever is new, or somewhere else than known, is active. */
  heard(members: readonly Member[], now: number): void {
    for (const member of members) {
      if (this.places.get(member.id) !== placeOf(member)) this.lastAt.set(member.id, now);
    }
    this.carried(members);
    for (const id of this.lastAt.keys()) if (!this.places.has(id)) this.lastAt.delete(id);
  }

  /** Note where everyone is after others' edits have moved them. */
  carried(members: readonly Member[]): void {
    this.places = new Map(members.map((member) => [member.id, placeOf(member)]));
  }

  /** The user wrote something, in whichever tab. */
  wrote(user: string, members: readonly Member[], now: number): void {
    for (const member of members) if (member.user.id === user) this.lastAt.set(member.id, now);
  }

  isIdle(id: string, now: number): boolean {
    return now - (this.lastAt.get(id) ?? now) >= IDLE_MS;
  }
}

function placeOf({ ranges }: Member): string {
  return JSON.stringify(ranges ?? null);
}
