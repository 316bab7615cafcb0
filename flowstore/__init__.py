"""Dense optical flow of video datasets in one chunked, indexed Zarr store."""
