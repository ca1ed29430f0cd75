# cython: language_level=3
# The types of sending.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, MutedSlot, RunSlot, Turn
from nearhit.proxy.hot.fills cimport (
    Fill, FillSlot, WriteSlot, forget, new_fill, new_fill_slot, new_write_slot)
from nearhit.proxy.hot.lane cimport LaneCore
from nearhit.proxy.hot.near cimport NearReading
from nearhit.proxy.near.cache cimport NearCache, Space
from nearhit.proxy.near.index cimport Ticket
from nearhit.proxy.resp._kernel cimport RouteMap as CRouteMap

cdef Py_ssize_t _GET_HEAD
cdef int _MUTE_SKIP, _SCRIPTING, _TRACKED


cdef class Sender(Answers):
    cdef public list maps
    cdef public int mode
    cdef public int home
    cdef public CRouteMap routes
    cdef public NearReading near
    cdef public LaneCore lane
    cdef public bint flat
    cdef public int mute
    cdef public Py_ssize_t queued
    cdef public Py_ssize_t queued_bytes
    cdef _become(self, int mode)
    @cython.locals(slot=RunSlot, lane=LaneCore)
    cdef _forward(self, bytes data, Py_ssize_t count, Py_ssize_t reads, bytes marks)
    cdef _ask_tracked(self, bytes data, Py_ssize_t count)
    @cython.locals(slot=FillSlot)
    cdef _fill(self, bytes data, Space space, Ticket ticket, double now)
    @cython.locals(lane=LaneCore)
    cdef _ask_slot(self, bytes data, RunSlot slot)
    cdef _go_tracked(self)
    @cython.locals(slot=WriteSlot, lane=LaneCore, cache=NearCache)
    cdef _forward_write(self, bytes data, Py_ssize_t count, list keys, Py_ssize_t reads)
