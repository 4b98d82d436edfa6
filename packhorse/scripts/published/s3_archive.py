#!/usr/bin/env python3
"""An archive behind S3; objects in Glacier are restored first.

Names are s3://BUCKET/KEY. Credentials are found as boto3 finds them: in ~/.aws of the user
who runs this, or by the role of the machine.
"""

from __future__ import annotations

import base64
import contextlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archive_script import OrderingArchive, main
from archive_tools import Exit, Failed, each, library, pauses, split_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from archive_tools import Answer

#: Objects of these classes, or in these tiers of INTELLIGENT_TIERING, cannot be read at once.
COLD: Final = {"GLACIER", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"}
_NOT_FOUND: Final = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_NOT_PERMITTED: Final = {
    "401",
    "403",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}

_MD5_DIGITS: Final = 32


class S3Archive(OrderingArchive):
    """Copies objects from and to S3, and restores them from Glacier."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Where the objects are, and how they are restored and stored."""
        OrderingArchive.add_options(parser)
        parser.add_argument("--endpoint", metavar="URL", help="of an S3 server that is not AWS's")
        parser.add_argument("--profile", metavar="NAME", help="of ~/.aws/credentials")
        parser.add_argument("--region", metavar="NAME")
        parser.add_argument("--days", type=int, default=2, help="a restored copy is kept")
        parser.add_argument("--tier", default="Standard", help="Expedited, Standard, or Bulk")
        parser.add_argument(
            "--tier-fallback", action="store_true", help="Standard where Expedited has no capacity"
        )
        parser.add_argument("--storage-class", metavar="NAME", help="of what is stored")

    def needs(self) -> None:
        """boto3 alone."""
        _ = self._client

    def stage(self, name: str, part: str) -> int:
        """Restores the object if it is cold, and waits for that."""
        bucket, key = _bucket_and_key(name)
        head = self._head(name)
        if _is_cold(head) and not self.options.ready:
            self._restore(name)
            head = self._until_restored(name, part)
        with self._errors(name):
            self._client.download_file(bucket, key, part)
        return int(head["ContentLength"])

    def stat(self, name: str) -> Answer:
        """Size and time; the MD5 sum where the ETag is one."""
        try:
            head = self._head(name)
        except Failed as failed:
            # A directory is there as long as something is in it.
            if failed.code == Exit.NOT_FOUND and next(self._entries(name, most=1), None):
                return {"type": "dir"}
            raise
        return {
            "size": head["ContentLength"],
            "mtime": head["LastModified"].timestamp(),
            "checksum": _checksum(head),
        }

    def entries(self, name: str) -> Iterator[Answer]:
        """The objects and common prefixes below one with a slash at its end."""
        is_there = name.count("/") < 4  # a bucket may be empty
        for entry in self._entries(name):
            is_there = True
            yield entry
        if not is_there:
            raise Failed(Exit.NOT_FOUND, f"{name}: there is nothing of that name")

    def store(self, path: str, name: str) -> None:
        """An object appears only when it is whole."""
        bucket, key = _bucket_and_key(name)
        extra = {"StorageClass": self.options.storage_class} if self.options.storage_class else {}
        with Path(path).open("rb") as file, self._errors(name):
            self._client.upload_fileobj(file, bucket, key, ExtraArgs=extra)

    def remove(self, name: str) -> None:
        """S3 says nothing about what was not there."""
        bucket, key = _bucket_and_key(name)
        with self._errors(name):
            self._client.delete_object(Bucket=bucket, Key=key)

    def submit(self, files: Sequence[Answer]) -> Iterator[Answer]:
        """S3 has no names for orders: an object is restored or not."""
        return each(files, self._order)

    def poll(self, orders: Sequence[Answer]) -> Iterator[Answer]:
        """A file that is not restored any more was ready once, or ordered in vain."""
        return each(orders, self._standing)

    def cancel(self, orders: Sequence[Answer]) -> None:
        """S3 cannot be told: a restored copy goes after its days."""

    release = cancel

    # --- Glacier --------------------------------------------------------------------

    def _order(self, file: Answer) -> Answer:
        if _is_cold(self._head(file["source"])):
            self._restore(file["source"])
        return {"id": file["source"]}

    def _standing(self, order: Answer) -> Answer:
        head = self._head(order["source"])
        if not _is_cold(head):
            return {"state": "ready"}
        is_asked_for = "Restore" in head or "ArchiveStatus" in head
        return {"state": "waiting" if is_asked_for else "unknown"}

    def _restore(self, name: str) -> None:
        """Asks for a copy that can be read; that somebody has asked already is as good."""
        try:
            self._ask_to_restore(name, self.options.tier)
        except Refused as refused:
            if refused.said in {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}:
                return
            no_capacity = refused.said == "GlacierExpeditedRetrievalNotAvailable"
            if not no_capacity or not self.options.tier_fallback:
                raise
            self._ask_to_restore(name, "Standard")

    def _ask_to_restore(self, name: str, tier: str) -> None:
        request: dict[str, Any] = {"GlacierJobParameters": {"Tier": tier}}
        if "ArchiveStatus" not in self._head(name):
            # INTELLIGENT_TIERING moves it for good, not for some days.
            request["Days"] = self.options.days
        bucket, key = _bucket_and_key(name)
        with self._errors(name):
            self._client.restore_object(Bucket=bucket, Key=key, RestoreRequest=request)

    def _until_restored(self, name: str, part: str) -> dict[str, Any]:
        head = self._head(name)
        for _ in pauses(part, self.options.poll):
            head = self._head(name)
            if not _is_cold(head):
                break
        return head

    # --- inside ---------------------------------------------------------------------

    @cached_property
    def _exceptions(self) -> Any:
        return library("botocore.exceptions", "packhorse[s3]")

    @cached_property
    def _client(self) -> Any:
        options = self.options
        boto3 = library("boto3", "packhorse[s3]")
        with self._errors(options.endpoint or "S3"):
            session = boto3.Session(profile_name=options.profile, region_name=options.region)
            return session.client("s3", endpoint_url=options.endpoint)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        errors = self._exceptions
        try:
            yield
        except errors.ClientError as error:
            raise Refused(error.response["Error"]["Code"], f"{name}: {error}") from error
        except (
            errors.NoCredentialsError,
            errors.PartialCredentialsError,
            errors.ProfileNotFound,
            errors.ParamValidationError,
            ValueError,
        ) as error:
            raise Failed(Exit.SET_UP_WRONGLY, f"{name}: {error}") from error
        except (errors.HTTPClientError, errors.ConnectionError) as error:
            raise Failed(Exit.UNAVAILABLE, f"{name}: {error}") from error
        except errors.BotoCoreError as error:
            raise Failed(Exit.LATER, f"{name}: {error}") from error

    def _head(self, name: str) -> dict[str, Any]:
        bucket, key = _bucket_and_key(name)
        if not key:
            raise Failed(Exit.NOT_FOUND, f"{name} is a bucket")
        with self._errors(name):
            head: dict[str, Any] = self._client.head_object(
                Bucket=bucket, Key=key, ChecksumMode="ENABLED"
            )
        return head

    def _entries(self, name: str, most: int = 1000) -> Iterator[Answer]:
        bucket, prefix = _bucket_and_key(name.rstrip("/") + "/")
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": most}
        )
        with self._errors(name):
            for page in pages:
                for found in page.get("CommonPrefixes", ()):
                    yield {"name": found["Prefix"][len(prefix) :].rstrip("/"), "type": "dir"}
                for found in page.get("Contents", ()):
                    # One that ends with a slash is a directory that somebody has made.
                    if found["Key"] != prefix:
                        answer = {"name": found["Key"][len(prefix) :], "size": found["Size"]}
                        yield {**answer, "mtime": found["LastModified"].timestamp()}


