"""The order of things in a room, spread over eight partitions by a hash of the room."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
from kernel.migrations import AddConstraint

PARTITIONS = 8

TABLE = """
    CREATE TABLE chat_roomevent (
        tenant_id uuid NOT NULL REFERENCES tenants_tenant (id) DEFERRABLE INITIALLY DEFERRED,
        room_id uuid NOT NULL,
        seq bigint NOT NULL CONSTRAINT room_event_seq_positive CHECK (seq > 0),
        type varchar(32) NOT NULL,
        ids jsonb NOT NULL,
        at timestamptz NOT NULL DEFAULT statement_timestamp(),
        PRIMARY KEY (tenant_id, room_id, seq),
        CONSTRAINT room_event_room_fk FOREIGN KEY (tenant_id, room_id)
            REFERENCES chat_room (tenant_id, id) DEFERRABLE INITIALLY DEFERRED
    ) PARTITION BY HASH (room_id)
"""


def _partition(number: int) -> list[str]:
    name = f"chat_roomevent_p{number}"
    return [
        f"CREATE TABLE {name} PARTITION OF chat_roomevent FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})",
        # No grants and no policy: a partition is reached through its parent alone.
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
    ]


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [TABLE, *(statement for number in range(PARTITIONS) for statement in _partition(number))],
                    ["DROP TABLE chat_roomevent"],
                )
            ],
            state_operations=[
                migrations.CreateModel(
                    name="RoomEvent",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "tenant_id",
                                "room_id",
                                "seq",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("seq", models.BigIntegerField()),
                        ("type", models.CharField(max_length=32)),
                        ("ids", models.JSONField(default=dict)),
                        ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        (
                            "room",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="chat.room",
                            ),
                        ),
                        (
                            "tenant",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="tenants.tenant",
                            ),
                        ),
                    ],
                ),
                AddConstraint(
                    model_name="roomevent",
                    constraint=kernel.constraints.TenantForeignKey(field="room", name="room_event_room_fk"),
                ),
            ],
        ),
    ]
