"""C functions for one row: `from fastce.cython_api cimport softmax`; nothing for Python."""

__pyx_capi__: dict[str, object]
__test__: dict[str, str]
