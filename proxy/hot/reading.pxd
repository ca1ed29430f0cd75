# cython: language_level=3
# The types of reading.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Turn
from nearhit.proxy.hot.fills cimport Fill
from nearhit.proxy.hot.lane cimport LaneCore
from nearhit.proxy.hot.many cimport ManySlot, MixedSlot, ask_many, new_many_slot, new_mixed_slot
from nearhit.proxy.hot.near cimport NearReading
from nearhit.proxy.hot.own cimport GetOrSetRun, TaskSlot, run_of
from nearhit.proxy.hot.sending cimport Sender
from nearhit.proxy.near.cache cimport NearCache, Space
from nearhit.proxy.near.index cimport Entry, Ticket, request_name
from nearhit.proxy.near.sketch cimport Sketch
from nearhit.proxy.near.worth cimport Worth
from nearhit.proxy.resp._kernel cimport RouteMap as CRouteMap, mix

cdef int _LAST_MAX, _MUTE_SKIP, _WINDOW_BYTES
cdef int _NEAR, _NEAR_MANY, _NEAR_ANY, _READ_THROUGH
cdef int _FAR, _TRACKED, _OWN
cdef Py_ssize_t _GETORSET_HEAD, _GET_HEAD
cdef bytes _GET
cdef int _NOT_NEAR, _NOT_FRESH, _FRESH, _AWAY


cdef class Reader(Sender):
    cdef public bytes last
    cdef public object own
    cdef public bint uses_own
    cdef public bint timed
    cdef _note(self, bytes data, Py_ssize_t pos, Py_ssize_t end)
    @cython.locals(near=NearReading, space=Space, away=bint)
    cdef int _look_near(self) except -1
    @cython.locals(
        found=int, space=Space, routes=CRouteMap, fresh=bint, end=Py_ssize_t,
        begin=Py_ssize_t, missed=Py_ssize_t, now=double, limit=Py_ssize_t,
        key=bytes, at=Py_ssize_t, entry=Entry, ticket=Ticket, count=Py_ssize_t, sketch=Sketch,
        keys=Py_ssize_t, last=bytes, mixed=bint
    )
    cdef Py_ssize_t _read_near(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(
        routes=CRouteMap, space=Space, now=double, cache=NearCache, limit=Py_ssize_t, keys=Py_ssize_t,
        at=Py_ssize_t, told=bytes, key=bytes, entry=Entry
    )
    cdef Py_ssize_t _read_away(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(
        mode=int, fresh=bint, lane=LaneCore, routes=CRouteMap, space=Space, worth=Worth, now=double, keys=list,
        pieces=list, begin=Py_ssize_t, end=Py_ssize_t, limit=Py_ssize_t, key=bytes, at=Py_ssize_t,
        entry=Entry, ticket=Ticket, fill=Fill, one=bint, through=bint, head_size=Py_ssize_t
    )
    cdef Py_ssize_t _get_or_set(self, bytes data, Py_ssize_t pos, int route) except -1
    @cython.locals(lane=LaneCore, run=GetOrSetRun)
    cdef _ask_own(self, bytes data, list keys)
    @cython.locals(
        turn=Turn, missing=Py_ssize_t, hits=Py_ssize_t, hashed=Py_hash_t, slot=MixedSlot
    )
    cdef _read_mixed(self, CRouteMap routes, Space space, Py_ssize_t count, double now)
    @cython.locals(
        turn=Turn, missing=Py_ssize_t, hashed=Py_hash_t, told=bytes, slot=ManySlot
    )
    cdef _read_many(self, CRouteMap routes, Space space, Py_ssize_t keys, double now)
    @cython.locals(
        found=int, space=Space, others=Space, routes=CRouteMap, fresh=bint, near=bint, now=double,
        limit=Py_ssize_t, key=bytes, at=Py_ssize_t, words=Py_ssize_t, request=bytes, name=bytes,
        entry=Entry, ticket=Ticket, fill=Fill, asked=set
    )
    cdef Py_ssize_t _read_any(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(lane=LaneCore)
    cdef _ask_any(self, bytes request, bytes key, Fill fill)
    @cython.locals(reply=bytes)
    cdef _say_entry(self, Entry entry)
    cdef _say_near(self, bytes replies, Py_ssize_t count, Py_ssize_t nils)
    @cython.locals(near=NearReading)
    cdef _count_near(self, Py_ssize_t size)
