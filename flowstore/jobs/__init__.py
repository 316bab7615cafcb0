"""Many tasks of one kind, anywhere: in turn, in threads, in processes, on a Dask cluster.

The only owner of Dask's workers. Knows nothing of videos: a task is whatever a function takes. Begin with
`operation`, by which every operation runs; `job` is what it is given, `schedulers` chooses where, `progress` is what is
told meanwhile. `distributed` says what happens when a worker process dies, hangs or leaves; in threads and in turn
there is none to lose, and what ends this process ends the run.
"""
