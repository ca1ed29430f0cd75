# cython: language_level=3
# The types of many.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, RunSlot, Turn
from nearhit.proxy.hot.fills cimport Fill, new_fill
from nearhit.proxy.near.cache cimport NearCache, Space
from nearhit.proxy.near.index cimport Ticket
from nearhit.proxy.resp._kernel cimport Cutter as CCutter, RouteMap as CRouteMap, fit

cdef bytes _NIL2, _NIL3
cdef Py_ssize_t _FILLS_MAX
cdef int _TELLING, _HEAD, _GATHERING, _PASSING, _REFUSED


cdef class ManySlot(RunSlot):
    cdef public bytes there
    cdef public list gaps
    cdef public list fills
    cdef public int stage
    cdef public Py_ssize_t said
    cdef public Py_ssize_t at
    cdef public Py_ssize_t told
    cdef public Py_ssize_t value_max
    cdef public bytes nil
    cdef public bytes array
    cdef public bytes got
    cdef public CCutter cutter
    @cython.locals(pos=Py_ssize_t, end=Py_ssize_t, at=Py_ssize_t, cutter=CCutter, parts=list)
    cpdef feed(self, bytes chunk)
    @cython.locals(pos=Py_ssize_t, at=Py_ssize_t, fill=Fill)
    cdef Py_ssize_t _begun(self, bytes chunk) except -2
    cdef _part(self, bytes piece, bint whole, list parts)
    @cython.locals(at=Py_ssize_t, turn=Turn, fill=Fill, gathered=bint, nil=bint)
    cdef _element(self, bytes piece, list parts)
    @cython.locals(begin=Py_ssize_t, end=Py_ssize_t, cutter=CCutter)
    cdef _there(self, list parts)
    @cython.locals(fill=Fill)
    cpdef give_up(self)


cdef class MixedSlot(ManySlot):
    @cython.locals(
        begun=Py_ssize_t, fills=list, turn=Turn, out=bytes, hits=Py_ssize_t, nils=Py_ssize_t,
        kept=list, at=Py_ssize_t, fill=Fill, reply=bytes
    )
    cpdef feed(self, bytes chunk)
    @cython.locals(turn=Turn, fill=Fill, gathered=bint, nil=bint, refused=bint)
    cdef _element(self, bytes piece, list parts)


@cython.locals(slot=ManySlot)
cpdef ManySlot new_many_slot(Answers session, Space space, CRouteMap routes, bint flat)
@cython.locals(slot=MixedSlot)
cpdef MixedSlot new_mixed_slot(
    Answers session, Space space, CRouteMap routes, Py_ssize_t count, bint flat
)
@cython.locals(told=bytes)
cdef _begin(ManySlot slot, Answers session, Space space, CRouteMap routes, bint flat)
@cython.locals(
    asked=bytes, parts=list, fills=list, at=Py_ssize_t, key=bytes, ticket=Ticket
)
cpdef bytes ask_many(ManySlot slot, Space space, CRouteMap routes, double now)
