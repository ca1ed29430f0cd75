# cython: language_level=3
# The types of index.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython


cdef Py_ssize_t _BYTES
cpdef bytes request_name(bytes request, bint flat)
@cython.locals(words=list)
cpdef bytes key_of(bytes name)
cpdef Py_ssize_t allocated(Py_ssize_t length)
cdef unsigned int _tag(Py_hash_t mixed) noexcept


@cython.final
cdef class Entry:
    cdef public object space
    cdef public bytes key
    cdef public Py_hash_t mixed
    cdef public bytes reply
    cdef public Entry older
    cdef public Entry newer
    cdef public Queue queue
    cdef public double deadline
    cdef public Py_ssize_t size
    cdef public int freq
    cdef public bint alive


@cython.final
cdef class Ticket:
    cdef public bytes key
    cdef public int freq
    cdef public bint valid


@cython.final
cdef class Queue:
    cdef public Entry ring
    cdef public Py_ssize_t used
    @cython.locals(ring=Entry, last=Entry)
    cpdef push(self, Entry entry)
    @cython.locals(older=Entry, newer=Entry)
    cpdef remove(self, Entry entry)


@cython.final
cdef class Index:
    cdef public Py_hash_t salt
    cdef public Py_ssize_t count
    cdef public unsigned int[::1] tags
    cdef public list slots
    cdef public Py_hash_t mask
    cpdef Entry get(self, bytes key)
    @cython.locals(at=Py_hash_t, tag=cython.uint, entry=Entry)
    cpdef Entry find(self, bytes key, Py_hash_t mixed)
    @cython.locals(one=Entry)
    cpdef put(self, Entry entry)
    @cython.locals(at=Py_hash_t)
    cdef _place(self, Entry entry)
    @cython.locals(hole=Py_hash_t, at=Py_hash_t, mask=Py_hash_t, other=Entry, slots=list)
    cpdef remove(self, Entry entry)
    cdef _clear(self, Py_ssize_t places)
