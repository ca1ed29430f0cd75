# cython: language_level=3
"""What the cache has to say to CPython's garbage collector."""

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(object)


def untrack(object one):
    """Let the collector walk this object no more: whoever made it sees that it is in no circle in the end."""
    PyObject_GC_UnTrack(one)