class Refused(Failed):
    """S3 has said no, by this code of its own."""

    def __init__(self, said: str, reason: str) -> None:
        code = Exit.LATER
        if said in _NOT_FOUND:
            code = Exit.NOT_FOUND
        elif said in _NOT_PERMITTED:
            code = Exit.NOT_PERMITTED
        super().__init__(code, reason)
        self.said = said


def _bucket_and_key(name: str) -> tuple[str, str]:
    _, bucket, path = split_url(name, "s3")
    return bucket, path.removeprefix("/")


def _is_cold(head: dict[str, Any]) -> bool:
    tier = head.get("ArchiveStatus") or head.get("StorageClass")
    return tier in COLD and 'ongoing-request="false"' not in head.get("Restore", "")


def _checksum(head: dict[str, Any]) -> str | None:
    """The sum of the whole object that its server knows, if it is one that Packhorse knows."""
    if "ChecksumCRC32C" in head and head.get("ChecksumType") == "FULL_OBJECT":
        return f"crc32c:{base64.b64decode(head['ChecksumCRC32C']).hex()}"
    etag: str = head.get("ETag", "").strip('"')
    # It is no MD5 sum of an object that came in parts, or is encrypted with a key of KMS.
    is_md5 = len(etag) == _MD5_DIGITS and not head.get("ServerSideEncryption", "").startswith("aws")
    return f"md5:{etag}" if is_md5 else None


if __name__ == "__main__":
    main(S3Archive)
