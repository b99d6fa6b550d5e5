import { CloseCode, type Ack, type Command, type CommandBodies, type CommandRefusal, type CommandType } from "./frames";

/** How long a command may stay unanswered, over all reconnects. */
export const COMMAND_DEADLINE_MS = 30_000;
const REFUSAL_RETRIES_MAX = 3;
const INFLIGHT_DEFAULT = 16;

/** A command that didn't succeed. With `unsure`, it may yet have been carried out: retry it under the same `cid`. */
export class CommandError extends Error {
  readonly code: string;
  readonly unsure: boolean;

  constructor(code: string, message: string, unsure = false) {
    super(message);
    this.name = "CommandError";
    this.code = code;
    this.unsure = unsure;
  }
}

interface Pending {
  frame: Command;
  sent: boolean;
  refusals: number;
  resolve(ack: Ack): void;
  reject(error: CommandError): void;
  deadline: ReturnType<typeof setTimeout>;
  delay?: ReturnType<typeof setTimeout>;
}

/**
 * Commands on their way. Each carries a `cid`, which makes sending it again harmless: after a reconnect everything
 * unanswered goes out again, in order.
 */
export class CommandQueue {
  readonly #pending = new Map<string, Pending>();
  readonly #transmit: (frame: Command) => void;
  #open = false;
  #inflightMax = INFLIGHT_DEFAULT;
  #frameBytesMax = Number.POSITIVE_INFINITY;

  constructor(transmit: (frame: Command) => void) {
    this.#transmit = transmit;
  }

  send<Type extends CommandType>(
    cid: string,
    type: Type,
    room: string | undefined,
    body: CommandBodies[Type],
  ): Promise<Ack> {
    const frame = { op: "cmd", cid, type, ...(room === undefined ? {} : { room }), body } as Command;
    if (new TextEncoder().encode(JSON.stringify(frame)).length > this.#frameBytesMax) {
      return Promise.reject(new CommandError("payload_too_large", "This message is too long to send."));
    }
    this.#settle(cid)?.reject(new CommandError("superseded", "The command was sent again.", true));
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        const message = this.#open ? "The server didn't answer in time." : "There is no connection to the server.";
        this.#settle(cid)?.reject(new CommandError("timeout", message, true));
      }, COMMAND_DEADLINE_MS);
      this.#pending.set(cid, { frame, sent: false, refusals: 0, resolve, reject, deadline });
      this.#flush();
    });
  }

  /** The socket is ready: everything unanswered is sent, within the server's limits. */
  open(limits: { inflight?: number; frame_bytes?: number }): void {
    this.#open = true;
    this.#inflightMax = Math.max(1, limits.inflight ?? INFLIGHT_DEFAULT);
    this.#frameBytesMax = limits.frame_bytes ?? Number.POSITIVE_INFINITY;
    for (const entry of this.#pending.values()) entry.sent = false;
    this.#flush();
  }

  /** The socket is gone; commands wait for the next one. */
  close(): void {
    this.#open = false;
  }

  acknowledge(ack: Ack): void {
    this.#settle(ack.cid)?.resolve(ack);
    this.#flush();
  }

  refuse(refusal: CommandRefusal): void {
    const entry = this.#pending.get(refusal.cid);
    if (entry === undefined) return;
    if (refusal.retry_ms !== undefined && entry.refusals < REFUSAL_RETRIES_MAX) {
      entry.refusals += 1;
      clearTimeout(entry.delay);
      entry.delay = setTimeout(() => {
        entry.delay = undefined;
        entry.sent = false;
        this.#flush();
      }, refusal.retry_ms);
      return;
    }
    this.#settle(refusal.cid)?.reject(new CommandError(refusal.code, refusal.message));
    this.#flush();
  }

  /** Ends every command: the connection won't come back (`code` is the socket's close code). */
  abandon(code: number): void {
    const reason = code === CloseCode.normal ? "The connection was closed." : "The server ended the connection.";
    for (const cid of [...this.#pending.keys()]) {
      this.#settle(cid)?.reject(new CommandError("disconnected", reason, true));
    }
  }

  #flush(): void {
    if (!this.#open) return;
    let inflight = 0;
    for (const entry of this.#pending.values()) if (entry.sent) inflight += 1;
    for (const entry of this.#pending.values()) {
      if (inflight >= this.#inflightMax) return;
      if (entry.sent || entry.delay !== undefined) continue;
      entry.sent = true;
      inflight += 1;
      this.#transmit(entry.frame);
    }
  }

  #settle(cid: string): Pending | undefined {
    const entry = this.#pending.get(cid);
    if (entry === undefined) return undefined;
    this.#pending.delete(cid);
    clearTimeout(entry.deadline);
    clearTimeout(entry.delay);
    return entry;
  }
}
