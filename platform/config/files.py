"""Where uploaded files, and those that Parley makes, are kept: a folder, or a store that speaks Amazon's S3."""

from pathlib import Path
from typing import Any

from config.env import Env

CONNECT_S, READ_S = 5, 30
ATTEMPTS = 3
IN_MEMORY_BYTES = 4 * 2**20
"""What is read of an object is kept in memory up to here, then on disk."""


def file_storage(env: Env, folder: Path) -> dict[str, Any]:
    """The storage, as `settings.STORAGES` names it: in the bucket, if there is one, else in the folder."""
    if not env.parley_files_bucket:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder}}
    # Large, and only of use here.
    from botocore.config import Config

    secret = env.parley_files_secret_key
    return {
        "BACKEND": "kernel.bucket.Bucket",
        "OPTIONS": {
            "bucket_name": env.parley_files_bucket,
            "endpoint_url": env.parley_files_endpoint,
            "location": env.parley_files_prefix.strip("/"),
            "access_key": env.parley_files_access_key,
            "secret_key": secret.get_secret_value() if secret else None,
            "default_acl": None,
            "file_overwrite": True,
            "max_memory_size": IN_MEMORY_BYTES,
            "client_config": Config(
                region_name=env.parley_files_region,
                signature_version="s3v4",
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                # By path at others' stores: names of buckets below theirs have no certificate.
                s3={"addressing_style": "path" if env.parley_files_endpoint else "virtual"},
                # Checksums at the end of a body are Amazon's own: others refuse them.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        },
    }
