# cython: language_level=3
# The types of session.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Turn
from nearhit.proxy.hot.names cimport Names
from nearhit.proxy.hot.near cimport NearReading
from nearhit.proxy.hot.reading cimport Reader
from nearhit.proxy.resp._kernel cimport RouteMap as CRouteMap

cdef int _MORE, _FULL
cdef int _SPECIALS_MAX, _UPLOAD_AT, _PIPELINE_AT
cdef int _MUTE_SKIP, _STALL_WINDOW
cdef int _NEAR, _NEAR_MANY, _NEAR_ANY, _READ_THROUGH, _WRITE_ONE, _GETORSET
cdef int _FAR, _TRACKED


cdef class SessionCore(Reader):
    cdef public double active
    cdef public Py_ssize_t received
    cdef public Names names
    cdef public bint closed
    cdef public bytes rest
    cdef public Py_ssize_t need
    cdef public list pieces
    cdef public Py_ssize_t gathered
    cdef public bint odd
    cdef public bint parsing
    @cython.locals(
        end=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t, route=int, limit=Py_ssize_t,
        specials=int, routes=CRouteMap, far=bint, run=bytes
    )
    cdef _parse(self, bytes data, Py_ssize_t pos)
    @cython.locals(turn=Turn)
    cdef _parse_timed(self, bytes data)
    @cython.locals(
        routes=CRouteMap, end=Py_ssize_t, begin=Py_ssize_t, count=Py_ssize_t, limit=Py_ssize_t,
        last=Py_ssize_t, keys=list, key=bytes
    )
    cdef Py_ssize_t _write_one(self, bytes data, Py_ssize_t pos) except -1
    cdef _handed_over(self)
    cdef _emptied(self)
