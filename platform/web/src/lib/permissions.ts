/** Every permission the app asks for, by the names of the server's registry. Hiding is courtesy; the server decides. */
export const Permission = {
  readMembers: "members.read",
  manageMembers: "members.manage",
  useApiKeys: "api_keys.use",
  manageApiKeys: "api_keys.manage",
  useModels: "models.use",
  readRooms: "rooms.read",
  writeRooms: "rooms.write",
  readOwnUsage: "usage.read_own",
  readUsage: "usage.read",
  readCosts: "costs.read",
  readBilling: "billing.read",
  manageBilling: "billing.manage",
  readInvoices: "invoices.read",
  manageInvoices: "invoices.manage",
  manageBudgets: "budgets.manage",
  readNotices: "notifications.read",
  manageProviders: "providers.manage",
} as const;

export type PermissionName = (typeof Permission)[keyof typeof Permission];
