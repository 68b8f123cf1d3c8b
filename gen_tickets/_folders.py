"""Images of one's own: a folder or a zip of png and jpg, or an `.npz`; what does not go together is refused by name."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from gen_tickets._resize import squared

__all__ = ["Own", "read"]

Own = tuple[np.ndarray, np.ndarray | None]
"""Images (N, C, H, W) of bytes, and labels (N,) if there are any."""
_KINDS = {".png", ".jpg", ".jpeg"}


def read(path: Path, size: int | None = None) -> Own:
    """All images of a folder, a zip or an `.npz`, in the order of their names.

    Where every image of a folder lies in a folder of its class, as in `cats/01.png`, these folders are the labels.

    Args:
        path: the folder or the file.
        size: crop every image to its central square and resize that to this side.

    Raises:
        ValueError: there is no image, one is damaged, sizes differ, or grey and colour are mixed.
    """
    if path.suffix.lower() == ".npz":
        return _npz(path, size)
    names, pixels = [], []
    for name, content in _files(path):
        image = _decoded(path, name, content)
        names.append(name)
        pixels.append(image if size is None else squared(image[None], size)[0])
    if not names:
        raise ValueError(
            f"{path}: found no image; expected png or jpg files. Give the folder or the zip that has them."
        )
    _same(path, names, pixels)
    return np.stack(pixels), _labels(names)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name within the folder or the zip, and content, of every image file; hidden ones are left out."""
    if path.is_dir():
        inside = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
        for name in filter(_is_image, sorted(inside)):
            yield name, inside[name].read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in filter(_is_image, sorted(archive.namelist())):
                yield name, archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{path}: found a damaged zip ({error}); expected a whole one. Put a good copy there."
        ) from error


def _is_image(name: str) -> bool:
    parts = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts.parts)
    return parts.suffix.lower() in _KINDS and not hidden


def _decoded(path: Path, name: str, content: bytes) -> np.ndarray:
    """One image as (C, H, W) bytes: grey, or colour without a transparent pixel."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"))[None]
            colours = np.asarray(image.convert("RGBA") if image.mode in ("P", "RGB", "RGBA") else image)
            mode = image.mode
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        why = f"{type(error).__name__}: {error}".replace("\n", " ")
        found = f"found a damaged image ({why})"
        raise ValueError(f"{path}: {name}: {found}; expected a whole png or jpg. Replace or remove it.") from error
    if mode not in ("P", "RGB", "RGBA") or bool((colours[..., 3] < 255).any()):
        found = f"found an image of mode {mode}" + (" with transparent pixels" if mode in ("P", "RGBA") else "")
        raise ValueError(f"{path}: {name}: {found}; expected grey or RGB of 8 bits. Convert it first.")
    return np.ascontiguousarray(colours[..., :3].transpose(2, 0, 1))


def _same(path: Path, names: list[str], pixels: list[np.ndarray]) -> None:
    """Refuse images that differ in channels or in size, naming one that does."""
    for what, parts, remedy in (
        ("channels", [image.shape[:1] for image in pixels], "Convert all to grey or all to colour."),
        ("pixels", [image.shape[1:] for image in pixels], "Resize them, or give a size to crop and resize to."),
    ):
        common, count = Counter(parts).most_common(1)[0]
        if count < len(parts):
            other = next(index for index, part in enumerate(parts) if part != common)
            odd, usual = ("x".join(map(str, part)) for part in (parts[other], common))
            raise ValueError(
                f"{path}: {names[other]}: found {odd} {what}; expected {usual}, as {count} of {len(parts)} images "
                f"have. {remedy}"
            )


def _labels(names: list[str]) -> np.ndarray | None:
    """The number of each image's class folder, or None unless there are several and every image lies in one."""
    parents = [PurePosixPath(name).parent.as_posix() for name in names]
    classes = sorted(set(parents))
    if len(classes) < 2 or "." in classes:
        return None
    return np.array([classes.index(parent) for parent in parents], dtype=np.int64)


def _npz(path: Path, size: int | None) -> Own:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "labels") if name in file.files}
            others = ", ".join(file.files) or "nothing"
    except Exception as error:  # a damaged file makes zipfile and numpy raise almost anything
        found = f"found damaged data ({type(error).__name__}: {error})"
        raise ValueError(
            f"{path}: {found}; expected an .npz with images. Write it again, or restore a copy."
        ) from error
    if "images" not in arrays:
        raise ValueError(
            f"{path}: found the arrays {others}; expected images, and labels if you have them. Rename them."
        )
    images, labels = arrays["images"], arrays.get("labels")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        found = f"labels of {labels.dtype} and shape {labels.shape}"
        raise ValueError(f"{path}: found {found}; expected one integer an image, ({len(images)},). Correct them.")
    pixels = _first(path, images)
    return pixels if size is None else squared(pixels, size), None if labels is None else labels.astype(np.int64)


def _first(path: Path, images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) of those with channels last, first or not at all."""
    if images.dtype == np.uint8 and images.ndim == 3:
        return images[:, None]
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise ValueError(
        f"{path}: found images of {images.dtype} and shape {images.shape}; expected uint8 of (N, H, W), (N, H, W, C) "
        "or (N, C, H, W) with 1 or 3 channels. Convert them."
    )
