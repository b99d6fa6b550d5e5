"""The semantic tier of the cache: answers to questions that were put in other words.

    models        what PostgreSQL holds: entries, how they are used, audits, calibrations
    index         the extension and the index, where the database has them
    vectors       lists of numbers, as PostgreSQL reads and stores them
    embedding     whose vectors a question has
    routed        a tenant's model for embeddings
    support       whether the tier can work here, and why not
    entries       an entry's cells, opened and sealed
    storage       the entries near a question, and writing them
    questions     what may be asked in other words, and the scope in which it may be answered
    lookups       the stage: a question, its neighbours, a verdict, and within a bounded time
    writes        after the answer: its cluster, who else may have it, and what an audit finds
    audits        what was found by asking anyway; the running rate of wrong answers
    detector      when that rate is too high to be chance
    calibrations  which calibration holds for a tenant
    warming       past requests become entries
    export        all entries as a file
    uses          how often entries are served

The judgement itself (embedders, guard, clusters, score) is `providers.semantic`, which knows no tenant and no table."""
