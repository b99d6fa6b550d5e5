"""What goes wrong in the judgement.

    ParleyError
    ├── Unavailable            503
    │   ├── EmbedderMissing    the embedder's package isn't installed, or its files aren't what they should be
    │   └── EmbedderBusy       too many texts wait already, or one waited too long
    └── InvalidRequest         400
        └── BadCalibration     the labelled data, or a calibration file, can't be used

All of them mean a miss for the request at hand: a question without a vector goes to a provider."""

from kernel.errors import InvalidRequest, Unavailable


class EmbedderMissing(Unavailable):
    """The embedder is not installed."""

    code = "embedder_missing"


class EmbedderBusy(Unavailable):
    """The embedder has more to do than it can."""

    code = "embedder_busy"


class BadCalibration(InvalidRequest):
    """The calibration can't be made or read."""

    code = "bad_calibration"
