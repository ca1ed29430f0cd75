# cython: language_level=3
# The types of hot.py. The build finds this file through .names (pyproject.toml, cython-include-dirs).

cimport cython
from nearhit.proxy._kernel cimport Cutter as CCutter, Names as CNames

cdef int _MORE, _FULL, _PUSH, _BROKEN
cdef int _LAST_MAX, _SPECIALS_MAX, _UPLOAD_AT
cdef int _MUTE_SKIP, _STALL_WINDOW, _WINDOW_BYTES


cdef class Run:
    cdef public SessionCore session
    cdef public Py_ssize_t want
    cdef public Py_ssize_t count
    cdef public Py_ssize_t reads
    cdef public bytes marks
    cdef public list parts
    cdef public Run following
    @cython.locals(session=SessionCore)
    cpdef feed(self, bytes chunk)


cdef class Muted(Run):
    cpdef feed(self, bytes chunk)


cdef class LaneCore:
    cdef public object state
    cdef public object waiting
    cdef public list out
    cdef public object wire
    cdef public CCutter cutter
    cdef public list frame
    cdef public Py_ssize_t heard
    cdef public bint paused
    cdef public bint choked
    cdef public bint held
    cdef public bint whole
    cdef public object call_soon
    @cython.locals(pos=Py_ssize_t, end=Py_ssize_t, at=Py_ssize_t, cutter=CCutter, run=Run, turn=Turn)
    cpdef data_received(self, bytes data)
    cdef _send(self, bytes data, object slot)
    @cython.locals(end=Py_ssize_t, read=int, want=Py_ssize_t, count=Py_ssize_t, cutter=CCutter, turn=Turn, marks=bytes)
    cdef Py_ssize_t _cut_marked(self, bytes data, Py_ssize_t pos, Run run) except -1


cdef class SessionCore:
    cdef public CNames names
    cdef public Turn turn
    cdef public double active
    cdef public bytes last
    cdef public LaneCore lane
    cdef public Run head
    cdef public Run tail
    cdef public Py_ssize_t owed
    cdef public Py_ssize_t window
    cdef public int stalls
    cdef public int mute
    cdef public Py_ssize_t queued
    cdef public bint closed
    cdef public object wire
    cdef public bytes rest
    cdef public Py_ssize_t need
    cdef public bint odd
    cdef public bint parsing
    cdef public bint at_drain
    cdef public Py_ssize_t replies
    cdef public Py_ssize_t reply_bytes
    cdef public bytes out
    cdef public list outs
    @cython.locals(
        end=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t, verdict=int, limit=Py_ssize_t,
        specials=int, names=CNames
    )
    cdef _parse(self, bytes data, Py_ssize_t pos)
    @cython.locals(slot=Run, lane=LaneCore)
    cdef _forward(self, bytes data, Py_ssize_t count, Py_ssize_t reads, bytes marks)
    cdef _push_slot(self, Run slot)
    @cython.locals(turn=Turn)
    cdef _write(self, bytes data)
    @cython.locals(slot=Run)
    cdef _advance(self)
    cdef _resize_window(self)


cdef class Turn:
    cdef public double now
    cdef public object call_soon
    cdef public list dirty
    cdef public Py_ssize_t hits
    cdef public Py_ssize_t misses
