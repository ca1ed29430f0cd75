# cython: language_level=3
# The types of fills.py.

cimport cython
from nearhit.proxy.hot.answers cimport Answers as CAnswers, RunSlot, Turn as CTurn
from nearhit.proxy.near.cache cimport NearCache as CNearCache, Space as CSpace, Ticket as CTicket


cdef class Fill:
    cdef public Py_ssize_t want
    cdef public CSpace space
    cdef public CTicket ticket
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
    @cython.locals(fill=Fill, turn=CTurn)
    cdef bytes _keep(self, bytes reply)


cdef class WriteSlot(RunSlot):
    cdef public CNearCache cache
    cdef public list keys
    cdef public bint muted
    @cython.locals(turn=CTurn)
    cpdef feed(self, bytes chunk)


@cython.locals(space=CSpace)
cpdef forget(CNearCache cache, list keys)
