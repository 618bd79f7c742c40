/** When to try again. Pure: chance is an argument. */

/** The first retry is spread over this range, so that clients of a killed node do not herd. */
export const FIRST_MIN_MS = 200;
export const FIRST_MAX_MS = 3_000;
/** No wait is longer. */
export const LONGEST_MS = 30_000;

/**
 * Return how long to wait before retry number `attempt` (0, 1, 2 …), in milliseconds.
 *
 * Full jitter: uniform between `FIRST_MIN_MS` and a ceiling that doubles from
 * `FIRST_MAX_MS` up to `LONGEST_MS`. `chance` is uniform in [0, 1).
 */
export function backoff(attempt: number, chance: number): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MAX_MS * 2 ** Math.min(attempt, 16));
  return Math.round(FIRST_MIN_MS + (ceiling - FIRST_MIN_MS) * chance);
}

/** The first repetition of a refused request waits no longer. */
export const REPEAT_FIRST_MS = 100;
/** A request on a standing connection costs little: it is repeated soon after an outage ends. */
export const REPEAT_LONGEST_MS = 5_000;

/**
 * Return how long to wait before a refused request is sent again on the same connection, in
 * milliseconds: what the server asked for, and a little more by chance, so that clients that
 * were refused together do not come back together.
 */
export function repeatDelay(attempt: number, chance: number, askedMs = 0): number {
  const ceiling = Math.min(REPEAT_LONGEST_MS, REPEAT_FIRST_MS * 2 ** Math.min(attempt, 16));
  return askedMs + Math.round(ceiling * chance);
}
