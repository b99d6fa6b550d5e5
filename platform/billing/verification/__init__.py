"""Proving the books: everything that can be computed again is, and compared with what is written.

* `repricing`  each usage record from its tokens and its prices, and what that leaves for budgets;
* `ledger`     entries against records, accounts against entries;
* `guards`     holds, balances and limits;
* `recount`    rollups against records;
* `run`        all of it, tenant by tenant, and keeping what was found.
"""
