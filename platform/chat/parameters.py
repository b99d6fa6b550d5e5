"""How a model is asked to answer: what a preset says beside its instructions."""

import msgspec

from chat.bounds import OUTPUT_TOKENS_MAX, STOP_CHARS_MAX, STOPS_MAX, TEMPERATURE_MAX
from chat.checks import check_text
from kernel.errors import InvalidRequest


class Parameters(msgspec.Struct, frozen=True, omit_defaults=True):
    """What isn't set is as the model has it. `max_output_tokens` are those of one answer, its reasoning included; an
    answer ends before any text of `stop`."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()


PLAIN = Parameters()
"""A model as it is."""


def check_parameters(parameters: Parameters) -> Parameters:
    """The parameters, if models take such. Raises `InvalidRequest`. A number that is none is out of every range."""
    if parameters.temperature is not None and not 0 <= parameters.temperature <= TEMPERATURE_MAX:
        raise _invalid("temperature", f"from 0 to {TEMPERATURE_MAX:g}.")
    if parameters.top_p is not None and not 0 < parameters.top_p <= 1:
        raise _invalid("top_p", "above 0, to 1.")
    if parameters.max_output_tokens is not None and not 1 <= parameters.max_output_tokens <= OUTPUT_TOKENS_MAX:
        raise _invalid("max_output_tokens", f"from 1 to {OUTPUT_TOKENS_MAX:,}.")
    if len(parameters.stop) > STOPS_MAX:
        raise _invalid("stop", f"at most {STOPS_MAX}.")
    for text in parameters.stop:
        # A line's end is a good place to stop, so space alone will do; nothing at all won't.
        check_text(text, field="parameters.stop", chars_max=STOP_CHARS_MAX, blank=bool(text))
    return parameters


def _invalid(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"parameters.{name}: {why}", details={"param": f"parameters.{name}"})
