# cython: language_level=3
# The types of fills.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, RunSlot, Turn
from nearhit.proxy.near.cache cimport NearCache, Space, Ticket


cdef class Fill:
    cdef public Py_ssize_t want
    cdef public Space space
    cdef public Ticket ticket
    cdef public double asked
    cdef public long long ttl_ms
    cdef public bint open
    cdef public bytes got
    cpdef feed(self, bytes chunk)
    cpdef bint gather(self, bytes chunk)
    cpdef keep(self, bytes reply)
    cpdef give_up(self)


cdef class FillSlot(RunSlot):
    cdef public Fill fill
    @cython.locals(fill=Fill)
    cpdef feed(self, bytes chunk)
    @cython.locals(fill=Fill, turn=Turn)
    cdef bytes _keep(self, bytes reply)


cdef class WriteSlot(RunSlot):
    cdef public NearCache cache
    cdef public list keys
    cdef public bint muted
    @cython.locals(turn=Turn)
    cpdef feed(self, bytes chunk)


@cython.locals(space=Space)
cpdef forget(NearCache cache, list keys)
