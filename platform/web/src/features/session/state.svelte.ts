import { ApiClient, exchange } from "$lib/api/client";
import { ApiError } from "$lib/api/errors";
import type { Me, MembershipSummary, Person, Session, Tenant } from "$lib/api/types";
import type { PermissionName } from "$lib/permissions";
import { forget, recall, remember, remembers } from "$lib/storage";
import { Tokens } from "./tokens";

/** That there is a refresh cookie, which scripts can't see: without one, asking for a session is asking to be refused. */
const SIGNED_IN = "parley.signed-in";

export type SessionPhase = "restoring" | "signed-out" | "signed-in" | "unreachable";

/** Who is signed in, to which tenant, and what they may do. */
class SessionState {
  phase = $state<SessionPhase>("restoring");
  person = $state.raw<Person | null>(null);
  tenant = $state.raw<Tenant | null>(null);
  membershipId = $state<string | null>(null);
  role = $state("");
  memberships = $state.raw<MembershipSummary[]>([]);
  #permissions = $state.raw<ReadonlySet<string>>(new Set());

  readonly tokens = new Tokens(() => exchange<Session>("POST", "/auth/refresh", { body: {} }), {
    onSession: (session) => this.#show(session),
    onSignedOut: () => this.#end(),
  });
  readonly api = new ApiClient(this.tokens);

  may(permission: PermissionName): boolean {
    return this.#permissions.has(permission);
  }

  /** Signs in again by the refresh cookie, silently. */
  async restore(): Promise<void> {
    if (remembers() && recall(SIGNED_IN) === null) {
      this.phase = "signed-out";
      return;
    }
    this.phase = "restoring";
    try {
      await this.tokens.renew();
    } catch (error) {
      const refused = error instanceof ApiError && error.status < 500 && error.status !== 429;
      this.phase = refused ? "signed-out" : "unreachable";
    }
  }

  async signIn(email: string, password: string): Promise<void> {
    const body = { email, password, transport: "cookie" as const };
    this.tokens.adopt(await exchange<Session>("POST", "/auth/login", { body }));
  }

  async signOut(): Promise<void> {
    await this.api.post("/auth/logout");
    this.tokens.clear();
    forget("parley.draft.");
    this.#end();
  }

  async switchTo(tenant: Tenant): Promise<void> {
    this.tokens.adopt(await this.api.post<Session>("/auth/switch", { tenant: tenant.slug }));
  }

  async rename(name: string): Promise<void> {
    this.person = (await this.api.patch<Me>("/me", { name })).person;
  }

  #show(session: Session): void {
    remember(SIGNED_IN, "1");
    this.person = session.person;
    this.tenant = session.tenant;
    this.membershipId = session.membership.id;
    this.role = session.membership.role;
    this.memberships = session.memberships;
    this.#permissions = new Set(session.membership.permissions);
    this.phase = "signed-in";
  }

  #end(): void {
    remember(SIGNED_IN, null);
    this.phase = "signed-out";
    this.person = null;
    this.tenant = null;
    this.membershipId = null;
    this.memberships = [];
    this.#permissions = new Set();
  }
}

export const session = new SessionState();
