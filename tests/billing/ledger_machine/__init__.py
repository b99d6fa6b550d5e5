"""What may happen to a tenant's books, in parts: `ground` (the tenant, and what must hold), `requests`, `budgets`, `money`."""
