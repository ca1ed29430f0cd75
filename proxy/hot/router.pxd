# cython: language_level=3
# The types of router.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport RunSlot
from nearhit.proxy.hot.fills cimport Fill, FillSlot
from nearhit.proxy.hot.lane cimport LaneCore, Router
from nearhit.proxy.hot.many cimport ManySlot
from nearhit.proxy.hot.parts cimport Braid, Part, Weave, new_braid, new_part
from nearhit.proxy.resp._kernel cimport RouteMap as CRouteMap, spread

cdef Py_ssize_t _CACHING
cdef bytes _NOT_KEPT


cdef class RouterCore(Router):
    cdef public CRouteMap routes
    cdef short[:] owners
    cdef public list lanes
    cdef public object reads
    cdef public list chosen
    cdef public dict gates
    cdef public dict held_up
    cdef public Fill filling
    cdef unsigned char[:] canaries
    @cython.locals(routes=CRouteMap, end=Py_ssize_t, pos=Py_ssize_t, begin=Py_ssize_t, count=Py_ssize_t, before=Py_ssize_t, found=Py_ssize_t, owner=int, plain=bint, lane=LaneCore, to=LaneCore, weave=Weave, lanes=list, gates=dict)
    cdef _route(self, bytes data, object place)
    @cython.locals(count=Py_ssize_t, found=Py_ssize_t, owner=int, pieces=list, order=bytes, number=Py_ssize_t, braid=Braid, reads=bint, marks=list, piece=Py_ssize_t, lane=LaneCore, part=Part)
    cdef bint _spread(self, bytes data, RunSlot run, list lanes) except -1
    @cython.locals(part=Part, run=RunSlot)
    cdef _send_part(self, Weave weave, object place, bytes data, Py_ssize_t before, Py_ssize_t count, LaneCore lane)
    @cython.locals(lane=LaneCore)
    cdef _fill(self, bytes data, Fill place)
    @cython.locals(found=Py_ssize_t, owner=int, lane=LaneCore)
    cdef LaneCore _filling_lane(self, bytes data)
    @cython.locals(lane=LaneCore, part=Part, behind=Py_ssize_t)
    cdef _fill_slot(self, bytes data, FillSlot place)
