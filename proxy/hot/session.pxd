# cython: language_level=3
# The types of session.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Turn
from nearhit.proxy.hot.fills cimport Fill
from nearhit.proxy.hot.lane cimport LaneCore
from nearhit.proxy.hot.many cimport ManySlot, ask_many, new_many_slot
from nearhit.proxy.hot.names cimport Names
from nearhit.proxy.hot.near cimport NearReading
from nearhit.proxy.hot.own cimport GetOrSetRun, TaskSlot, run_of
from nearhit.proxy.hot.sending cimport Sender
from nearhit.proxy.near.cache cimport NearCache, Space, Ticket
from nearhit.proxy.near.index cimport Entry, request_name
from nearhit.proxy.near.sketch cimport Sketch
from nearhit.proxy.near.worth cimport Worth
from nearhit.proxy.resp._kernel cimport RouteMap as CRouteMap, mix

cdef int _MORE, _FULL
cdef int _LAST_MAX, _SPECIALS_MAX, _UPLOAD_AT, _PIPELINE_AT
cdef int _MUTE_SKIP, _STALL_WINDOW, _WINDOW_BYTES
cdef int _NEAR, _WRITE_ONE, _GETORSET, _NEAR_MANY, _NEAR_ANY
cdef int _FAR, _TRACKED, _OWN
cdef int _READ_THROUGH
cdef Py_ssize_t _GETORSET_HEAD, _GET_HEAD
cdef bytes _GET
cdef int _NOT_NEAR, _NOT_FRESH, _FRESH


cdef class SessionCore(Sender):
    cdef public double active
    cdef public Py_ssize_t received
    cdef public bytes last
    cdef public Names names
    cdef public object own
    cdef public bint uses_own
    cdef public bint closed
    cdef public bytes rest
    cdef public Py_ssize_t need
    cdef public list pieces
    cdef public Py_ssize_t gathered
    cdef public bint odd
    cdef public bint parsing
    cdef _note(self, bytes data, Py_ssize_t pos, Py_ssize_t end)
    @cython.locals(
        end=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t, route=int, limit=Py_ssize_t,
        specials=int, routes=CRouteMap, far=bint, run=bytes
    )
    cdef _parse(self, bytes data, Py_ssize_t pos)
    @cython.locals(near=NearReading, space=Space)
    cdef int _look_near(self) except -1
    @cython.locals(
        found=int, space=Space, routes=CRouteMap, fresh=bint, end=Py_ssize_t,
        begin=Py_ssize_t, missed=Py_ssize_t, now=double, limit=Py_ssize_t,
        key=bytes, at=Py_ssize_t, entry=Entry, ticket=Ticket, count=Py_ssize_t, sketch=Sketch,
        keys=Py_ssize_t, last=bytes
    )
    cdef Py_ssize_t _read_near(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(
        mode=int, fresh=bint, routes=CRouteMap, space=Space, worth=Worth, now=double, keys=list,
        pieces=list, begin=Py_ssize_t, end=Py_ssize_t, limit=Py_ssize_t, key=bytes, at=Py_ssize_t,
        entry=Entry, ticket=Ticket, one=bint, through=bint, head_size=Py_ssize_t
    )
    cdef Py_ssize_t _get_or_set(self, bytes data, Py_ssize_t pos, int route) except -1
    @cython.locals(lane=LaneCore, run=GetOrSetRun)
    cdef _ask_own(self, bytes data, list keys)
    @cython.locals(
        turn=Turn, missing=Py_ssize_t, mixed=Py_hash_t, told=bytes, slot=ManySlot
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
    @cython.locals(turn=Turn)
    cdef _say_near(self, bytes replies, Py_ssize_t count, Py_ssize_t nils)
    @cython.locals(near=NearReading)
    cdef _count_near(self, Py_ssize_t size)
    @cython.locals(
        routes=CRouteMap, end=Py_ssize_t, begin=Py_ssize_t, count=Py_ssize_t, limit=Py_ssize_t,
        last=Py_ssize_t, keys=list, key=bytes
    )
    cdef Py_ssize_t _write_one(self, bytes data, Py_ssize_t pos) except -1
    cdef _handed_over(self)
    cdef _emptied(self)
