"""What the files of an import are: what the user says of them, and what ``flowstore-export.json`` beside them says."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from flowstore.arguments import check_flag, check_whole, our_spelling
from flowstore.errors import ArgumentError
from flowstore.format.codec import Compression
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.layouts.layout import MANIFEST, Layout
from flowstore.layouts.manifest import Manifest
from flowstore.layouts.presets import LAYOUTS, find_layout
from flowstore.quantize.file_quantizer import FileEncoding, FileQuantizer, has_bound
from flowstore.quantize.quantizer import Encoding, Quantizer, check_bound

UNKNOWN = "unknown"
# The formulas of I3D hold the number.
_I3D_BOUND_PX = 20.0


@dataclass(frozen=True)
class ImportOptions:
    """What can be said about the files of an import; None where the layout or ``flowstore-export.json`` is to say it.

    Parameters
    ----------
    encoding : str, optional
        What the files' numbers mean; one of `flowstore.quantize.file_quantizer.FileEncoding`.
    bound : float, optional
        Of the files' codes and of the store, in pixels.
    first : int, optional
        Number of the first flow.
    step : int, optional
        Distance of the frames of a flow; 1 where neither names nor anything else tells.
    pad_last : bool, optional
        Whether the last flow stands twice.
    store_encoding : str, optional
        Of the store; the files' where a store has it, else ``centred``.
    compression : {"fast", "balanced", "small", "none"}, optional
        Of the store; that of a store that exists, else ``fast``.
    max_error : float, optional
        Largest error of a component of the store, in pixels; that of a store that exists, else half a step. For files
        of pixels only.
    """

    encoding: FileEncoding | None = None
    bound: float | None = None
    first: int | None = None
    step: int | None = None
    pad_last: bool | None = None
    store_encoding: Encoding | None = None
    compression: Compression | None = None
    max_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("encoding", "store_encoding"):
            object.__setattr__(self, name, our_spelling(getattr(self, name)))
        for name, least in (("first", 0), ("step", 1)):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least)
                object.__setattr__(self, name, int(getattr(self, name)))
        if self.bound is not None:
            check_bound(self.bound)
            object.__setattr__(self, "bound", float(self.bound))
        if self.pad_last is not None:
            check_flag("pad_last", self.pad_last)


@dataclass(frozen=True)
class Origin:
    """What is known of some flow files before they are looked for.

    Parameters
    ----------
    layout : Layout
        Where they stand.
    read : FileQuantizer
        What their numbers mean.
    stored : Quantizer
        Of the store.
    step : int or None
        Distance of a flow's frames; None where names have to tell it.
    computed_by : str
        Algorithm and engine, or ``unknown``.
    notes : tuple of str
        What the user should know, a line each.
    exported : frozenset of str or None
        The videos whose files are those of which ``flowstore-export.json`` tells; None where it does not say.
    """

    layout: Layout
    read: FileQuantizer
    stored: Quantizer
    step: int | None
    computed_by: str
    notes: tuple[str, ...]
    exported: frozenset[str] | None = None


def find_origin(
    root: str, layout: str | Layout | None, options: ImportOptions, stored: ExtractSettings | None = None
) -> Origin:
    """Put together what is asked for, what ``flowstore-export.json`` says, and the settings of a store that goes on."""
    manifest = _read_manifest(root)
    asked = layout if layout is None or isinstance(layout, Layout) else find_layout(layout)
    # Where nothing is said of the store's numbers, they are the store's.
    kept = stored.quantizer if stored is not None and _says_nothing(options) else None
    if stored is not None:
        options = _going_on(options, stored, is_alone=manifest is None)
    if manifest is None:
        if asked is None:
            asked = _stored_layout(root, stored)
        chosen, source_settings = asked, None
    else:
        chosen = _stated_layout(manifest, root)
        _check_agreement(manifest, chosen, asked, options, root)
        source_settings = _manifest_settings(manifest, root)
        if options.step is None:
            options = replace(options, step=manifest.said.get("step"))
    changes: dict[str, Any] = {"encoding": options.encoding, "first": options.first, "is_padded": options.pad_last}
    chosen = replace(chosen, **{name: value for name, value in changes.items() if value is not None})
    stated_bound = None if manifest is None else manifest.said.get("bound_px")
    read, quantizer = _choose_quantizers(chosen, options, stated_bound, source_settings, kept)
    notes = []
    if manifest is not None and manifest.said.get("complete") is False:
        notes.append(f"{MANIFEST} says that the export was not finished")
    exported = None
    if manifest is not None and manifest.videos is not None:
        exported = frozenset(key for key, digest in manifest.videos.items() if digest is not None)
    computed_by = _computed_by(source_settings)
    if manifest is None and stored is not None:
        computed_by = str(stored.params.get("computed_by", UNKNOWN))
    return Origin(chosen, read, quantizer, options.step, computed_by, tuple(notes), exported)


def _says_nothing(options: ImportOptions) -> bool:
    return options.bound is None and options.store_encoding is None


def _going_on(options: ImportOptions, stored: ExtractSettings, is_alone: bool) -> ImportOptions:
    """Return options with those of a store that exists where nothing was asked for.

    What its files are, ``flowstore-export.json`` says where it stands beside them.
    """
    settings: dict[str, Any] = {}
    bound_px = stored.params.get("bound_px", stored.quantizer.bound_px)
    if options.bound is not None and bound_px is not None:
        settings["store_encoding"] = stored.quantizer.encoding
    if is_alone:
        settings |= {"encoding": stored.params.get("encoding"), "bound": bound_px, "step": stored.step}
    return replace(options, **{name: value for name, value in settings.items() if getattr(options, name) is None})


def _stored_layout(root: str, stored: ExtractSettings | None) -> Layout:
    """Return the layout of the files that a store was begun with."""
    if stored is None:
        above = [os.path.dirname(root), os.path.dirname(os.path.dirname(root))]
        hint = next(
            (
                f"; {place} has one: give that folder"
                for place in above
                if os.path.isfile(os.path.join(place, MANIFEST))
            ),
            "",
        )
        raise ArgumentError(f"FOLDER {root}: give its layout with --layout; it has no {MANIFEST} that says it{hint}")
    if stored.engine not in LAYOUTS:
        raise ArgumentError(
            f"FOLDER {root}: give its layout again, with --layout {stored.engine} and its templates, which the store "
            "does not keep"
        )
    layout: Layout = LAYOUTS[stored.engine]
    file_format: Any = stored.params.get("format")
    return layout if file_format == layout.file_format else layout.with_image_format(file_format)


def _computed_by(source_settings: ExtractSettings | None) -> str:
    if source_settings is None:
        return UNKNOWN
    if source_settings.algorithm == IMPORTED:
        return str(source_settings.params.get("computed_by", UNKNOWN))
    return f"{source_settings.algorithm} ({source_settings.engine})"


def _choose_quantizers(
    layout: Layout,
    options: ImportOptions,
    stated_bound: float | None,
    source_settings: ExtractSettings | None,
    kept: Quantizer | None,
) -> tuple[FileQuantizer, Quantizer]:
    """Return what the files' numbers mean, and the quantizer of the store."""
    encoding, bound = layout.encoding, stated_bound if options.bound is None else options.bound
    if has_bound(encoding):
        if bound is None and encoding.startswith("i3d"):
            bound = _I3D_BOUND_PX
        if bound is None:
            raise ArgumentError(
                f"layout {layout.name} does not say the bound of its codes: give it with --bound PX (20 in most "
                "recipes; left to themselves, open-mmlab/denseflow takes 32 and yjxiong/dense_flow 15)"
            )
        read = FileQuantizer(encoding, bound)
    else:
        read = FileQuantizer(encoding, None)
    if kept is not None:
        return read, kept
    if options.store_encoding is None:
        if read.stored is not None:
            return read, read.stored
        if options.bound is None and source_settings is not None:
            return read, source_settings.quantizer
    if options.store_encoding == "float16":
        return read, Quantizer("float16", None)
    if bound is None:
        raise ArgumentError(
            f"layout {layout.name} has no bound, and the codes of a store need one: give it with --bound PX, such as "
            "20, or store pixels with --store-encoding float16"
        )
    return read, Quantizer(options.store_encoding or "centred", bound)


