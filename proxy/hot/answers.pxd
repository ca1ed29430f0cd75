# cython: language_level=3
# The types of answers.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython

cdef int _WINDOW_BYTES, _STALL_WINDOW, _STALL_CLIENT


cdef class RunSlot:
    cdef public Answers session
    cdef public Py_ssize_t want
    cdef public Py_ssize_t count
    cdef public Py_ssize_t reads
    cdef public bytes marks
    cdef public bint flat
    cdef public list parts
    cdef public RunSlot following
    @cython.final
    cdef void _begin(self, Answers session, Py_ssize_t want) noexcept
    @cython.locals(session=Answers)
    cpdef feed(self, bytes chunk)


cdef class MutedSlot(RunSlot):
    cpdef feed(self, bytes chunk)


cdef class Answers:
    cdef public Turn turn
    cdef public object wire
    cdef public RunSlot head
    cdef public RunSlot tail
    cdef public Py_ssize_t owed
    cdef public Py_ssize_t window
    cdef public int stalls
    cdef public bint at_drain
    cdef public Py_ssize_t replies
    cdef public Py_ssize_t reply_bytes
    cdef public Py_ssize_t replies_before
    cdef public Py_ssize_t bytes_before
    cdef public bint large
    cdef public RunSlot clocked
    cdef public double began
    cdef public bint loading
    cdef public bytes out
    cdef public list outs
    cdef _push_slot(self, RunSlot slot)
    @cython.locals(tail=RunSlot, slot=RunSlot)
    cdef _answer(self, bytes reply, Py_ssize_t count)
    @cython.locals(turn=Turn)
    cdef _write(self, bytes data)
    @cython.locals(slot=RunSlot)
    cdef _advance(self)
    cdef _resize_window(self)
    cdef _narrow(self)
    cdef _handed_over(self)
    cdef _emptied(self)


cdef class Turn:
    cdef public double now
    cdef public double wary_until
    cdef public object clock
    cdef public object call_soon
    cdef public list dirty
    cdef public Py_ssize_t hits
    cdef public Py_ssize_t misses
    cdef public Py_ssize_t asking
    cdef public Py_ssize_t writing
    cdef public Py_ssize_t others
    cdef public Py_ssize_t owns
    cdef public Py_ssize_t near_reads
    cdef public Py_ssize_t near_owns
    cdef public Py_ssize_t near_hits
    cdef public Py_ssize_t near_nils
    cdef public Py_ssize_t errors
    cdef public Py_ssize_t countdown
    cdef public object gap
    cdef public object stopwatch
