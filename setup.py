"""Build the kernels, once for each instruction set of the machine's architecture."""

import os
import platform
import sys

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

# Name -> compiler flags. The names stand in fastce/_dispatch.py as well, best last.
X86_TARGETS = {
    "baseline": [],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
TARGETS = X86_TARGETS if platform.machine() in ("x86_64", "AMD64") else {"baseline": []}

# No -ffast-math and no part of it that reorders sums: vecmath relies on the order of operations.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": True,
}


def openmp_flags():
    """Return the flags for OpenMP; FASTCE_OPENMP=0 or a compiler without it means none."""
    wanted = os.environ.get("FASTCE_OPENMP", "1") != "0"
    return ["-fopenmp"] if wanted and sys.platform.startswith("linux") else []


def extensions():
    """One extension module for each target, all from the same source."""
    openmp = openmp_flags()
    extra = os.environ.get("FASTCE_CFLAGS", "").split()
    modules = cythonize(
        [Extension("fastce._kernels._cpu", ["fastce/_kernels/_cpu.pyx"])],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
    )
    for target, flags in TARGETS.items():
        module = Extension(
            f"fastce._kernels._{target}",
            ["fastce/_kernels/kernels.pyx"],
            include_dirs=[numpy.get_include(), "fastce/_kernels"],
            depends=["fastce/_kernels/exp_lanes.h"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=FLAGS + flags + openmp + extra,
            extra_link_args=openmp + extra,
        )
        # A directory of its own for each, as the C file's name is the same.
        modules += cythonize(
            [module], build_dir=f"build/cython/{target}", compiler_directives=DIRECTIVES
        )
    return modules


setup(
    ext_modules=extensions(),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
