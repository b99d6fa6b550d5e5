/** Silence beyond the heartbeat after which a connection counts as dead: 30 s + 10 s by the protocol. */
export const SILENCE_GRACE_MS = 10_000;
const CHECK_EVERY_MS = 1_000;

export interface HeartbeatActions {
  ping(): void;
  dead(): void;
}

/** Pings after `hb` seconds without traffic from the server, and declares the connection dead 10 s after that. */
export class Heartbeat {
  readonly #actions: HeartbeatActions;
  readonly #intervalMs: number;
  #heardAt = Date.now();
  #pinged = false;
  #timer: ReturnType<typeof setInterval>;

  constructor(intervalS: number, actions: HeartbeatActions) {
    this.#actions = actions;
    this.#intervalMs = intervalS * 1_000;
    this.#timer = setInterval(() => this.check(), CHECK_EVERY_MS);
  }

  heard(): void {
    this.#heardAt = Date.now();
    this.#pinged = false;
  }

  /** Looks at the clock now; called each second, and when a sleeping machine wakes. */
  check(): void {
    const silentMs = Date.now() - this.#heardAt;
    if (silentMs >= this.#intervalMs + SILENCE_GRACE_MS) {
      this.stop();
      this.#actions.dead();
    } else if (silentMs >= this.#intervalMs && !this.#pinged) {
      this.#pinged = true;
      this.#actions.ping();
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
