"""Flow files as other tools write them: OpenCV, NumPy and h5py, never the package's own writers."""

from pathlib import Path

import cv2
import h5py
import numpy as np

from flowstore.layouts import LAYOUTS, Layout

HEIGHT, WIDTH = 24, 32


def smooth_flow(n_flows=4, height=HEIGHT, width=WIDTH, seed=0, largest=18.0):
    """Return flow that a JPEG keeps well: float32 (n, 2, H, W), within ±largest pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [
        [np.sin(x / rng.uniform(5, 9) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(5, 9)) for _ in range(2)]
        for _ in range(n_flows)
    ]
    return (largest * np.array(waves)).astype(np.float32)


def denseflow_codes(flow, bound=20.0):
    """Return codes by the formula on paper: half to even of 255 (v + b) / 2b."""
    return np.clip(np.rint(255 * (flow.astype(np.float64) + bound) / (2 * bound)), 0, 255).astype(np.uint8)


def truncate_codes(flow, bound=20.0):
    """Return codes by the common loop."""
    return ((np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))).astype(np.uint8)


def file_values(layout: Layout, flow):
    """Return what the files of a layout hold of flow, bound 20 px: the formulas of the layouts."""
    if layout.encoding == "pixels":
        return flow
    if layout.encoding == "i3d-float":
        return np.clip(flow, -20, 20) / np.float32(20)
    return {"denseflow": denseflow_codes, "truncate": truncate_codes}[layout.encoding](flow)


def write_video(root: Path, layout: Layout | str, class_name: str, name: str, values, step=1):
    """Write the files of one video from what they hold: uint8 or float32 (n, 2, H, W)."""
    layout = LAYOUTS[layout] if isinstance(layout, str) else layout
    if layout.packing == "video":
        (path,) = layout.paths(class_name, name, 0, step)
        Path(root, path).parent.mkdir(parents=True, exist_ok=True)
        if layout.file_format == "hdf5":
            with h5py.File(root / path, "w") as file:
                file["flow"] = values
        else:
            array = values.transpose(0, 2, 3, 1)[None] if layout.encoding == "i3d-float" else values
            np.save(root / path, np.ascontiguousarray(array))
        return
    for index, (x, y) in enumerate(values):
        paths = [root / path for path in layout.paths(class_name, name, index, step)]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        if layout.packing == "planes":
            for path, plane in zip(paths, (x, y), strict=True):
                write_image(path, plane, layout.quality)
        elif layout.packing == "rgb":
            write_image(paths[0], np.dstack([np.full_like(x, 128), y, x]), layout.quality)
        elif layout.file_format == "flo":
            assert cv2.writeOpticalFlow(str(paths[0]), np.ascontiguousarray(np.dstack([x, y])))
        else:
            levels = [np.rint(plane * 64.0) + 2**15 for plane in (y, x)]
            write_image(paths[0], np.dstack([np.ones_like(x), *levels]).astype(np.uint16))


def write_image(path: Path, image, quality=95):
    """Write an image; OpenCV takes no name that is not UTF-8."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    is_encoded, data = cv2.imencode(path.suffix, image, options)
    assert is_encoded
    path.write_bytes(data.tobytes())


def read_files(root: Path, layout: Layout | str, class_name: str, name: str, n_flows: int, step=1):
    """Return what OpenCV, NumPy and h5py read from the files of one video."""
    layout = LAYOUTS[layout] if isinstance(layout, str) else layout
    if layout.packing == "video":
        path = root / layout.paths(class_name, name, 0, step)[0]
        if layout.file_format == "hdf5":
            with h5py.File(path) as file:
                return file["flow"][:]
        array = np.load(path, allow_pickle=False)
        return array[0].transpose(0, 3, 1, 2) if layout.encoding == "i3d-float" else array
    flows = []
    for index in range(n_flows):
        paths = [str(root / path) for path in layout.paths(class_name, name, index, step)]
        if layout.packing == "planes":
            flows.append([cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in paths])
        elif layout.packing == "rgb":
            flows.append(cv2.imread(paths[0])[..., :0:-1].transpose(2, 0, 1))
        elif layout.file_format == "flo":
            flows.append(cv2.readOpticalFlow(paths[0]).transpose(2, 0, 1))
        else:
            image = cv2.imread(paths[0], cv2.IMREAD_UNCHANGED).astype(np.float32)
            flows.append((image[..., :0:-1].transpose(2, 0, 1) - 2**15) / 64)
    return np.array(flows)
