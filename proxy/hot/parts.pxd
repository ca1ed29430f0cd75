# cython: language_level=3
# The types of parts.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport RunSlot
from nearhit.proxy.hot.fills cimport Fill
from nearhit.proxy.hot.lane cimport LaneCore, PartCore, Router
from nearhit.proxy.hot.own cimport GetOrSetRun
from nearhit.proxy.resp._kernel cimport weave

cdef Py_ssize_t _STREAM_AT


cdef class Part(PartCore):
    cdef public Router router
    cdef public object place
    cdef public bytes data
    cdef public Weave weave
    cdef public Part next
    cdef public LaneCore lane
    cdef public int hash_slot
    cdef public Py_ssize_t size
    cdef public bint whole
    cdef public bint streams
    cdef public int tries
    cdef public int hops
    cdef public double until
    cdef public Fill fill
    cdef public bint caching
    cdef public Braid braid
    cdef public Py_ssize_t piece
    cpdef feed(self, bytes chunk)
    cdef bint _may_stream(self) except -1
    cdef bint _is_first(self) except -1
    cdef _stream(self, bytes chunk)
    @cython.locals(chunk=bytes)
    cdef _finish(self)
    cdef bytes _gathered(self)
    @cython.locals(whole=Weave)
    cdef _answered(self, bytes chunk)
    @cython.locals(run=GetOrSetRun, slot=RunSlot)
    cdef _hand_on(self, object place, bytes chunk)
    cdef _unbraid(self)


@cython.locals(part=Part)
cpdef Part new_part(Router router, object place, bytes data, Py_ssize_t count)


cdef class Weave:
    cdef public Router router
    cdef public object place
    cdef public Part first
    cdef public Part last
    cdef public bint failed
    cdef _add(self, Part part)
    @cython.locals(part=Part)
    cdef _advance(self)


cdef class Strand(RunSlot):
    cdef public Braid braid
    cdef public Py_ssize_t piece
    cpdef feed(self, bytes chunk)


cdef class Braid:
    cdef public RunSlot place
    cdef public bytes order
    cdef public list texts
    cdef public Py_ssize_t left
    @cython.locals(place=RunSlot)
    cdef _put(self, Py_ssize_t piece, bytes text)


@cython.locals(braid=Braid)
cpdef Braid new_braid(RunSlot place, bytes order, Py_ssize_t pieces)
