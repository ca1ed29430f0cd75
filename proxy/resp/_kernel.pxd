# cython: language_level=3

from nearhit.proxy.near.index cimport Entry, Index
from nearhit.proxy.near.sketch cimport Sketch
from nearhit.proxy.near.worth cimport Worth

cdef enum:
    NAME_MAX = 32
    CLASSES_MAX = 256


cdef struct Row:
    unsigned char size
    char name[NAME_MAX]
    int kind
    unsigned char group


cdef struct Head:
    # How a request of class PLAIN begins, up to its first word behind the name.
    const char *at
    Py_ssize_t size
    Py_ssize_t args


cdef struct Walked:
    # A request that RouteMap.near has walked.
    Py_hash_t hashed
    Py_ssize_t key
    Py_ssize_t size
    Py_ssize_t end
    bint over
    bint unsure


cdef class RouteMap:
    cdef Row *rows
    cdef unsigned int mask
    cdef readonly Py_ssize_t end
    cdef readonly Py_ssize_t last
    cdef readonly int route
    cdef readonly Py_ssize_t words
    cdef readonly bint tells
    cdef readonly Py_ssize_t reads
    cdef readonly Py_ssize_t asking
    cdef readonly Py_ssize_t writing
    cdef readonly bytes marks
    cdef public Worth worth
    cdef readonly bytes told
    cdef readonly Py_ssize_t nils
    cdef readonly Py_ssize_t missing
    cdef readonly bytes asked
    cdef readonly list gaps
    cdef readonly list doubts
    cdef readonly list sampled
    cdef int get_kind
    cdef unsigned char get_group
    cdef unsigned char found_group
    cdef char classes[CLASSES_MAX]
    cdef int find(self, const char *name, Py_ssize_t size) noexcept nogil
    cdef Py_ssize_t stop(self, Py_ssize_t count, Py_ssize_t end, int route, Py_ssize_t reads)
    cpdef Py_ssize_t scan(self, bytes data, Py_ssize_t pos, Py_ssize_t limit)
    cdef note(self, Worth worth, const char *p, Py_ssize_t at, Py_ssize_t end)
    cpdef bytes key(self, bytes data, Py_ssize_t pos)
    cpdef Py_ssize_t hash_slot(self, bytes data, Py_ssize_t pos)
    cdef Py_ssize_t slot_at(self, const char *p, Py_ssize_t pos, Py_ssize_t end, Head *head, Py_ssize_t *behind) noexcept nogil
    cdef Py_ssize_t near_get(self, const char *p, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t *start, Py_ssize_t *size) noexcept nogil
    cpdef Py_ssize_t near(self, bytes data, Py_ssize_t pos, Py_ssize_t limit, Index index, Sketch sketch, double now, bint flat, bint mixed)
    cdef mixed_asked(self, const char *p, Py_ssize_t begin, Py_ssize_t count, void **found, Walked *walked, bint sampled)
    cpdef Py_ssize_t many(self, bytes data, Py_ssize_t pos, Index index, Sketch sketch, double now, bint flat)
    cdef bytes rest_of(self, const char *p, Py_ssize_t missing, Py_ssize_t count, void **found, Py_ssize_t *starts, Py_ssize_t *sizes)
    cpdef bytes part(self, bytes data, Py_ssize_t start, Py_ssize_t end)


cdef class Cutter:
    cdef readonly Py_ssize_t done
    cdef readonly Py_ssize_t bulks
    cdef readonly Py_ssize_t nulls
    cdef readonly Py_ssize_t errors
    cdef public list places
    cdef readonly int stop
    cdef Py_ssize_t pending
    cdef Py_ssize_t value
    cdef readonly Py_ssize_t skip
    cdef int state
    cdef char kind
    cdef int digits
    cdef bint negative
    cdef bint requests
    cdef bint ended
    cpdef Py_ssize_t cut(self, bytes data, Py_ssize_t pos, Py_ssize_t want, bint pushes=*)
    cpdef bytes part(self, bytes data, Py_ssize_t start, Py_ssize_t end)
    cpdef bytes flat(self, bytes data, Py_ssize_t pos, Py_ssize_t at)


cpdef unsigned long long mix(bytes key)
cpdef Py_ssize_t hash_slot(bytes key)
cpdef list spread(RouteMap routes, bytes data, short[:] owners, Py_ssize_t count)
cpdef bytes weave(bytes order, list texts)
cpdef tuple fit(bytes there, list gaps, bytes replies, Py_ssize_t pos, bytes nil, list fills)
