# What the machine can run, found before any code for it is loaded.

cdef extern from *:
    """
    static int fastce_level(void) {
    #if defined(__x86_64__) && defined(__GNUC__)
        __builtin_cpu_init();
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
              && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")))
            return 0;
        if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
              && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
              && __builtin_cpu_supports("avx512vl")))
            return 1;
        return 2;
    #else
        return 0;
    #endif
    }
    #if defined(__clang__)
    #define FASTCE_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTCE_COMPILER "gcc " __VERSION__
    #else
    #define FASTCE_COMPILER "unknown"
    #endif
    """
    int fastce_level()
    const char* FASTCE_COMPILER


def level():
    """Return the index in fastce._dispatch.TARGETS of the best the machine can run."""
    return fastce_level()


def compiler():
    """Return the name and version of the C compiler used."""
    return FASTCE_COMPILER.decode()
