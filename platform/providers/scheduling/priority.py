"""The class of a job: what its caller asks for, as far as they may."""

from kernel.errors import PermissionDenied
from providers.pipeline.values import Job
from providers.scheduling.fair_queue import Class
from tenants.principals import Priority

CLASSES: dict[Priority, Class] = {"interactive": Class.INTERACTIVE, "normal": Class.NORMAL, "batch": Class.BATCH}


def priority_of(job: Job) -> Class:
    """The class a job waits in: the highest that its caller may have unless they ask for a lower one. Raises
    PermissionDenied, naming it, for one above."""
    highest = CLASSES[job.principal.priority] if job.principal is not None else Class.NORMAL
    asked = job.wishes.priority
    if asked is None:
        return highest
    rank = CLASSES[asked]
    if rank < highest:
        raise PermissionDenied(
            f"You may not ask for the priority `{asked}`.",
            details={"param": "x-parley-priority", "priority": asked, "max_priority": highest.name.lower()},
        )
    return rank
