# cython: language_level=3
# The types of cache.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.near.index cimport Entry, Index, Queue, Ticket, allocated, key_of
from nearhit.proxy.near.sketch cimport Sketch
from nearhit.proxy.near.worth cimport Worth

cdef int _FREQ_MAX
cdef Py_ssize_t _TICKETS_MAX
cdef int _CHANCES_MAX
cdef Py_ssize_t _ENTRY, _KNOWN
cdef Py_ssize_t _FIXED
cdef Py_ssize_t _REQUEST


@cython.final
cdef class Space:
    cdef public NearCache cache
    cdef public int db
    cdef public object user
    cdef public Py_hash_t salt
    cdef public bint open
    cdef public double until
    cdef public Index entries
    cdef public dict tickets
    cdef public Py_ssize_t hits
    cdef public Py_ssize_t misses
    cdef public Py_ssize_t tried
    cdef public Worth worth
    cdef public Space others
    cdef public dict requests
    cdef public Py_ssize_t idle_ticks
    cdef Py_ssize_t _read
    cdef public Py_ssize_t vain
    @cython.locals(entry=Entry, cache=NearCache, mixed=Py_hash_t)
    cpdef Entry get(self, bytes key, double now)
    @cython.locals(others=Space)
    cpdef Space other(self)
    @cython.locals(others=Space)
    cpdef tally(self)
    @cython.locals(others=Space)
    cpdef bint holds(self)
    cdef _note_request(self, bytes request)
    @cython.locals(requests=dict, names=set, key=bytes)
    cdef _drop_request(self, bytes request)
    @cython.locals(requests=dict, names=set, request=bytes)
    cdef bint _forget_requests(self, bytes key) except -1
    @cython.locals(worth=Worth, cache=NearCache, room=Py_ssize_t, hits=Py_ssize_t)
    cdef bint _pays(self) except -1
    @cython.locals(count=int, sketch=Sketch)
    cpdef Ticket admit(self, bytes key)
    @cython.locals(entry=Entry)
    cdef Ticket _seek(self, bytes key, double now)
    cpdef Ticket reserve(self, bytes key)
    @cython.locals(ticket=Ticket, tickets=dict)
    cdef Ticket _ticket(self, bytes key, int freq)
    @cython.locals(cache=NearCache, deadline=double)
    cpdef bint fill(self, Ticket ticket, bytes reply, long long ttl_ms, double now)
    cpdef give_up(self, Ticket ticket)
    cpdef written(self, bytes key)
    @cython.locals(entry=Entry, ticket=Ticket, found=bint)
    cdef bint _forget(self, bytes key)
    @cython.locals(entry=Entry, ticket=Ticket)
    cpdef flush(self)


@cython.final
cdef class NearCache:
    cdef public Py_ssize_t budget
    cdef public double ttl_max
    cdef public Py_ssize_t value_max
    cdef public bint active
    cdef public object fresh_ms
    cdef public double stale_s
    cdef public Py_ssize_t down_hits
    cdef public int bypasses
    cdef public dict spaces
    cdef public Py_ssize_t used
    cdef public Py_ssize_t entries
    cdef public Py_ssize_t evictions
    cdef public Py_ssize_t invalidations
    cdef public Py_ssize_t fills
    cdef public Py_ssize_t fills_refused
    cdef public dict flushes
    cdef public dict turned
    cdef public Queue small
    cdef public Queue main
    cdef public Py_ssize_t small_max
    cdef public Sketch sketch
    cdef public object duel
    cdef long long _salts
    cdef Py_ssize_t _past_hits
    cdef Py_ssize_t _past_misses
    @cython.locals(space=Space)
    cpdef invalidate(self, bytes key)
    @cython.locals(
        size=Py_ssize_t, length=Py_ssize_t, key=bytes, old=Entry, entry=Entry
    )
    cdef bint _store(self, Space space, Ticket ticket, bytes reply, double deadline, double now)
    cdef _sample(self, Py_hash_t mixed)
    @cython.locals(space=Space)
    cdef _drop(self, Entry entry)
    @cython.locals(chances=int, small=Queue, main=Queue, queue=Queue, entry=Entry)
    cdef _make_room(self, Py_ssize_t size, double now)


