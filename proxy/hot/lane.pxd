# cython: language_level=3
# The types of lane.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, RunSlot, Turn
from nearhit.proxy.resp._kernel cimport Cutter as CCutter

cdef int _PUSH, _BROKEN, _TURN_BYTES, _KEPT_BYTES


cdef class PartCore(RunSlot):
    cdef public Py_ssize_t errors


cdef class Router:
    cdef public bint choked
    cdef public Py_ssize_t owing
    cdef _route(self, bytes data, object place)


cdef class LaneCore:
    cdef public Router router
    cdef public object state
    cdef public object waiting
    cdef public list out
    cdef public object wire
    cdef public CCutter cutter
    cdef public list frame
    cdef public Py_ssize_t heard
    cdef public bint paused
    cdef public bint silent
    cdef public bint choked
    cdef public bint flush_deferred
    cdef public bint tracking
    cdef public Py_ssize_t sent
    cdef public Py_ssize_t done
    cdef public Py_ssize_t heavy
    cdef public bint plain_framing
    cdef public bint keeps
    cdef public list kept
    cdef public list kept_before
    cdef public Py_ssize_t kept_to
    cdef public Py_ssize_t kept_size
    cdef public Py_ssize_t countdown
    cdef public Py_ssize_t timed_to
    cdef public object call_soon
    @cython.locals(pos=Py_ssize_t, end=Py_ssize_t, at=Py_ssize_t, cutter=CCutter, run=RunSlot, part=PartCore, plain=bint)
    cpdef data_received(self, bytes data)
    cdef _send(self, bytes data, object slot)
    @cython.locals(out=list)
    cdef _keep(self, Py_ssize_t size)
    @cython.locals(end=Py_ssize_t, read=int, want=Py_ssize_t, count=Py_ssize_t, cutter=CCutter, part=PartCore, turn=Turn, marks=bytes)
    cdef Py_ssize_t _cut_marked(self, bytes data, Py_ssize_t pos, RunSlot run) except -1
