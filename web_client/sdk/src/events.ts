/** Listeners by event name, typed. */

/** Takes the listener away again. */
export type Unsubscribe = () => void;

/** What can be listened to: event name → what its listeners are called with. */
export class Emitter<Events extends object> {
  private readonly listeners = new Map<keyof Events, Set<(value: never) => void>>();

  /** Call `listener` at each `event` from now on. */
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): Unsubscribe {
    const listeners = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Tell whether anybody listens to `event`. */
  protected hasListeners(event: keyof Events): boolean {
    return (this.listeners.get(event)?.size ?? 0) > 0;
  }

  /** Call the listeners of `event`. One that throws does not keep it from the others. */
  protected emit<E extends keyof Events>(event: E, value: Events[E]): void {
    for (const listener of [...(this.listeners.get(event) ?? [])]) {
      try {
        (listener as (value: Events[E]) => void)(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error; // reported as uncaught, where it can be seen
        });
      }
    }
  }
}
