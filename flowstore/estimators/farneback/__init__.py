"""Farneback's flow by kernels of its own, the same as OpenCV's at several times the speed.

Begin with `stream`, whose header says what makes it fast; `kernels` holds the compiled loops, `tables` the weights.
"""
