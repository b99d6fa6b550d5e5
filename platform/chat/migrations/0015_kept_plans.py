"""What every message asks first, as functions: PostgreSQL keeps a function's plans for a connection, where a statement that is sent
is planned each time. Planning took longer than carrying it out.

They run with their caller's rights: the policies of the tables stand in their plans.
"""

from django.db import migrations

from chat.bounds import BRANCH_DEPTH_MAX

# Room by room, by its key: the plan that is kept knows neither how many are asked for, nor how many the member is in.
ACCESS = """
CREATE FUNCTION chat_access(member uuid, rooms uuid[]) RETURNS TABLE (
    tenant_id uuid, room_id uuid, kind text, settings jsonb, epoch bigint, head_seq bigint, room_member_id uuid,
    membership_id uuid, name text, role text, archived boolean
) LANGUAGE plpgsql STABLE SECURITY INVOKER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT place.* FROM unnest(rooms) AS asked (id) CROSS JOIN LATERAL (
        SELECT r.tenant_id, r.id, r.kind::text, r.settings, r.epoch, r.head_seq, rm.id, rm.membership_id, p.name::text,
               rm.role::text, r.archived_at IS NOT NULL
        FROM public.chat_room r
        JOIN public.chat_roommember rm ON rm.tenant_id = r.tenant_id AND rm.room_id = r.id AND rm.membership_id = member
        JOIN public.tenants_membership m ON m.tenant_id = rm.tenant_id AND m.id = rm.membership_id
        JOIN public.tenants_person p ON p.id = m.person_id
        WHERE r.id = asked.id AND rm.left_at IS NULL AND r.deleted_at IS NULL
        OFFSET 0
    ) place;
END $$;
"""

# From the newest message of a person, or of anybody, down to the newest answer.
NEWEST_LEAF = f"""
CREATE FUNCTION chat_newest_leaf(room uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    leaf uuid;
    below uuid;
BEGIN
    SELECT m.id INTO leaf FROM public.chat_message m
    WHERE m.room_id = room AND m.author_kind <> 'model' ORDER BY m.id DESC LIMIT 1;
    IF leaf IS NULL THEN
        SELECT m.id INTO leaf FROM public.chat_message m WHERE m.room_id = room ORDER BY m.id DESC LIMIT 1;
    END IF;
    FOR depth IN 1..{BRANCH_DEPTH_MAX} LOOP
        SELECT m.id INTO below FROM public.chat_message m
        WHERE m.room_id = room AND m.parent_id = leaf ORDER BY m.id DESC LIMIT 1;
        EXIT WHEN below IS NULL;
        leaf := below;
    END LOOP;
    RETURN leaf;
END $$;
"""


def _for_the_app(signature: str) -> str:
    return f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {signature} TO parley_app;"


class Migration(migrations.Migration):
    dependencies = [("chat", "0014_room_last_id")]

    operations = [
        migrations.RunSQL(
            ACCESS + _for_the_app("chat_access(uuid, uuid[])"), "DROP FUNCTION chat_access(uuid, uuid[])"
        ),
        migrations.RunSQL(NEWEST_LEAF + _for_the_app("chat_newest_leaf(uuid)"), "DROP FUNCTION chat_newest_leaf(uuid)"),
    ]
