"""What a notebook shows of flow: HTML views, plots, pandas tables and labelled xarray arrays.

Owns pandas and xarray; each library is loaded when it is asked for. Knows nothing of stores: it is given records,
settings and arrays. Begin with `views`.
"""
