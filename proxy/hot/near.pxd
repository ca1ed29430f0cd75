# cython: language_level=3
# The types of near.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.lane cimport LaneCore
from nearhit.proxy.near.cache cimport NearCache, Space
from nearhit.proxy.near.worth cimport Worth

cdef Py_ssize_t _PENDING


cdef class NearReading:
    cdef public NearCache cache
    cdef public Space space
    cdef public LaneCore lane
    cdef public Py_ssize_t fresh_after
    cdef public Py_ssize_t unsent
    cdef public double again
    cdef bint _stands(self) except -1
    cdef bint _hears(self) except -1
    @cython.locals(lane=LaneCore)
    cdef bint _fresh(self) except -1
    @cython.locals(space=Space)
    cdef Worth _passing(self)
    cdef _elsewhere(self)
    cdef _settled(self)
