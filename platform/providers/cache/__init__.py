"""The exact cache and dedupe: the same question is asked of a provider once.

    key.py         what a key is made of, and which requests have none
    namespaces.py  a tenant's settings and generations, as every process knows them within a second
    entries.py     an answer kept, and its packed form
    memory.py      the first level: this process's, with bodies ready to be sent
    shared.py      the second: Redis, shared by all processes
    stored.py      the third: PostgreSQL, encrypted, which survives restarts
    writes.py      the way down to the second and third, behind the callers' backs
    lookups.py     the stages `place`, `look_up` and `remember` of the pipeline
    served.py      a hit, as a job's caller holds it
    flights.py     dedupe: one answer in flight, and all who listen to it
    acknowledge.py usage records of what cost nothing
    stats.py       what is counted

Permission, suspension and allow-lists were checked before; nothing here looks at them. A store that is away makes
misses, never failures."""
