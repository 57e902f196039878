"""Build the kernels, once for each instruction set of the machine's architecture."""

import os
import platform
import tempfile

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.errors import CompileError, LinkError

# Name -> compiler flags. The names stand in fastce/_dispatch.py as well, best last.
X86_TARGETS = {
    "baseline": [],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
TARGETS = X86_TARGETS if platform.machine() in ("x86_64", "AMD64") else {"baseline": []}

# No -ffast-math and no part of it that reorders sums: vecmath relies on the order of operations.
# (Loops that fill or copy a few lanes must stay loops: `rep stos` takes longer than they do.)
FLAGS = [
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-tree-loop-distribute-patterns",
]
# All kernels are one source file, beyond the size at which gcc stops inlining: exp and log must be
# inlined, or the loops around them are not vectorised.
INLINING = ["--param=inline-unit-growth=400"]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": True,
}


def compiles(code, flags):
    """Tell whether the C compiler makes a program of `code` with these flags."""
    # From Python 3.12 on it is setuptools that brings distutils.
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.c")
        with open(source, "w") as file:
            file.write(code)
        try:
            objects = compiler.compile([source], output_dir=folder, extra_postargs=flags)
            compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=flags)
        except (CompileError, LinkError):
            return False
    return True


def openmp_flags():
    """Return the flags for OpenMP; none if FASTCE_OPENMP=0, or where the compiler has it not."""
    if os.environ.get("FASTCE_OPENMP", "1") == "0":
        return []
    program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    return ["-fopenmp"] if compiles(program, ["-fopenmp"]) else []


def extensions():
    """One extension module for each target, all from the same source."""
    openmp = openmp_flags()
    nothing = "int main(void) { return 0; }\n"
    inlining = INLINING if compiles(nothing, [*INLINING, "-Werror"]) else []
    extra = os.environ.get("FASTCE_CFLAGS", "").split()
    modules = cythonize(
        [
            Extension(
                "fastce._kernels._cpu",
                ["fastce/_kernels/_cpu.pyx"],
                extra_compile_args=extra,
                extra_link_args=extra,
            ),
            Extension(
                "fastce.cython_api",
                ["fastce/cython_api.pyx"],
                extra_compile_args=FLAGS + extra,
                extra_link_args=extra,
            ),
        ],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
    )
    for target, flags in TARGETS.items():
        if not compiles(nothing, flags):
            print(f"The compiler does not know {flags}: target {target} is left out.")
            continue
        module = Extension(
            f"fastce._kernels._{target}",
            ["fastce/_kernels/kernels.pyx"],
            include_dirs=[numpy.get_include(), "fastce/_kernels"],
            depends=["fastce/_kernels/exp_lanes.h", "fastce/_kernels/lanes_of_type.h"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=FLAGS + inlining + flags + openmp + extra,
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
