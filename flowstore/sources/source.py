"""One video of a dataset, a file or a folder of frames: it opens, probes and recognizes itself."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from flowstore.errors import DecodeError, FlowStoreError, MissingExtraError, SourceError
from flowstore.names import printable_name
from flowstore.opencv import opencv_versions
from flowstore.sources.fingerprint import Fingerprint, SourceFiles, SourceKind, one_file, several_files
from flowstore.sources.frames import FrameReader
from flowstore.sources.images import FrameFolder, read_levels
from flowstore.sources.listing import list_frames
from flowstore.sources.series import order_frames

try:
    from flowstore.sources.videos import VideoFile, decoder_versions
except ImportError as error:
    raise MissingExtraError(
        f"PyAV, which decodes videos, cannot be loaded ({error}): pip install 'av>=17.1'"
    ) from error

UNLABELED = "unlabeled"


@dataclass(frozen=True)
class VideoSource:
    """One video to extract from: a file or a folder of frames.

    Parameters
    ----------
    class_name, name : str
        What it is called in the store, before any escape. The name of a file has lost its suffix.
    path : str
        Absolute.
    relative_path : str
        From the extracted source, for the record.
    kind : {"video", "frames", "flow"}
        A file, a folder, or the files of a `flowstore.importer.source.FlowSource`.
    cost : float
        Estimated number of frames.
    problem : str
        Why it cannot be extracted, where that is known already.
    flow_patterns : tuple of str
        Of a folder of frames: expressions of the names of its images that are flow.
    allow_gaps : bool
        Of a folder of frames: whether names that are no series of a constant stride are taken in natural order.
    fps : float or None
        Of a folder of frames, which has no clock of its own: its frames per second, where they are known.
    """

    class_name: str
    name: str
    path: str
    relative_path: str
    kind: SourceKind
    cost: float = 0.0
    problem: str = ""
    flow_patterns: tuple[str, ...] = ()
    allow_gaps: bool = False
    fps: float | None = None

    @property
    def key(self) -> str:
        """The video's ``class/name`` in one line, for people."""
        return f"{printable_name(self.class_name)}/{printable_name(self.name)}"

    def files(self) -> SourceFiles:
        """Return the files that hold the video."""
        if self.kind == "frames":
            return several_files(self.path, list_frames(self.path, self.flow_patterns))
        return one_file(self.path)

    def is_readable(self) -> bool:
        """Tell whether the source is there and can be read, whatever it holds."""
        try:
            return not self.problem and bool(self.files().stamp()) and self.files().are_readable()
        except SourceError:
            return False

    def is_untouched(self, recorded: Fingerprint | None) -> bool:
        """Tell whether every file has the size and time stamp that it had; reads none."""
        try:
            return recorded is not None and not self.problem and self.files().stamp().has_stamps_of(recorded)
        except SourceError:
            return False

    def holds(self, recorded: Fingerprint | None) -> bool:
        """Tell whether the source holds what a record was made of; reads all of it."""
        try:
            return recorded is not None and not self.problem and self.files().hold(recorded)
        except OSError:
            return False

    def is_unchanged(self, recorded: Fingerprint | None) -> bool:
        """Tell whether the source is the one that a record was made of.

        Sizes and time stamps decide where they agree; where they differ all that it holds does.
        """
        return self.is_untouched(recorded) or self.holds(recorded)

    def open_frames(self, keep_damaged: bool = False) -> FrameReader:
        """Return a reader of the frames; of a damaged video file's frames before the damage if they are wanted."""
        if self.problem:
            raise DecodeError(self.problem)
        return self._open_folder() if self.kind == "frames" else VideoFile(self.path, keep_damaged)

    def open_part(self, start: float, n_frames: int, fps: float | None = None) -> FrameReader:
        """Return a reader for a look at some frames, thinned to `fps`, from about a share of the length on."""
        if self.problem:
            raise DecodeError(self.problem)
        if self.kind != "frames":
            return VideoFile(self.path, start=start)
        folder = self._open_folder()
        first = round(start * len(folder.names))
        thinned_by = max(1.0, self.fps / fps) if self.fps and fps else 1.0
        folder.names = folder.names[first : first + math.ceil(n_frames * thinned_by)]
        return folder

    def decoder_versions(self) -> dict[str, str]:
        """Return the versions of what decodes the frames."""
        return decoder_versions() if self.kind == "video" else opencv_versions()

    def frame_names(self) -> list[str]:
        """Return the file names of a folder's frames in order, whatever speaks against it."""
        return order_frames(list_frames(self.path, self.flow_patterns))[0]

    def probe(self, fps: float | None = None) -> tuple[int, int, int] | None:
        """Return ``(height, width, frames)`` as the header or the first frame says, None if it cannot be read.

        `fps` is the rate to which the frames are thinned.
        """
        try:
            if self.problem:
                return None
            if self.kind == "frames":
                folder = self._open_folder()
                height, width, _ = read_levels(os.path.join(self.path, folder.names[0])).shape
                n_frames, rate = len(folder.names), self.fps
            else:
                video = VideoFile(self.path)
                height, width, n_frames, rate = video.height, video.width, video.n_frames_header, video.rate_header
            if fps is not None and rate:
                n_frames = min(n_frames, math.ceil(n_frames * fps / rate))
            return height, width, n_frames
        except FlowStoreError:
            return None

    def _open_folder(self) -> FrameFolder:
        return FrameFolder(self.path, self.flow_patterns, self.allow_gaps, self.fps)
