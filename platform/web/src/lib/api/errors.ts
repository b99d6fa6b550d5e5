/**
 * What a call to the server can end in:
 *
 *     ApiFailure
 *     ├── ApiError       the server answered with an error
 *     └── NetworkError   there was no answer
 */
import type { ErrorEnvelope } from "./types";

export class ApiFailure extends Error {}

export class ApiError extends ApiFailure {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly retryAfterS: number | null;

  constructor(status: number, envelope: Partial<ErrorEnvelope>, retryAfterS: number | null) {
    super(envelope.message || `The server answered with status ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.code = envelope.code ?? "unknown";
    this.requestId = envelope.request_id ?? null;
    this.retryAfterS = retryAfterS;
  }
}

export class NetworkError extends ApiFailure {
  constructor(options?: ErrorOptions) {
    super("The server can't be reached. Check your connection and try again.", options);
    this.name = "NetworkError";
  }
}

/** A sentence for people about any error. */
export function describe(error: unknown): string {
  if (error instanceof ApiError && error.status >= 500) {
    return `Something went wrong on the server${error.requestId ? ` (request ${error.requestId})` : ""}.`;
  }
  return error instanceof Error && error.message ? error.message : "Something went wrong.";
}

export type FailureKind = "not_found" | "forbidden" | "unreachable" | "failed";

/** Which page or panel an error deserves. */
export function kindOf(error: unknown): FailureKind {
  if (error instanceof NetworkError) return "unreachable";
  if (!(error instanceof ApiError)) return "failed";
  if (error.status === 404) return "not_found";
  if (error.status === 403) return "forbidden";
  return error.status >= 502 && error.status <= 504 ? "unreachable" : "failed";
}
