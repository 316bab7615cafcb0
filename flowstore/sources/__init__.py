"""A dataset on disk: its videos, found by looking, and their frames.

Owns names of files and folders, decoders, and how a source is recognized again. Knows nothing of stores, and of
flow only that it may stand beside frames (`flow_beside`). Begin with `source`: a video opens, probes and fingerprints
itself. `discovery` finds the videos of a folder, `selection` takes some of them, `videos` and `images` decode,
`sampling` thins and resizes.
"""
