"""Files whose time is over, whosever they are: never claimed, or no longer of any message."""

from chat.files.objects import remove_all
from kernel.expiry import delete_expired_objects


def delete_expired_attachments() -> int:
    """Delete files. How many."""
    return delete_expired_objects("chat_attachment", remove_all)
