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
  /** What was wrong with which fields of what was sent, by their names; nested ones as `scope.id`. */
  readonly fields: Readonly<Record<string, string>>;

  constructor(status: number, envelope: Partial<ErrorEnvelope>, retryAfterS: number | null) {
    super(envelope.message || `The server answered with status ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.code = envelope.code ?? "unknown";
    this.requestId = envelope.request_id ?? null;
    this.retryAfterS = retryAfterS;
    this.fields = fieldsOf(envelope.details, this.message);
  }
}

export class NetworkError extends ApiFailure {
  constructor(options?: ErrorOptions) {
    super("The server can't be reached. Check your connection and try again.", options);
    this.name = "NetworkError";
  }
}

function fieldsOf(details: unknown, message: string): Record<string, string> {
  if (typeof details !== "object" || details === null) return {};
  const { fields, param } = details as { fields?: unknown; param?: unknown };
  // The server begins such a message with the parameter's name, which the field shows already.
  if (typeof param === "string") return { [param]: sentence(message.replace(`${param}: `, "")) };
  if (!Array.isArray(fields)) return {};
  const named = (fields as { field?: unknown; message?: unknown }[]).map((one) => [String(one.field ?? ""), String(one.message ?? "")]);
  return Object.fromEntries(named);
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
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
