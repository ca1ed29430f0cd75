# cython: language_level=3
# The types of own.py: a header beside a .py has it compiled (.build/nearhit_build.py).

cimport cython
from nearhit.proxy.hot.answers cimport Answers, RunSlot, Turn
from nearhit.proxy.hot.fills cimport Fill

cdef int _UNTOLD, _VALUE, _NIL, _OTHER


cdef class TaskSlot(RunSlot):
    cdef public bint muted
    cpdef fill(self, bytes text)
    cpdef pass_on(self, bytes chunk, Py_ssize_t want)


cdef class GetOrSetSlot:
    cdef public Py_ssize_t want
    cdef public TaskSlot place
    cdef public object missed
    cdef public object asker
    cdef public bytes key
    cdef public object command
    cdef Fill _fill
    cdef int _kind
    cdef bytes _got
    @cython.locals(fill=Fill)
    cpdef feed(self, bytes chunk)
    @cython.locals(session=Answers, turn=Turn)
    cdef _tell(self, bytes reply)
