"""What may happen to a tenant's books, in parts: `ground` (the tenant, its budgets, and what must hold), `requests`, `money`,
`bills`; `books` reads what came of it."""
