# cython: language_level=3
# The types of sketch.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython

cdef unsigned int _32_BITS

@cython.final
cdef class Sketch:
    cdef public unsigned short[::1] sights
    cdef Py_hash_t sights_mask
    cdef unsigned int dice
    cdef public bint eager
    cdef public bint sampled
    @cython.locals(at=Py_hash_t, mark=int, held=int, count=int)
    cpdef int see(self, Py_hash_t mixed) noexcept
    @cython.locals(seen=int)
    cpdef bint first_sight(self, Py_hash_t mixed) noexcept
    @cython.locals(at=Py_hash_t, mark=int, held=int)
    cpdef void remember(self, Py_hash_t mixed, int count) noexcept