def _read_manifest(root: str) -> Manifest | None:
    path = os.path.join(root, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            manifest = Manifest.parse(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path}: cannot be read ({error}); remove it and say the layout") from error
    if manifest.said.get("layout") is None:
        raise ArgumentError(f"{path}: does not name a layout; remove it and say the layout")
    return manifest


def _stated_layout(manifest: Manifest, root: str) -> Layout:
    try:
        return manifest.layout()
    except ArgumentError as error:
        raise _damaged(root, error) from error


def _manifest_settings(manifest: Manifest, root: str) -> ExtractSettings | None:
    stated = manifest.said
    try:
        return ExtractSettings.from_json(stated["source_settings"]) if "source_settings" in stated else None
    except (TypeError, ValueError) as error:
        raise _damaged(root, error) from error


def _damaged(root: str, error: Exception) -> ArgumentError:
    return ArgumentError(f"{os.path.join(root, MANIFEST)}: damaged ({error}); remove it and say the layout")


def _check_agreement(
    manifest: Manifest, stated: Layout, asked: Layout | None, options: ImportOptions, root: str
) -> None:
    """Refuse what is asked where the manifest says something else."""
    pairs: list[tuple[str, Any, Any]] = [
        ("layout", stated.name, asked.name if asked else None),
        ("encoding", stated.encoding, options.encoding),
        ("first", stated.first, options.first),
        ("padded", stated.is_padded, options.pad_last),
        ("step", manifest.said.get("step"), options.step),
    ]
    if has_bound(stated.encoding):
        pairs.append(("bound", manifest.said.get("bound_px"), options.bound))
    if asked is not None and asked.name == "custom" == stated.name:
        pairs += [
            ("x template", stated.x_template, asked.x_template),
            ("y template", stated.y_template, asked.y_template),
            ("format", stated.file_format, asked.file_format),
        ]
    differences = [
        f"{name}: {there} against {here}" for name, there, here in pairs if here is not None and there != here
    ]
    if differences:
        raise ArgumentError(
            f"FOLDER {root}: its {MANIFEST} says something else (there against yours): {'; '.join(differences)}. "
            f"Leave it out, or remove {MANIFEST} if it is wrong"
        )
