"""Files, exports and imports: jobs find what waits, and delete what is too old, whosever it is."""

from config.databases import PLATFORM_ROLE
from tests.isolation.rules import Grant, Policy

_JOBS = {
    "chat_attachment": ("expire_attachments", ("id", "tenant_id", "expires_at")),
    "chat_transfer": ("transfers", ("id", "tenant_id", "state", "lease_until", "turn_at", "expires_at")),
}
POLICIES = tuple(
    Policy(table, f"{job}_{command.lower()}", command, PLATFORM_ROLE, "true")
    for table, (job, _) in _JOBS.items()
    for command in ("SELECT", "DELETE")
)
GRANTS = tuple(
    Grant(table, PLATFORM_ROLE, frozenset({*(f"SELECT({column})" for column in columns), "DELETE"}))
    for table, (_, columns) in _JOBS.items()
)
INDEXES = {
    "attachment_expires": "the job that deletes what is too old goes across tenants",
    "transfer_expires": "the job that deletes what is too old goes across tenants",
    "transfer_due": "the job that finds what waits goes across tenants",
}
POINTERS = {"chat_transfer.lease_owner": "a worker's turn"}
