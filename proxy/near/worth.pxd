# cython: language_level=3
# The types of worth.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython

cdef int _HIT, _MISS, _FILL, _SAMPLE, _LATELY
cdef Py_ssize_t _START, _LOOK


@cython.final
cdef class Shadow:
    cdef public unsigned int[::1] keys
    cdef public unsigned long long mask
    cdef public int keys_each
    cdef public long long earned
    cdef public Py_ssize_t filled
    cdef public double ratio
    @cython.locals(at=cython.ulonglong, mark=cython.uint, held=cython.uint)
    cdef void read(self, unsigned long long mixed, Py_ssize_t keys_read) noexcept
    @cython.locals(at=cython.ulonglong, mark=cython.uint)
    cdef void forget(self, unsigned long long mixed) noexcept


@cython.final
cdef class Worth:
    cdef public bint pays
    cdef public long long credit
    cdef public Py_ssize_t next_look
    cdef public Py_ssize_t switches
    cdef public str why
    cdef int _part
    cdef Py_ssize_t _hits, _misses, _fills
    cdef long long _missed, _filled, _price
    cdef public Py_ssize_t reads
    cdef Py_ssize_t _writes
    cdef Shadow _sampled, _recent
    @cython.locals(missed=cython.longlong, filled=cython.longlong, full=cython.longlong)
    cpdef look(self, Py_ssize_t hits, Py_ssize_t misses, Py_ssize_t fills, Py_ssize_t entries, Py_ssize_t room)
    cdef _bypass(self, Py_ssize_t room)
    cdef _note(self, unsigned long long mixed, Py_ssize_t keys)
    @cython.locals(price=cython.longlong)
    cdef _ask(self, Shadow shadow, unsigned long long mixed, Py_ssize_t keys)
    cpdef wrote(self, unsigned long long mixed)
