# cython: language_level=3
# The types of hot.py; tests/test_pure.py runs that file without them.

cimport cython

cdef int UPLOAD_AT
cdef int LAST_MAX
cdef int SPECIALS_MAX
cdef int WINDOW_SAMPLE
cdef int MUTE_SKIP
cdef int STALL_WINDOW
cdef object READY


cdef class Run:
    cdef public SessionCore session
    cdef public Py_ssize_t want
    cdef public Py_ssize_t count
    cdef public list parts
    cdef public Run following
    cpdef feed(self, bytes chunk)
    cpdef fail(self, bytes line, bint inside)


cdef class Muted(Run):
    cpdef feed(self, bytes chunk)
    cpdef fail(self, bytes line, bint inside)


cdef class LaneCore:
    cdef public object state
    cdef public object waiting
    cdef public list out
    cdef public object wire
    cdef public object cutter
    cdef public list frame
    cdef public Py_ssize_t heard
    cdef public bint paused
    cdef public bint choked
    cdef public bint whole
    cdef public object call_soon
    @cython.final
    cpdef send(self, bytes data, object slot)


cdef class SessionCore:
    cdef public object names
    cdef public Turn turn
    cdef public bytes out
    cdef public list outs
    cdef public double active
    cdef public bytes last
    cdef public LaneCore lane
    cdef public Run head
    cdef public Run tail
    cdef public Py_ssize_t owed
    cdef public Py_ssize_t window
    cdef public int stalls
    cdef public int mute
    cdef public int queued
    cdef public bint closed
    cdef public object wire
    cdef public bytes rest
    cdef public Py_ssize_t need
    cdef public bint odd
    cdef public bint parsing
    cdef public bint at_drain
    cdef public Py_ssize_t replies
    cdef public Py_ssize_t reply_bytes
    @cython.final
    @cython.locals(end=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t, verdict=int, limit=Py_ssize_t, specials=int)
    cpdef parse(self, bytes data, Py_ssize_t pos)
    @cython.final
    @cython.locals(slot=Run, lane=LaneCore)
    cpdef forward(self, bytes data, Py_ssize_t count)
    @cython.final
    cpdef push_slot(self, Run slot)
    @cython.final
    @cython.locals(turn=Turn)
    cpdef write(self, bytes data)
    @cython.final
    cpdef flush(self)
    @cython.final
    @cython.locals(slot=Run)
    cpdef advance(self)
    @cython.final
    cpdef resize_window(self)


cdef class Turn:
    cdef public double now
    cdef public object call_soon
    cdef public list dirty
    @cython.locals(session=SessionCore)
    cpdef flush(self)
