import { ApiError, NetworkError } from "./errors";
import type { ErrorEnvelope } from "./types";

const BASE = "/api/v1";
const TIMEOUT_MS = 30_000;
const DOWNLOAD_TIMEOUT_MS = 600_000;

export interface TokenSource {
  /** A valid access token, renewed if need be. With `fresh`, one newer than the last answered. */
  token(fresh?: boolean): Promise<string>;
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Query = Record<string, string | number | null | undefined>;

export interface CallOptions {
  body?: object;
  query?: Query;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** One HTTP exchange, without authentication. Raises `ApiError` or `NetworkError`. */
export async function exchange<Answer>(method: Method, path: string, options: CallOptions = {}): Promise<Answer> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  const response = await fetched(method, path, { ...options, signal });
  if (response.status === 204) return undefined as Answer;
  try {
    return (await response.json()) as Answer;
  } catch (cause) {
    throw new NetworkError({ cause });
  }
}

/** One exchange whose answer is kept as a file. Raises as `exchange`. */
async function fetchFile(path: string, options: CallOptions): Promise<Blob> {
  const response = await fetched("GET", path, { ...options, signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) });
  try {
    return await response.blob();
  } catch (cause) {
    throw new NetworkError({ cause });
  }
}

async function fetched(method: Method, path: string, options: CallOptions): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address(path, options.query), {
      method,
      credentials: "same-origin",
      cache: "no-store",
      headers: { accept: "application/json", ...(options.body ? { "content-type": "application/json" } : {}), ...options.headers },
      body: options.body ? JSON.stringify(options.body) : undefined,
      signal: options.signal,
    });
  } catch (cause) {
    throw new NetworkError({ cause });
  }
  if (!response.ok) throw await toError(response);
  return response;
}

/** Calls made as the signed-in person; a refused token is renewed once. */
export class ApiClient {
  readonly #tokens: TokenSource;

  constructor(tokens: TokenSource) {
    this.#tokens = tokens;
  }

  get<Answer>(path: string, query?: Query, signal?: AbortSignal): Promise<Answer> {
    return this.call("GET", path, { query, signal });
  }

  post<Answer>(path: string, body: object = {}): Promise<Answer> {
    return this.call("POST", path, { body });
  }

  put<Answer>(path: string, body: object): Promise<Answer> {
    return this.call("PUT", path, { body });
  }

  patch<Answer>(path: string, body: object): Promise<Answer> {
    return this.call("PATCH", path, { body });
  }

  delete(path: string): Promise<void> {
    return this.call("DELETE", path);
  }

  call<Answer>(method: Method, path: string, options: CallOptions = {}): Promise<Answer> {
    return this.#authorized((authorization) => exchange<Answer>(method, path, { ...options, headers: { authorization } }));
  }

  /** A file, in the form of this media type where there are several. */
  file(path: string, accept = "*/*", query?: Query): Promise<Blob> {
    return this.#authorized((authorization) => fetchFile(path, { query, headers: { accept, authorization } }));
  }

  async #authorized<Answer>(work: (authorization: string) => Promise<Answer>): Promise<Answer> {
    const attempt = async (fresh: boolean): Promise<Answer> => work(`Bearer ${await this.#tokens.token(fresh)}`);
    try {
      return await attempt(false);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return attempt(true);
      throw error;
    }
  }
}

function address(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") parameters.set(name, String(value));
  }
  const suffix = parameters.size > 0 ? `?${parameters}` : "";
  return path.startsWith("/api/") ? path + suffix : `${BASE}${path}${suffix}`;
}

async function toError(response: Response): Promise<ApiError> {
  const retryAfter = Number(response.headers.get("retry-after"));
  let envelope: Partial<ErrorEnvelope> = {};
  try {
    envelope = (await response.json()) as Partial<ErrorEnvelope>;
  } catch {
    // A proxy's page rather than an envelope: the status alone says enough.
  }
  return new ApiError(response.status, envelope, retryAfter > 0 ? retryAfter : null);
}
