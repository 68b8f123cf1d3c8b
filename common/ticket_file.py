"""The files of a ticket: named tensors beside one json, written atomically and refused when a byte has changed.

Nothing here knows what a ticket means; `common.ticket` does, and `common.sparse.network` keeps networks the same way.
The json is written last and holds the sha256 of every tensor file and of itself, so that a folder either reads back
whole or raises `TicketError`. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from common._place import discard, place
from common.packing import raw_bytes

__all__ = ["TICKET", "Form", "TicketError", "layout", "plain", "read", "refuse", "sha256", "write"]


class Form(NamedTuple):
    """What a folder holds: a word and a version in its json, the json's name, and what to call the thing."""

    kind: str
    version: int
    manifest: str
    noun: str


TICKET = Form("lottery-ticket", 1, "ticket.json", "ticket")
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class TicketError(ValueError):
    """A ticket that cannot be written, read or applied as it stands; the message says what to do."""


def refuse(where: object, found: str, expected: str, todo: str) -> NoReturn:
    """Raise a `TicketError` that names the place, what was found, what was expected and the next step."""
    raise TicketError(f"{where}: found {found}; expected {expected}. {todo}")


def plain(value: Any) -> Any:
    """A value as json gives it back (tuples become lists), so that two of them compare.

    >>> plain({"size": (2, 3)})
    {'size': [2, 3]}
    """
    return json.loads(json.dumps(value))


def layout(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> list[memoryview]:
    """The bytes of a safetensors file, as buffers to write or hash one after the other.

    The same tensors and metadata give the same bytes in every release, so that their hash names a ticket.

    Args:
        tensors: name to a tensor of any shape; tensors that share memory are written twice.
        metadata: name to plain json, kept in the file's header.

    Raises:
        TicketError: a type of number that safetensors does not have.

    >>> header, values = layout({"w": torch.tensor([1, 2], dtype=torch.uint8)}, {})
    >>> header[8:].tobytes()
    b'{"__metadata__":{},"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}} '
    """
    header: dict[str, Any] = {
        "__metadata__": {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    }
    buffers: list[memoryview] = []
    offset = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        if tensor.dtype not in _DTYPES:
            refuse(name, str(tensor.dtype), "a type that safetensors has", "Convert the tensor before saving.")
        buffers.append(raw_bytes(tensor))
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [memoryview(struct.pack("<Q", len(text)) + text), *buffers]


def sha256(buffers: Iterable[memoryview]) -> str:
    """The sha256 of buffers as if they were one.

    >>> sha256([memoryview(b"a"), memoryview(b"b")]) == sha256([memoryview(b"ab")])
    True
    """
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def write(
    folder: Path,
    files: Mapping[str, list[memoryview]],
    body: Callable[[Mapping[str, str]], Mapping[str, Any]],
    optional: str = "",
    form: Form = TICKET,
) -> None:
    """Write tensor files and then the json that vouches for them, each through a temporary file.

    Args:
        folder: created if need be; an older ticket in it is replaced only once everything new is written, and is
            put back if replacing it fails halfway.
        files: file name to its `layout`.
        body: from the sha256 of each file to the json's content.
        optional: a file name that is removed when it is not among the files (left over from an older ticket).
        form: of the json.

    Raises:
        TicketError: the folder cannot be written, or the content is no plain json; an older ticket stays as it was.
    """
    token = uuid.uuid4().hex[:8]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records = {name: _stage(folder / f".{name}.{token}", buffers) for name, buffers in files.items()}
        content = body({name: record["sha256"] for name, record in records.items()})
        sealed = _sealed({"kind": form.kind, "version": form.version, **content, "files": records})
        (folder / f".{form.manifest}.{token}").write_text(sealed, encoding="utf-8")
        place(folder, token, list(files), form.manifest, gone="" if optional in files else optional)
    except OSError as error:
        found = f"{type(error).__name__} ({error.strerror or error})"
        refuse(folder, found, "a folder that can be written", "Check its permissions and the free space.")
    finally:
        for name in (*files, form.manifest):
            discard(folder / f".{name}.{token}")


def read(folder: Path, form: Form = TICKET) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The checked json of a folder and the tensors of every file it names (mapped, not copied).

    Raises:
        TicketError: something is missing, cut short, altered, of another version, or no ticket.
    """
    body = _manifest(folder, form)
    return body, {name: _tensors(folder / name, record, form) for name, record in body["files"].items()}


def _stage(path: Path, buffers: list[memoryview]) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as pool, path.open("wb", buffering=0) as file:
        digest = pool.submit(sha256, buffers)  # hashing and writing both release the interpreter lock
        for buffer in buffers:
            while buffer:
                buffer = buffer[file.write(buffer) :]
        return {"sha256": digest.result(), "bytes": path.stat().st_size}


def _sealed(body: dict[str, Any]) -> str:
    try:
        body = plain(body)
    except (TypeError, ValueError) as error:
        raise TicketError(
            f"a ticket's recipe, metrics, seeds, references and graph must be plain json: {error}. Convert tensors "
            "with .item() or .tolist(); nothing was replaced."
        ) from None
    return json.dumps(body | {"checksum": _checksum(body)}, indent=1) + "\n"


def _checksum(body: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in body.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _manifest(folder: Path, form: Form) -> dict[str, Any]:
    path, wanted = folder / form.manifest, f"the folder of a saved {form.noun}"
    if not folder.is_dir():
        refuse(folder, "no such folder", wanted, "Check the path.")
    if not path.is_file():
        refuse(folder, f"no {form.manifest}", wanted, f"Check the path, or save the {form.noun} again.")
    try:
        body = json.loads(path.read_bytes())
    except ValueError as error:
        refuse(path, f"a file that is no json ({error})", f"the json of a saved {form.noun}", _restore(form))
    if not isinstance(body, dict) or body.get("kind") != form.kind:
        kind = body.get("kind") if isinstance(body, dict) else type(body).__name__
        refuse(path, f"kind {kind!r}", f"kind {form.kind!r}", f"This is not a {form.noun}; check the path.")
    if body.get("version") != form.version:
        refuse(path, f"format version {body.get('version')!r}", f"version {form.version}",
               "Load it with the lottery-tickets release that wrote it, or upgrade this one.")  # fmt: skip
    if body.get("checksum") != (right := _checksum(body)):
        found, expected = f"checksum {body.get('checksum')!r}", f"{right!r} for its content"
        refuse(path, found, expected, f"It was altered. {_restore(form)}")
    return body


def _restore(form: Form) -> str:
    return f"Nothing was loaded; restore the folder from a copy, or save the {form.noun} again."


def _tensors(path: Path, record: Mapping[str, Any], form: Form) -> dict[str, Tensor]:
    if not path.is_file():
        refuse(path, "no such file", f"{record['bytes']} bytes that {form.manifest} names", _restore(form))
    if (size := path.stat().st_size) != record["bytes"]:
        refuse(path, f"{size} bytes", f"{record['bytes']}", f"The file was cut short or replaced. {_restore(form)}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != record["sha256"]:
        refuse(path, f"sha256 {digest[:12]}...", f"{record['sha256'][:12]}...", f"Bytes were altered. {_restore(form)}")
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        refuse(path, f"a file that is no safetensors ({error})", f"the tensors of a {form.noun}", _restore(form))
