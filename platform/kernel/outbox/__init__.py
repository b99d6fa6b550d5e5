"""The outbox: what is to be done because of a transaction, written in that transaction, and done once it has committed.

    send          in a tenant's transaction, writes a message of a topic; `send_on` does so on a connection of `kernel.adb`;
                  a function in the database inserts into `kernel_outboxmessage (id, tenant_id, topic, payload)`
    relay         each second, beat has the worker claim what is due, and send each message to Celery, with its tenant
    consume       the topic's consumers get it, and the message is done

Nothing is skipped: what waits is found by its state, not by a position that a slow transaction's message could come in
behind. Tenants take turns. A message goes to the topic's consumers in no promised order, at least once:

* a *consumer* (`consumed_by`) runs in a transaction of the message's tenant, in which its receipt is written too: what it
  writes is written once. A message may have several; each has a receipt of its own, so that one that fails keeps no other
  from its part, and has none repeated;
* a *sender* (`sent_by`) is a coroutine that talks to others, outside of any transaction: it may be called again for what it
  did, and tells its receiver so by the message's id.

One that raises is asked again by the topic's `Schedule`; after that the message is *dead*: kept for operators to see
(`manage.py outbox`, `parley_outbox_messages`) and to replay. A claim that nobody ended (a worker died) is over after
`CLAIM_S`, and the message is claimed again.

Apps name their topics in `AppConfig.ready`; services name topics, never tasks.
"""

from kernel.outbox.topics import (
    Failed,
    GiveUp,
    Later,
    Message,
    Schedule,
    consumed_by,
    sent_by,
)
from kernel.outbox.writing import send, send_on

__all__ = ["Failed", "GiveUp", "Later", "Message", "Schedule", "consumed_by", "send", "send_on", "sent_by"]
