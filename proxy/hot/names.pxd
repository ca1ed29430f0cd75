# cython: language_level=3
# The types of names.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython

cdef int _DOLLAR, _SIZE, _SHORT


cdef class Names:
    cdef public bytes last
    cdef public set known
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, at=Py_ssize_t, name=bytes, last=bytes)
    cdef bint _unknown(self, bytes data, Py_ssize_t pos) except -1
