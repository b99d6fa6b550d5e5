"""What a message asks while it holds its room's lock, in one round trip: numbers and ids for it, and where it goes.

It was two statements, each planned anew. The room is locked by the first, so the second sees every message that came before.
"""

from django.db import migrations

# The columns of the room and what they mean: `chat.events.take_numbers`. Those of the branch: `chat.tree.branch_of`.
SPEAK = """
CREATE FUNCTION chat_speak(
    room uuid, place uuid, count integer, at timestamptz, first_id uuid, newest_id uuid
) RETURNS TABLE (head_seq bigint, epoch bigint, last_id uuid, chosen uuid, leaf uuid, live boolean)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    asker uuid;
BEGIN
    UPDATE public.chat_room r
    SET head_seq = r.head_seq + count,
        last_message_at = at,
        last_id = CASE WHEN r.last_id < first_id THEN newest_id ELSE r.last_id END
    WHERE r.id = room RETURNING r.head_seq, r.epoch, r.last_id INTO head_seq, epoch, last_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT rm.branch_id, rm.membership_id INTO chosen, asker FROM public.chat_roommember rm WHERE rm.id = place;
    IF chosen IS NULL THEN
        leaf := public.chat_newest_leaf(room);
        live := FALSE;
    ELSE
        live := EXISTS (
            SELECT FROM public.chat_generation g WHERE g.room_id = room AND g.status IN ('queued', 'streaming')
            AND g.prompt_id = chosen AND g.requested_by_id = asker
        );
    END IF;
    RETURN NEXT;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("chat", "0017_generic_plans")]

    operations = [
        migrations.RunSQL(
            SPEAK
            + "REVOKE ALL ON FUNCTION chat_speak(uuid, uuid, integer, timestamptz, uuid, uuid) FROM PUBLIC;"
            + "GRANT EXECUTE ON FUNCTION chat_speak(uuid, uuid, integer, timestamptz, uuid, uuid) TO parley_app;",
            "DROP FUNCTION chat_speak(uuid, uuid, integer, timestamptz, uuid, uuid)",
        ),
    ]
