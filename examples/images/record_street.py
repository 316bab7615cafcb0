"""Draws the README's picture and film, frame beside flow beside x and y: python examples/images/record_street.py"""

import tempfile
from pathlib import Path

from PIL import Image

import flowstore
from flowstore.demo import draw_rows, draw_sheet, write_video
from flowstore.pipeline import extract
from flowstore.scenes import Street

HERE = Path(__file__).parent
N_FRAMES, FPS, FULL_SCALE_PX = 36, 12, 3.0
STREET = Street(168, 224, speed=2.0, seed=11)


def main() -> None:
    """Write street.png and street.webp beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        write_video(str(videos / "street.avi"), STREET, N_FRAMES)
        extract(videos, Path(folder, "flow.zarr"), algorithm="dis", scheduler="sync")
        (video,) = flowstore.open_store(Path(folder, "flow.zarr")).iter_videos()
        flow = video[:]
    rows = list(draw_rows(STREET, flow, FULL_SCALE_PX))
    pictures = [Image.fromarray(draw_sheet([row], FULL_SCALE_PX)) for row in rows]
    film = {"append_images": pictures[1:], "duration": round(1000 / FPS), "loop": 0}
    pictures[0].save(HERE / "street.webp", save_all=True, quality=70, method=6, **film)
    Image.fromarray(draw_sheet(rows[4::12], FULL_SCALE_PX)).save(HERE / "street.png", optimize=True)


if __name__ == "__main__":
    main()
