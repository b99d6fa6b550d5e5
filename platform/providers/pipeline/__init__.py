"""The way of a completion, the same for rooms and for programs. A stage is a module with one job; their
order:

    accept      the caller's: parse and validate, who it is, what they may, the model's alias into candidates
    inspect_in  guardrails on what comes in
    limit       token buckets, the key's epoch, the exact cache's read
    cache       an exact hit, or a semantic one where a namespace has it on
    dedupe      follow an identical request that is already in flight
    hold        reserve the worst-case cost, or refuse
    schedule    the queue, fair between tenants
    execute     try the candidates in order; events, not vendors' JSON            execute.py
    inspect_out guardrails on what goes out
    settle      one record per attempt, durable before the last event is seen     settle.py (the port)
    remember    write the caches, publish telemetry

`accept` makes a Job. `run.start` lets it through the stages before execute, each of which may refuse it, change it,
or answer it itself; then it runs in a pump (pump.py): a task of its own, which outlives the caller and always ends
in settle, once, and in remember."""
