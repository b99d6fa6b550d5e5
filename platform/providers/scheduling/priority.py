"""The class of a job: what its caller asks for, as far as their key allows."""

from kernel.errors import PermissionDenied
from providers.pipeline.values import Job, Priority
from providers.scheduling.fair_queue import Class

CLASSES: dict[Priority, Class] = {"interactive": Class.INTERACTIVE, "normal": Class.NORMAL, "batch": Class.BATCH}


def priority_of(job: Job) -> Class:
    """The class a job waits in. Raises PermissionDenied, naming it, for one above what the caller may have."""
    highest = _highest(job)
    asked = job.wishes.priority
    if asked is None:
        return highest
    rank = CLASSES[asked]
    if rank < highest:
        raise PermissionDenied(
            f"This key may not ask for the priority `{asked}`.",
            details={"param": "x-parley-priority", "priority": asked, "max_priority": highest.name.lower()},
        )
    return rank


def _highest(job: Job) -> Class:
    """Someone who waits for the answer is a member; a program says so by its key."""
    return Class.NORMAL if job.payer.principal_kind == "api_key" else Class.INTERACTIVE
