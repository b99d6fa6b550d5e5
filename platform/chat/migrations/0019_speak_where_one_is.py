"""Nobody says anything in a room that was deleted, or that they were taken out of, while they waited for its lock.

A room is emptied once: what was said after that would have stayed for ever. It is 0018's function, with the two asked again once
the room is locked; who asks is told that there is no such room.
"""

from django.db import migrations

SPEAK = """
CREATE OR REPLACE FUNCTION chat_speak(
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
    WHERE r.id = room{in_force} RETURNING r.head_seq, r.epoch, r.last_id INTO head_seq, epoch, last_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT rm.branch_id, rm.membership_id INTO chosen, asker FROM public.chat_roommember rm WHERE rm.id = place{in_room};{or_none}
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
BEFORE = SPEAK.format(in_force="", in_room="", or_none="")
NOW = SPEAK.format(
    in_force=" AND r.deleted_at IS NULL",
    in_room=" AND rm.left_at IS NULL",
    or_none="""
    IF NOT FOUND THEN
        RETURN;
    END IF;""",
)


class Migration(migrations.Migration):
    dependencies = [("chat", "0018_speak")]

    operations = [migrations.RunSQL(NOW, BEFORE)]
