import type { Component } from "svelte";
import { Permission, type PermissionName } from "$lib/permissions";
import type { ConsolePage } from "$lib/router.svelte";
import type { IconName } from "$lib/ui/icons";
import BillingPage from "$features/billing/BillingPage.svelte";
import BudgetsPage from "$features/budgets/BudgetsPage.svelte";
import CachePage from "$features/cache/CachePage.svelte";
import InvoicesPage from "$features/invoices/InvoicesPage.svelte";
import NoticesPage from "$features/notices/NoticesPage.svelte";
import PricesPage from "$features/prices/PricesPage.svelte";
import ReportsPage from "$features/reports/ReportsPage.svelte";
import { session } from "$features/session/state.svelte";
import ApiKeysPage from "./ApiKeysPage.svelte";
import MembersPage from "./MembersPage.svelte";
import UsagePage from "./UsagePage.svelte";

export interface Listed {
  page: ConsolePage;
  label: string;
  icon: IconName;
  section: "Workspace" | "Billing";
  /** Any of these lets one see it. */
  needs: readonly PermissionName[];
  component: Component;
}

const USAGE = [Permission.readUsage, Permission.readOwnUsage];

/** The console's pages, in the order in which they are offered. */
const PAGES: readonly Listed[] = [
  { page: "members", label: "Members", icon: "people", section: "Workspace", needs: [Permission.readMembers], component: MembersPage },
  {
    page: "api-keys",
    label: "API keys",
    icon: "key",
    section: "Workspace",
    needs: [Permission.useApiKeys, Permission.manageApiKeys],
    component: ApiKeysPage,
  },
  { page: "usage", label: "Usage", icon: "list", section: "Workspace", needs: USAGE, component: UsagePage },
  { page: "notices", label: "Notices", icon: "bell", section: "Workspace", needs: [Permission.readNotices], component: NoticesPage },
  { page: "cache", label: "Cache", icon: "spark", section: "Workspace", needs: [Permission.manageProviders], component: CachePage },
  { page: "reports", label: "Reports", icon: "chart", section: "Billing", needs: USAGE, component: ReportsPage },
  { page: "budgets", label: "Budgets", icon: "gauge", section: "Billing", needs: USAGE, component: BudgetsPage },
  { page: "billing", label: "Plan & credit", icon: "card", section: "Billing", needs: [Permission.readBilling], component: BillingPage },
  { page: "invoices", label: "Invoices", icon: "invoice", section: "Billing", needs: [Permission.readInvoices], component: InvoicesPage },
  { page: "prices", label: "Prices", icon: "tag", section: "Billing", needs: [Permission.useModels], component: PricesPage },
];

/** Those that whoever is signed in may see. */
export function shownPages(): Listed[] {
  return PAGES.filter(({ needs }) => needs.some((permission) => session.may(permission)));
}

export function pageOf(page: ConsolePage | null): Listed | undefined {
  const shown = shownPages();
  return page === null ? shown[0] : shown.find((one) => one.page === page);
}
