# cython: language_level=3
# The types of fills.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, RunSlot, Turn
from nearhit.proxy.near.cache cimport NearCache, Space
from nearhit.proxy.near.index cimport Ticket
from nearhit.proxy.resp._kernel cimport Cutter as CCutter

cdef bytes _TOLD
cdef Py_ssize_t _NUMBER
cdef unsigned char _NINE, _ZERO, _CR, _MINUS
cdef int _NOT_TRACKED

cdef class Fill:
    cdef public Py_ssize_t want
    cdef public Space space
    cdef public Ticket ticket
    cdef public double asked
    cdef public long long ttl_ms
    cdef public bint open
    cdef public bytes got
    cpdef feed(self, bytes chunk)
    @cython.locals(end=Py_ssize_t, at=Py_ssize_t, ttl=cython.longlong, negative=bint)
    cdef Py_ssize_t _told(self, bytes got, Py_ssize_t pos) except -1
    @cython.locals(cutter=CCutter)
    cdef Py_ssize_t _refused(self, bytes got, Py_ssize_t pos) except -1
    cpdef bint gather(self, bytes chunk)
    @cython.locals(space=Space, ttl_ms=cython.longlong)
    cpdef keep(self, bytes reply)
    cpdef give_up(self)


@cython.locals(fill=Fill)
cpdef Fill new_fill(Space space, Ticket ticket, double now)


cdef class FillSlot(RunSlot):
    cdef public Fill fill
    @cython.locals(fill=Fill)
    cpdef feed(self, bytes chunk)
    @cython.locals(fill=Fill, got=bytes, at=Py_ssize_t)
    cdef bytes _behind_told(self, bytes chunk)
    @cython.locals(fill=Fill, turn=Turn)
    cdef bytes _keep(self, bytes reply)


@cython.locals(slot=FillSlot)
cpdef FillSlot new_fill_slot(Answers session, Fill fill, bint flat)


cdef class WriteSlot(RunSlot):
    cdef public NearCache cache
    cdef public list keys
    cdef public bint muted
    @cython.locals(turn=Turn)
    cpdef feed(self, bytes chunk)


@cython.locals(slot=WriteSlot)
cpdef WriteSlot new_write_slot(
    Answers session, Py_ssize_t count, NearCache cache, list keys, bint muted)


@cython.locals(space=Space)
cpdef forget(NearCache cache, list keys)
