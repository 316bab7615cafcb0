"""Many tasks of one kind, anywhere: in turn, in threads, in processes, on a Dask cluster.

The only owner of Dask. Knows nothing of videos: a task is whatever a function takes. Begin with `operation`, which
runs all six operations; `job` is what it is given, `distributed` says what happens when a worker dies, hangs or leaves,
`progress` is what is told meanwhile.
"""
