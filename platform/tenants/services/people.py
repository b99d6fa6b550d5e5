"""What people change about themselves."""

from kernel.errors import PermissionDenied
from tenants.models import Person
from tenants.principals import Principal


def myself(*, caller: Principal) -> Person:
    """The person who is calling, or whose key is."""
    return Person.objects.get(id=caller.person_id)


def rename_self(*, caller: Principal, name: str) -> Person:
    """Change one's own name, in all tenants. A program can't rename its owner."""
    if caller.kind != "member":
        raise PermissionDenied("An API key can't change a person.")
    person = Person.objects.select_for_update().get(id=caller.person_id)
    person.name = name
    person.save(update_fields=["name"])
    return person
