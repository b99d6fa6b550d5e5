/** The API's shapes, by the names the app uses. Everything here comes from the generated schema, by operation. */
import type { components, operations } from "./schema";

type Json<Response> = Response extends { content: { "application/json": infer Body } } ? Body : never;
type Responses<Operation extends keyof operations> = operations[Operation]["responses"];

/** What an operation answers with when it succeeds. */
type Answer<Operation extends keyof operations> = {
  [Status in keyof Responses<Operation> & (200 | 201 | 202)]: Json<Responses<Operation>[Status]>;
}[keyof Responses<Operation> & (200 | 201 | 202)];

export type ErrorEnvelope = components["schemas"]["Error"];
export type Session = Answer<"auth_login">;
export type Me = Answer<"me">;
export type Person = Me["person"];
export type Tenant = Me["tenant"];
export type MembershipSummary = Me["memberships"][number];
export type Member = Answer<"members_get">;
export type Role = Answer<"roles_list">["data"][number];
export type ApiKey = Answer<"api_keys_get">;
export type ApiKeySecret = Answer<"api_keys_create">;
export type Model = Answer<"models_list">["data"][number];
export type UsageRecord = Answer<"usage_list">["data"][number];
export type Room = Answer<"rooms_get">;
export type RoomKind = Room["kind"];
export type Snapshot = Answer<"rooms_snapshot">;
export type RoomMember = Snapshot["members"][number];
export type Message = Snapshot["messages"][number];
export type Answered = NonNullable<Message["answered"]>;
export type Generation = Answer<"generations_get">;

export type Group = Answer<"groups_list">["data"][number];
export type Budget = Answer<"budgets_get">;
export type BudgetScope = Budget["scope"];
export type BudgetAlert = Answer<"budget_alerts_list">["data"][number];
export type AccountBalance = Answer<"billing_balance">;
export type Plan = Answer<"billing_plans">["data"][number];
export type PlanPreview = Answer<"billing_plan_preview">;
export type PaymentOptions = Answer<"billing_payment_options">;
export type Subscription = Answer<"billing_subscription">;
export type CreditGrant = Answer<"billing_credits">["data"][number];
export type Payment = Answer<"billing_payments">["data"][number];
export type Checkout = Answer<"billing_top_up">;
export type Forecast = Answer<"report_forecast">;
export type Anomaly = Answer<"report_anomalies">["data"][number];
export type TopReport = Answer<"report_top">;
export type UsageReport = Answer<"report_usage">;
export type ReportRow = UsageReport["data"][number];
export type Sums = NonNullable<UsageReport["totals"]>;
export type ModelPrices = Answer<"billing_prices_list">["data"][number];
export type Simulation = Answer<"billing_price_simulations_create">;
export type Invoice = Answer<"invoice">;
export type InvoiceLine = Answer<"invoice_lines">["data"][number];
export type TracedUsage = Answer<"invoice_line_usage">["data"][number];
export type BillingProfile = Answer<"billing_profile">;
export type CacheSettings = Answer<"cache_get">;
export type CacheStats = Answer<"cache_stats">;
export type SemanticCache = Answer<"cache_semantic">;
export type SemanticEntry = Answer<"cache_semantic_entries_list">["data"][number];
export type Notification = Answer<"notifications_list">["data"][number];

export interface Page<Item> {
  data: Item[];
  next_cursor: string | null;
}

export interface MessageBody {
  message: Message;
}

export interface GenerationStarted {
  generation: Generation;
}

export interface GenerationFinished {
  generation: Generation;
  message: Message | null;
}
