"""The judgement of the semantic cache: whether the answer to one question may be given to another.

    eligibility   may this request be looked up at all, and what is its question
    embedders     texts to vectors
    guard         do two questions agree in all that similarity doesn't see: numbers, negation, names, who does what to whom
    clusters      which stored answers are the same answer
    score         how likely a candidate's answer is the right one
    calibration   the score's weights, and where to cut so that wrong hits stay under a stated rate
    judge         all of it for one question and its candidates

Nothing here knows tenants, tables or time: what is stored, and for whom, is the caller's."""
