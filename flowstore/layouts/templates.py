"""Templates of paths: their fields, what is refused in them, and the paths that they give. Pure: no files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from flowstore.errors import ArgumentError
from flowstore.names import MAX_COMPONENT_BYTES, printable_name

_FIELDS = {"class", "video", "number", "step"}
_DRIVE = re.compile(r"[A-Za-z]:")
# Of a flow: a video of a day at a thousand frames per second has fewer.
_LARGE_NUMBER = 99_999_999


@dataclass(frozen=True)
class PathPattern:
    """The path of a video's files but for the number: what stands before it, its digits (None: no number), the rest."""

    before: str
    n_digits: int | None = None
    after: str = ""

    def path(self, number: int) -> str:
        """Return the path of one file."""
        return self.before if self.n_digits is None else f"{self.before}{number:0{self.n_digits}d}{self.after}"

    def check_length(self) -> None:
        """Raise if a file's or a folder's name would be too long."""
        path = self.path(_LARGE_NUMBER)
        longest = max(path.split("/"), key=lambda component: len(os.fsencode(component)))
        if len(os.fsencode(longest)) > MAX_COMPONENT_BYTES:
            raise ArgumentError(
                f"the file name {printable_name(longest)[:40]!r}... is longer than {MAX_COMPONENT_BYTES} bytes"
            )


def check_template(template: str, suffixes: tuple[str, ...], is_numbered: bool) -> None:
    """Refuse a template that leads out of the root, or lacks what tells videos or flows apart."""
    fields = template_fields(template)
    components = template.split("/")
    if any(part in ("", ".", "..") for part in components) or "\\" in template or any(map(_DRIVE.match, components)):
        raise ArgumentError(f"template {template!r}: expected a relative path below the root, with /, such as "
                            "{class}/{video}/flow_x_{number:05d}.jpg")  # fmt: skip
    if "\0" in template:
        raise ArgumentError(f"template {template!r}: holds a null character")
    if not template.lower().endswith(suffixes):
        raise ArgumentError(f"template {template!r}: expected to end in {' or '.join(suffixes)}, as the format asks")
    if "video" not in fields:
        raise ArgumentError(f"template {template!r}: without {{video}} all videos would get the same files")
    if fields.count("number") != is_numbered:
        expected = "one {number}, which tells flows apart" if is_numbered else "no {number}: a file holds a video"
        raise ArgumentError(f"template {template!r}: expected {expected}")
    if is_numbered and "number" not in template_fields(components[-1]):
        raise ArgumentError(f"template {template!r}: {{number}} must stand in the file's name, not in a folder's")
    _check_number_stands_apart(template)


def _check_number_stands_apart(template: str) -> None:
    # Else a/11 could be flow 1 of video a1 or flow 11 of video a.
    parts = [(text, field) for text, field, _ in _parse(template)]
    for at, (text, field) in enumerate(parts):
        after = parts[at + 1][0] if at + 1 < len(parts) else ""
        if field == "number" and ((at and not text) or text[-1:].isdigit() or not after or after[0].isdigit()):
            raise ArgumentError(f"template {template!r}: a character that is no digit must stand on both sides of the "
                                "number, to tell it from the names")  # fmt: skip


def _parse(template: str) -> list[tuple[str, str | None, str]]:
    """Return the literal texts of a template, each with the field that follows it (or None) and its format."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ArgumentError(f"template {template!r}: {error}; fields are {{class}}, {{video}}, {{number}}") from error
    found, literal = [], ""
    for text, field, spec, conversion in parts:
        literal += text
        # A doubled brace ends a part without a field.
        if field is None:
            continue
        if field not in _FIELDS or conversion or (spec and field != "number"):
            raise ArgumentError(
                f"template {template!r}: unknown field {{{field}}}; there are {{class}}, {{video}}, {{number}}, "
                "{number:05d}, {step}"
            )
        if spec and not re.fullmatch(r"0\d{1,2}d", spec):
            raise ArgumentError(f"template {template!r}: format {spec!r} of the number, expected such as 05d")
        found.append((literal, field, spec or ""))
        literal = ""
    return [*found, (literal, None, "")]


def template_fields(template: str) -> list[str]:
    """Return the fields of a template, in order."""
    return [field for _, field, _ in _parse(template) if field is not None]


def fill_template(template: str, values: Mapping[str, str]) -> PathPattern:
    """Fill in every field but the number."""
    sides, n_digits = [""], None
    for text, field, spec in _parse(template):
        sides[-1] += text
        if field == "number":
            n_digits = int(spec.removesuffix("d") or 0)
            sides.append("")
        elif field is not None:
            sides[-1] += values[field]
    return PathPattern(sides[0], n_digits, sides[-1] if n_digits is not None else "")


def check_component(name: str) -> None:
    """Refuse a name that cannot be one component of a path, or would lead out of its folder."""
    separators = [separator for separator in (os.sep, os.altsep, "/", "\0") if separator]
    # On Windows a drive's letter leads to the drive, wherever in a path it stands.
    is_drive = _DRIVE.match(name)
    if not name or name in {".", ".."} or is_drive or any(separator in name for separator in separators):
        raise ArgumentError(
            f"name {printable_name(name)!r} cannot be a file name, so it cannot be exported under its own"
        )
    if len(os.fsencode(name)) > MAX_COMPONENT_BYTES:
        raise ArgumentError(f"name {printable_name(name)[:40]!r}... is longer than {MAX_COMPONENT_BYTES} bytes")


def component_pattern(component: str, known: Mapping[str, str], is_greedy: bool = True) -> re.Pattern[str]:
    """Return what names of files or folders fit one component of a template: the inverse of `fill_template`.

    Examples
    --------
    >>> component_pattern("{video}-{number:06d}x.jpg", {"video": "a"}).fullmatch("a-000012x.jpg")["number"]
    '000012'
    """
    name = ".+" if is_greedy else ".+?"
    fields = {"class": name, "video": name, "number": "[0-9]+", "step": "(?:_p(?:[2-9]|[1-9][0-9]{1,5}))?"}
    pattern, seen = "", set()
    for text, field, _ in _parse(component):
        pattern += re.escape(text)
        if field is None:
            continue
        if field in known:
            pattern += re.escape(known[field])
        else:
            pattern += f"(?P={field})" if field in seen else f"(?P<{field}>{fields[field]})"
            seen.add(field)
    return re.compile(pattern, re.DOTALL)


def source_pattern(template: str) -> tuple[re.Pattern[str], ...]:
    """Return what each part of a video's path below its source is, as a template of sources says it.

    Examples
    --------
    >>> [part.pattern for part in source_pattern("{class}/*/{video}")]
    ['(?P<class>.+)', '.*', '(?P<video>.+)']
    """
    if not isinstance(template, str):
        raise ArgumentError(f"source template is {template!r}, expected such as '{{class}}/*/{{video}}'")
    fields = template_fields(template)
    components = template.split("/")
    if fields.count("video") != 1 or fields.count("class") > 1 or {*fields} - {"class", "video"}:
        raise ArgumentError(
            f"source template {template!r}: expected {{video}} once, {{class}} at most once and no other field, such "
            "as '{class}/*/{video}'"
        )
    if any(part in ("", ".", "..") for part in components):
        raise ArgumentError(
            f"source template {template!r}: expected a path below SOURCE, such as '{{class}}/*/{{video}}'"
        )
    return tuple(re.compile(component_pattern(part, {}).pattern.replace(r"\*", ".*"), re.DOTALL) for part in components)
