"""Kernel levels: what the numeric libraries compute with on other processors, chosen by their environment variables.

A library reads its variable when it is imported, so a level is for a process of its own.
"""

from numpy._core import _multiarray_umath as _numpy

_OFF = [name for name in _numpy.__cpu_dispatch__ if _numpy.__cpu_features__.get(name)]  # that this processor has

# The least that each library has; a processor without AVX. NumPy warns where a name is not a feature of the processor.
LOWEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": " ".join(_OFF),
}
# A processor with AVX2 and without AVX-512.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": " ".join(name for name in _OFF if name != "X86_V3"),
}
LEVELS = {"lowest": LOWEST, "avx2": AVX2}
