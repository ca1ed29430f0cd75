# cython: language_level=3
# The types of session.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.resp._kernel cimport Cutter as CCutter, RouteMap as CRouteMap
from nearhit.proxy.near.cache cimport (
    Entry as CEntry, NearCache as CNearCache, Space as CSpace, Ticket as CTicket,
)

cdef int _MORE, _FULL, _PUSH, _BROKEN
cdef int _LAST_MAX, _SPECIALS_MAX, _UPLOAD_AT
cdef int _MUTE_SKIP, _STALL_WINDOW, _WINDOW_BYTES
cdef int _NEAR, _WRITE_ONE, _GETORSET


cdef class Run:
    cdef public SessionCore session
    cdef public Py_ssize_t want
    cdef public Py_ssize_t count
    cdef public Py_ssize_t reads
    cdef public bytes marks
    cdef public bint flat
    cdef public list parts
    cdef public Run following
    @cython.locals(session=SessionCore)
    cpdef feed(self, bytes chunk)


cdef class WriteSlot(Run):
    cdef public CNearCache cache
    cdef public list keys
    cdef public bint muted
    cpdef feed(self, bytes chunk)


@cython.locals(space=CSpace)
cpdef forget(CNearCache cache, list keys)


cdef class PttlSlot:
    cdef public Py_ssize_t want
    cdef public CTicket ticket
    cdef public double asked
    cdef public long long ttl_ms
    cdef public bytes got


cdef class Fill(Run):
    cdef public CSpace space
    cdef public PttlSlot lead
    cdef public bytes got
    cdef public bint large
    cpdef feed(self, bytes chunk)
    @cython.locals(turn=Turn, ticket=CTicket)
    cdef bytes _keep(self, bytes reply)


cdef class MutedSlot(Run):
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
    cdef public bint flush_deferred
    cdef public bint tracking
    cdef public Py_ssize_t sent
    cdef public Py_ssize_t done
    cdef public bint plain_framing
    cdef public object call_soon
    @cython.locals(pos=Py_ssize_t, end=Py_ssize_t, at=Py_ssize_t, cutter=CCutter, run=Run, turn=Turn)
    cpdef data_received(self, bytes data)
    cdef _send(self, bytes data, object slot)
    @cython.locals(end=Py_ssize_t, read=int, want=Py_ssize_t, count=Py_ssize_t, cutter=CCutter, turn=Turn, marks=bytes)
    cdef Py_ssize_t _cut_marked(self, bytes data, Py_ssize_t pos, Run run) except -1


cdef class SessionCore:
    cdef public CRouteMap routes
    cdef public Turn turn
    cdef public double active
    cdef public bytes last
    cdef public LaneCore lane
    cdef public CSpace space
    cdef public LaneCore tracked
    cdef public CNearCache cache
    cdef public CRouteMap far
    cdef public CRouteMap home
    cdef public CRouteMap near_only
    cdef public bint asking
    cdef public CRouteMap waiting
    cdef public bint on_tracked
    cdef public bint read_far
    cdef public Py_ssize_t fresh_after
    cdef public Py_ssize_t near_bytes
    cdef public bint flat
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
    cdef public list pieces
    cdef public Py_ssize_t gathered
    cdef public bint odd
    cdef public bint parsing
    cdef public bint at_drain
    cdef public Py_ssize_t replies
    cdef public Py_ssize_t reply_bytes
    cdef public bytes out
    cdef public list outs
    @cython.locals(
        end=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t, route=int, limit=Py_ssize_t,
        specials=int, routes=CRouteMap, far=bint, run=bytes
    )
    cdef _parse(self, bytes data, Py_ssize_t pos)
    @cython.locals(slot=Run, lane=LaneCore)
    cdef _forward(self, bytes data, Py_ssize_t count, Py_ssize_t reads, bytes marks)
    @cython.locals(
        space=CSpace, tracked=LaneCore, routes=CRouteMap, turn=Turn, fresh=bint, end=Py_ssize_t,
        begin=Py_ssize_t, missed=Py_ssize_t, now=double, limit=Py_ssize_t,
        key=bytes, at=Py_ssize_t, entry=CEntry, ticket=CTicket, cache=CNearCache, count=Py_ssize_t
    )
    cdef Py_ssize_t _read_near(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(
        space=CSpace, tracked=LaneCore, routes=CRouteMap, usable=bint, key=bytes, entry=CEntry
    )
    cdef Py_ssize_t _near_hit(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(turn=Turn, tail=Run, slot=Run)
    cdef _say(self, bytes reply)
    cdef _ask_tracked(self, bytes data, Py_ssize_t count)
    @cython.locals(lane=LaneCore, lead=PttlSlot, slot=Fill)
    cdef _fill(self, bytes data, CSpace space, CTicket ticket, double now)
    cdef _go_tracked(self)
    @cython.locals(
        routes=CRouteMap, end=Py_ssize_t, begin=Py_ssize_t, count=Py_ssize_t, limit=Py_ssize_t,
        keys=list, key=bytes
    )
    cdef Py_ssize_t _write_one(self, bytes data, Py_ssize_t pos) except -1
    @cython.locals(slot=WriteSlot, lane=LaneCore)
    cdef _forward_write(self, bytes data, Py_ssize_t count, list keys, Py_ssize_t reads)
    cdef _push_slot(self, Run slot)
    @cython.locals(turn=Turn)
    cdef _write(self, bytes data)
    @cython.locals(slot=Run)
    cdef _advance(self)
    cdef _resize_window(self)


cdef class Turn:
    cdef public double now
    cdef public object clock
    cdef public object call_soon
    cdef public list dirty
    cdef public Py_ssize_t hits
    cdef public Py_ssize_t misses
