"""C functions for one row: `from fastce.cython_api cimport softmax`; nothing for Python."""
