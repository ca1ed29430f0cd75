# cython: language_level=3
# The types of own.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, MutedSlot, RunSlot, Turn
from nearhit.proxy.hot.fills cimport Fill
from nearhit.proxy.hot.lane cimport LaneCore
from nearhit.proxy.resp._kernel cimport Cutter as CCutter

cdef int _UNTOLD, _VALUE, _NIL, _OTHER


cdef class TaskSlot(RunSlot):
    cdef public bint muted
    cdef public bint alone
    cpdef fill(self, bytes text)
    cpdef pass_on(self, bytes chunk, Py_ssize_t want)


cdef class GetOrSetSlot:
    cdef public Py_ssize_t want
    cdef public TaskSlot place
    cdef public object missed
    cdef public object asker
    cdef public bytes key
    cdef public object command
    cdef public object why
    cdef Fill _fill
    cdef int _kind
    cdef bytes _got
    @cython.locals(fill=Fill)
    cpdef feed(self, bytes chunk)
    @cython.locals(session=Answers, turn=Turn)
    cdef _tell(self, bytes reply)


cdef class GetOrSetRun:
    cdef public Py_ssize_t want
    cdef public list keys
    cdef public object asker
    cdef public RunSlot place
    cdef public LaneCore lane
    cdef CCutter _cutter
    cdef Py_ssize_t _told
    cdef bytes _held
    cdef bint _inside
    @cython.locals(seen=CCutter, cutter=CCutter, turn=Turn, begin=Py_ssize_t, start=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, rare=bint)
    cpdef feed(self, bytes chunk)
    @cython.locals(
        place=RunSlot, session=Answers, behind=RunSlot, rest=Py_ssize_t, task=TaskSlot, last=RunSlot, muted=bint
    )
    cdef _miss(self, bytes before, object why)


@cython.locals(run=GetOrSetRun)
cpdef GetOrSetRun run_of(Answers session, LaneCore lane, list keys, bint muted, object asker)
@cython.locals(slot=RunSlot)
cdef RunSlot _place_for(Answers session, Py_ssize_t count, bint muted)
