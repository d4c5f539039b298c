"""What a literal says of data that lies elsewhere: a file, a directory, a table. Nothing here reads or writes it."""

from __future__ import annotations

from dataclasses import dataclass

from flytower.protocol.generated.flyteidl import core

SINGLE = core.BlobTypeBlobDimensionality.SINGLE
MULTIPART = core.BlobTypeBlobDimensionality.MULTIPART


@dataclass(frozen=True, slots=True)
class File:
    """A file in the object store.

    Args:
        uri: Where it is, "s3://bucket/key".
        format: What it holds, as the task's interface names it ("csv"); empty for any.
    """

    uri: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Directory:
    """Everything under a prefix of the object store.

    Args:
        uri: Where it is, "s3://bucket/prefix".
        format: What the files in it hold, as the task's interface names it; empty for any.
    """

    uri: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class StructuredDataset:
    """A table.

    Args:
        uri: Where it is, "s3://bucket/prefix" or "bq://project.dataset.table".
        format: How it is stored there, "parquet"; empty when the URI says it.
    """

    uri: str
    format: str = ""


def reference_to_scalar(value: File | Directory | StructuredDataset) -> core.Scalar:
    """Return the scalar that refers to the same data."""
    if isinstance(value, StructuredDataset):
        kind = core.StructuredDatasetType(format=value.format)
        metadata = core.StructuredDatasetMetadata(structured_dataset_type=kind)
        return core.Scalar(structured_dataset=core.StructuredDataset(uri=value.uri, metadata=metadata))
    blob_type = core.BlobType(format=value.format, dimensionality=MULTIPART if isinstance(value, Directory) else SINGLE)
    return core.Scalar(blob=core.Blob(uri=value.uri, metadata=core.BlobMetadata(type=blob_type)))


def blob_to_reference(blob: core.Blob) -> File | Directory:
    """Return the file or directory that a blob is. One that does not say is a file, as for flytekit."""
    blob_type = blob.metadata.type if blob.metadata else None
    if blob_type is None:
        return File(blob.uri)
    kind = Directory if blob_type.dimensionality == MULTIPART else File
    return kind(blob.uri, blob_type.format)


def dataset_to_reference(dataset: core.StructuredDataset) -> StructuredDataset:
    """Return the table that a structured dataset is."""
    kind = dataset.metadata.structured_dataset_type if dataset.metadata else None
    return StructuredDataset(dataset.uri, kind.format if kind else "")


def reference_to_plain(value: File | Directory | StructuredDataset) -> dict[str, str]:
    """Return a reference as flytekit writes it inside a dataclass."""
    if isinstance(value, StructuredDataset):
        return {"uri": value.uri, "file_format": value.format}
    return {"path": value.uri}
