"""PDFs are made once, by a worker, and kept in the storage of files: they are sent from there, and downloaded from there. One
that is gone is made again."""

import tempfile
from typing import IO

from django.core.files import File

from billing.invoices.documents.pdf import write_pdf
from billing.models import Invoice
from kernel.objects import object_name, object_storage

MEDIA_TYPE = "application/pdf"
CHUNK_BYTES = 256 * 1024


def name_of(document: Invoice) -> str:
    """Where its PDF lies. What is void is another file than it was before."""
    suffix = "-void" if document.state == "void" else ""
    return object_name(document.tenant_id, "invoices", f"{document.id}{suffix}.pdf")


def filename_of(document: Invoice, extension: str) -> str:
    """What people save it as."""
    return f"{document.label}.{extension}"


def make_pdf(document: Invoice, target: IO[bytes]) -> int:
    """Write it; how many pages. Opens connections of its own, so no transaction waits for it."""
    about = document.corrects or document.replaces
    return write_pdf(document, target, about=about.label if about else "")


def keep_pdf(document: Invoice) -> str:
    """Make its PDF and keep it; where it lies."""
    name = name_of(document)
    with tempfile.TemporaryFile() as made:
        make_pdf(document, made)
        made.seek(0)
        storage = object_storage()
        storage.delete(name)
        kept = storage.save(name, File(made, name=name))
    if kept != name:
        # Another process made it at the same time: it is the same file.
        storage.delete(kept)
    return name
