"""The relay of the outbox goes across tenants, and sees no payload; old keys of requests are deleted, whosever they are."""

from config.databases import PLATFORM_ROLE
from tests.isolation.rules import Grant, Rules, jobs

_SEEN = "id tenant_id topic status created_at due_at claims claimed_until attempts problem ended_at"
_SET = "status due_at claims claimed_until attempts ended_at"
_policies, _ = jobs("outbox", {"kernel_outboxmessage": "SELECT UPDATE DELETE"}, within_tenant=False)

_key_policies, _ = jobs("expire_keys", {"kernel_idempotencykey": "SELECT DELETE"}, within_tenant=False)

RULES = Rules(
    policies=(*_policies, *_key_policies),
    grants=(
        Grant("kernel_idempotencykey", PLATFORM_ROLE, frozenset({"SELECT(id)", "DELETE"})),
        Grant(
            "kernel_outboxmessage",
            PLATFORM_ROLE,
            frozenset(
                {
                    *(f"SELECT({column})" for column in _SEEN.split()),
                    *(f"UPDATE({column})" for column in _SET.split()),
                    "DELETE",
                }
            ),
        ),
    ),
    pointers={
        "kernel_idempotencykey.principal_id": "a key or a membership, which may be gone; the row goes within a day",
    },
    indexes={
        "outbox_claimed": "the relay counts what is under way across tenants",
        "outbox_ended": "the job that deletes what is too old, and operators, look across tenants",
    },
)
