"""What a stored number means: pixels of flow to codes and back.

Owns the encodings of uint8 and float16, the codes of other tools' files, the statistics of motion that a record keeps,
and the loops that make codes and statistics in one pass. Knows nothing of files, Zarr or videos. Begin with
`quantizer`: a value with a formula, an error bound and a doctest.
"""

from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.quantize.quantizer import UINT8_ENCODINGS, Encoding, Quantizer, check_bound

__all__ = ["UINT8_ENCODINGS", "Encoding", "FileQuantizer", "Quantizer", "check_bound"]
