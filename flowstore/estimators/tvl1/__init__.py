"""TV-L1 flow by kernels of its own, OpenCV's at 35 times the speed, without its contrib modules.

Begin with `stream`, whose header says what makes it fast; `kernels` holds the compiled loops.
"""
