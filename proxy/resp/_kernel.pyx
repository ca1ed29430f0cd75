# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, nonecheck=False
"""Compiled kernel: finds where frames end and which requests may share a lane. Never copies, never decodes.

_kernel_py.py is the same in plain Python; tests/unit/resp/test_kernel.py holds both to one set of cases.
Kept because the plain splitter costs about 5 us a frame and this one under 0.1 us (tests.bench, P=16)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy

from nearhit.proxy.near.index cimport Entry, Index
from nearhit.proxy.near.sketch cimport Sketch
from nearhit.proxy.near.worth cimport Worth

cdef enum:
    # routes.py
    C_MORE = -1
    C_FULL = -2
    C_ODD = 0
    C_PLAIN = 1
    C_READ = 25
    C_NEAR = 32
    C_NEAR_MANY = 34
    C_TELL = 35
    C_FAR_ANY = 38
    # bounds
    RUN_MAX = 256
    BULK_MAX = 536870912
    ARGS_MAX = 2147483647
    TOLD_MAX = 65536
    MANY_MAX = 1024
    MANY_TOLD_MAX = 4194304
    FREQ_MAX = 7
    HEAD_SIZE = 14
    # stops
    C_DRY = 0
    C_DONE = 1
    C_PUSH = 2
    C_BROKEN = 3
    # states
    AT_TYPE = 0
    AT_COUNT = 1
    AT_LINE = 2
    AT_BULK = 3

# Cutter.cut() stops.
DRY = C_DRY
DONE = C_DONE
PUSH = C_PUSH
BROKEN = C_BROKEN

# The numbers of routes.py as C has them, for the test that holds both equal.
ROUTES = {
    "MORE": C_MORE,
    "FULL": C_FULL,
    "ODD": C_ODD,
    "PLAIN": C_PLAIN,
    "READ": C_READ,
    "NEAR": C_NEAR,
    "NEAR_MANY": C_NEAR_MANY,
    "TELL": C_TELL,
    "FAR_ANY": C_FAR_ANY,
}

# How nearly every GET begins.
cdef const char *HEAD = b"*2\r\n$3\r\nGET\r\n$"

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030E0000
    #define nearhit_hash(at, size) Py_HashBuffer(at, size)
    #else
    #define nearhit_hash(at, size) _Py_HashBytes(at, size)
    #endif
    """
    Py_hash_t _hash_of "nearhit_hash"(const void *at, Py_ssize_t size) noexcept  # as hash() of the bytes


cdef inline unsigned int _hash(const char *name, Py_ssize_t size) noexcept nogil:
    cdef unsigned int value = 2166136261u
    cdef Py_ssize_t i
    for i in range(size):
        value = (value ^ <unsigned char>name[i]) * 16777619u
    return value


cdef inline unsigned long long _mix(const char *p, Py_ssize_t size) noexcept nogil:
    """A hash of a key, eight bytes at a time, of which the last may have been seen: for samples, where it need not be
    hard to foresee."""
    cdef unsigned long long mixed = size, word = 0
    cdef unsigned int half
    while size > 8:
        memcpy(&word, p, 8)
        mixed = (mixed ^ word) * 0x9E3779B97F4A7C15u
        mixed ^= mixed >> 32
        p += 8
        size -= 8
        if size < 8:
            p -= 8 - size
            size = 8
    if size == 8:
        memcpy(&word, p, 8)
    elif size >= 4:
        memcpy(&half, p + size - 4, 4)
        word = half
        memcpy(&half, p, 4)
        word = word << 32 | half
    elif size:
        word = <unsigned char>p[0] | <unsigned int><unsigned char>p[size >> 1] << 8 | <unsigned int><unsigned char>p[size - 1] << 16
    mixed = (mixed ^ word) * 0x9E3779B97F4A7C15u
    mixed = (mixed ^ mixed >> 32) * 0x9E3779B97F4A7C15u
    return mixed ^ mixed >> 32


cpdef unsigned long long mix(bytes key):
    """The same of a key that is an object."""
    return _mix(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))


cdef unsigned short CRC[4][256]


cdef void _fill_crc() noexcept:
    """CRC-16/XMODEM, of which hash slots are made (redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec):
    of each byte, and of it with one, two and three zeros behind it, so that four bytes are looked up at once."""
    cdef unsigned int value
    for i in range(256):
        value = i << 8
        for zeros in range(4):
            for _ in range(8):
                value = value << 1 ^ 0x1021 if value & 0x8000 else value << 1
            value &= 0xFFFF
            CRC[zeros][i] = value


_fill_crc()


cdef inline Py_ssize_t _hash_slot(const char *key, Py_ssize_t size) noexcept nogil:
    """The hash slot of a key: of what stands in its first {braces}, where that is not empty."""
    cdef const unsigned char *p = <const unsigned char *>key
    cdef const unsigned char *first = <const unsigned char *>memchr(p, c'{', size)
    cdef const unsigned char *last
    cdef unsigned int value = 0
    if first != NULL:
        first += 1
        last = <const unsigned char *>memchr(first, c'}', p + size - first)
        if last != NULL and last > first:
            p = first
            size = last - first
    while size >= 4:
        value = CRC[3][value >> 8 ^ p[0]] ^ CRC[2][value & 0xFF ^ p[1]] ^ CRC[1][p[2]] ^ CRC[0][p[3]]
        p += 4
        size -= 4
    while size:
        value = (value << 8 & 0xFFFF) ^ CRC[0][value >> 8 ^ p[0]]
        p += 1
        size -= 1
    return value & 16383


cpdef Py_ssize_t hash_slot(bytes key):
    """The slot that a key has in a cluster."""
    return _hash_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))


cdef inline Py_ssize_t _count(const char *p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t *value) noexcept nogil:
    """A canonical count and its CRLF at p[at:]; the offset behind, -1: more bytes needed, -2: not canonical."""
    cdef Py_ssize_t start = at
    cdef Py_ssize_t number = 0
    while at < end and c'0' <= p[at] <= c'9':
        number = number * 10 + (p[at] - c'0')
        at += 1
        if at - start > 10:
            return -2
    if p[start] == c'0' and at - start > 1:
        return -2
    if at == end:
        return -1
    if at == start or p[at] != c'\r':
        return -2
    if at + 1 == end:
        return -1
    if p[at + 1] != c'\n':
        return -2
    value[0] = number
    return at + 2


cdef inline void *_held(Index index, const char *key, Py_ssize_t size, Py_hash_t mixed):
    """The entry of a key, NULL: it has none."""
    cdef Py_hash_t at = mixed & index.mask
    cdef unsigned int tag = <unsigned int>(mixed >> 30 & 0x7FFFFFFF | 1)
    cdef unsigned int *tags = &index.tags[0]
    cdef Entry entry
    while tags[at]:
        if tags[at] == tag:
            entry = <Entry>index.slots[at]
            if entry.mixed == mixed and PyBytes_GET_SIZE(entry.key) == size and memcmp(PyBytes_AS_STRING(entry.key), key, size) == 0:
                return <void *>entry
        at = (at + 1) & index.mask
    return NULL


# What each group adds to a count of both: one addition for each request, where two would be 2 % of what a GET costs at
# P=16 (callgrind).
cdef Py_ssize_t[3] GROUPED = [0, 1, 1 << 16]


cdef class RouteMap:
    """Command name (any case) -> class, an open-addressed table; names over 32 bytes are unknown. ``groups``: what of
    a name is counted (routes.py: ASKING, WRITING)."""

    def __cinit__(self, routes, groups=None):
        cdef unsigned int size = 64
        cdef unsigned int at
        while size < 4 * len(routes):
            size *= 2
        self.rows = <Row *>calloc(size, sizeof(Row))
        if self.rows == NULL:
            raise MemoryError()
        self.mask = size - 1
        for name, kind in routes.items():
            if not 0 < len(name) <= NAME_MAX or name != name.upper():
                raise ValueError(f"not a command name of 1 to {NAME_MAX} upper-case bytes: {name!r}")
            at = _hash(PyBytes_AS_STRING(name), len(name)) & self.mask
            while self.rows[at].size:
                at = (at + 1) & self.mask
            self.rows[at].size = len(name)
            self.rows[at].kind = kind
            self.rows[at].group = groups.get(name, 0) if groups is not None else 0
            memcpy(self.rows[at].name, PyBytes_AS_STRING(name), len(name))
        self.get_kind = self.find("GET", 3)
        self.get_group = self.found_group
        self.gaps = []
        self.doubts = []
        self.sampled = []

    def __dealloc__(self):
        free(self.rows)

    cdef int find(self, const char *name, Py_ssize_t size) noexcept nogil:
        cdef char upper[NAME_MAX]
        cdef Py_ssize_t i
        cdef unsigned int at
        cdef char c
        self.found_group = 0
        if size > NAME_MAX:
            return C_ODD
        for i in range(size):
            c = name[i]
            upper[i] = c - 32 if c'a' <= c <= c'z' else c
        at = _hash(upper, size) & self.mask
        while self.rows[at].size:
            if self.rows[at].size == size and memcmp(self.rows[at].name, upper, size) == 0:
                self.found_group = self.rows[at].group
                return self.rows[at].kind
            at = (at + 1) & self.mask
        return C_ODD

    def get(self, bytes name):
        """The class of a command name; ODD when unknown."""
        return self.find(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))

    def group(self, bytes name):
        """What it is counted as; 0 when that is not said."""
        self.find(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        return self.found_group

    cdef inline Py_ssize_t stop(self, Py_ssize_t count, Py_ssize_t end, int route, Py_ssize_t reads, Py_ssize_t grouped):
        self.asking = grouped & 0xFFFF
        self.writing = grouped >> 16
        self.end = end
        self.route = route
        self.reads = reads
        self.marks = PyBytes_FromStringAndSize(self.classes, count) if 0 < reads < count else None
        return count

    cpdef Py_ssize_t scan(self, bytes data, Py_ssize_t pos, Py_ssize_t limit):
        """Walk whole canonical PLAIN, READ, TELL and FAR_ANY requests from pos, at most RUN_MAX; how many. Sets `end` (the
        offset behind them), `last` (where the last of them begins), `reads` (how many are READs), `marks` (where some are: a byte for each request, 1 for
        a READ; else None), `asking` and `writing` (how many are of these groups), `tells` (whether there is a TELL or FAR_ANY) and `route`: MORE (the bytes end inside a request),
        FULL (limit reached), or the class of the request at the offset: ODD for an unknown command, an inline one,
        or bytes that Redis would read differently from their looks, which must never reach a shared lane as they
        are. `worth`, where it is set, is told of the keys that are read."""
        cdef const char *p = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at, args, size = 0, count = 0
        cdef Py_ssize_t i, first
        cdef int kind
        cdef Py_ssize_t reads = 0
        cdef unsigned char group
        cdef Py_ssize_t grouped = 0
        cdef Worth worth = self.worth
        self.tells = False
        if limit > RUN_MAX:
            limit = RUN_MAX
        while True:
            if pos >= end:
                return self.stop(count, pos, C_MORE, reads, grouped)
            if count >= limit:
                return self.stop(count, pos, C_FULL, reads, grouped)
            if end - pos >= HEAD_SIZE and memcmp(p + pos, HEAD, HEAD_SIZE) == 0:
                kind = self.get_kind
                if kind != C_PLAIN and kind != C_READ and kind != C_TELL:
                    return self.stop(count, pos, kind, reads, grouped)
                at = pos + HEAD_SIZE - 1
                args = 2
                first = 1
                group = self.get_group
            else:
                if p[pos] != c'*':
                    return self.stop(count, pos, C_ODD, reads, grouped)
                at = _count(p, pos + 1, end, &args)
                if at < 0:
                    return self.stop(count, pos, C_MORE if at == -1 else C_ODD, reads, grouped)
                if args == 0 or args > ARGS_MAX:
                    return self.stop(count, pos, C_ODD, reads, grouped)
                kind = C_ODD
                first = group = 0
            for i in range(first, args):
                if at == end:
                    return self.stop(count, pos, C_MORE, reads, grouped)
                if p[at] != c'$':
                    return self.stop(count, pos, C_ODD, reads, grouped)
                at = _count(p, at + 1, end, &size)
                if at < 0:
                    return self.stop(count, pos, C_MORE if at == -1 else C_ODD, reads, grouped)
                if size > BULK_MAX:
                    return self.stop(count, pos, C_ODD, reads, grouped)
                if at + size + 2 > end:
                    if i == 0:
                        return self.stop(count, pos, C_MORE if size <= NAME_MAX else C_ODD, reads, grouped)
                    return self.stop(count, pos, C_MORE, reads, grouped)
                if p[at + size] != c'\r' or p[at + size + 1] != c'\n':
                    return self.stop(count, pos, C_ODD, reads, grouped)
                if i == 0:
                    kind = self.find(p + at, size)
                    if kind != C_PLAIN and kind != C_READ and kind != C_TELL and kind != C_FAR_ANY:
                        return self.stop(count, pos, kind, reads, grouped)
                    group = self.found_group
                at += size + 2
            if worth is not None and (kind == C_READ or kind == C_FAR_ANY):
                if args == 2:  # its key is the last word
                    worth._note(_mix(p + at - 2 - size, size), 1)
                else:
                    self.note(worth, p, pos, end)
            self.last = pos
            pos = at
            if kind == C_TELL or kind == C_FAR_ANY:
                self.tells = True
            self.classes[count] = kind == C_READ
            reads += kind == C_READ
            grouped += GROUPED[group]
            count += 1

    cdef note(self, Worth worth, const char *p, Py_ssize_t at, Py_ssize_t end):
        """Tell of the keys that the whole canonical READ at p[at:] reads; not before it is whole, or it would be told of again."""
        cdef Py_ssize_t i, args = 0, size = 0
        cdef bint many = False
        at = _count(p, at + 1, end, &args)
        for i in range(args):
            at = _count(p, at + 1, end, &size)
            if i == 0:
                many = p[at] == c'M' or p[at] == c'm'  # MGET is the one READ that begins so
            elif many or i == 1:
                worth._note(_mix(p + at, size), args - 1 if many else 1)
            else:
                break
            at += size + 2

    cpdef bytes key(self, bytes data, Py_ssize_t pos):
        """The word behind the name in the whole canonical request at pos, None where there is none such.
        Sets `end` (the offset behind the request), `words` (how many it has) and `route` (its class)."""
        cdef const char *p = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at, args, size = 0, start = 0, length = -1
        cdef Py_ssize_t i
        if pos >= end or p[pos] != c'*':
            return None
        at = _count(p, pos + 1, end, &args)
        if at < 0 or args < 2 or args > ARGS_MAX:
            return None
        for i in range(args):
            if at == end or p[at] != c'$':
                return None
            at = _count(p, at + 1, end, &size)
            if at < 0 or size > BULK_MAX or at + size + 2 > end:
                return None
            if p[at + size] != c'\r' or p[at + size + 1] != c'\n':
                return None
            if i == 0:
                self.route = self.find(p + at, size)
            elif i == 1:
                start = at
                length = size
            at += size + 2
        self.end = at
        self.words = args
        return PyBytes_FromStringAndSize(p + start, length)

    cpdef Py_ssize_t hash_slot(self, bytes data, Py_ssize_t pos):
        """The hash slot of the word behind the name in the whole canonical request at pos, -1 where its class is not
        PLAIN or there is no such word. Sets `end`, the offset behind the request."""
        cdef Head head
        head.size = 0
        self.end = pos
        return self.slot_at(PyBytes_AS_STRING(data), pos, PyBytes_GET_SIZE(data), &head, &self.end)

    cdef Py_ssize_t slot_at(self, const char *p, Py_ssize_t pos, Py_ssize_t end, Head *head, Py_ssize_t *behind) noexcept nogil:
        """The same, for one after another: what begins as the request before did is of its class."""
        cdef Py_ssize_t at, args, size = 0, found = -1
        cdef Py_ssize_t i, first = 0
        if head.size and end - pos > head.size and memcmp(p + pos, head.at, head.size) == 0:
            at = pos + head.size
            args = head.args
            first = 1
        else:
            if pos >= end or p[pos] != c'*':
                return -1
            at = _count(p, pos + 1, end, &args)
            if at < 0 or args < 2 or args > ARGS_MAX:
                return -1
        for i in range(first, args):
            if at >= end or p[at] != c'$':
                return -1
            at = _count(p, at + 1, end, &size)
            if at < 0 or size > BULK_MAX or at + size + 2 > end:
                return -1
            if i == 0:
                if self.find(p + at, size) != C_PLAIN:
                    return -1
                head.at = p + pos
                head.size = at + size + 2 - pos
                head.args = args
            elif i == 1:
                found = _hash_slot(p + at, size)
            at += size + 2
        behind[0] = at
        return found

    cdef inline Py_ssize_t near_get(self, const char *p, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t *start, Py_ssize_t *size) noexcept nogil:
        """The offset behind the whole canonical request of two words and class NEAR at pos, and where its key is; 0: it is none."""
        cdef Py_ssize_t at, args
        if end - pos >= HEAD_SIZE and memcmp(p + pos, HEAD, HEAD_SIZE) == 0:
            if self.get_kind != C_NEAR:
                return 0
            at = pos + HEAD_SIZE - 1
        else:
            if pos >= end or p[pos] != c'*':
                return 0
            at = _count(p, pos + 1, end, &args)
            if at < 0 or args != 2 or at == end or p[at] != c'$':
                return 0
            at = _count(p, at + 1, end, size)
            if at < 0 or size[0] > NAME_MAX or at + size[0] + 2 >= end:
                return 0
            if self.find(p + at, size[0]) != C_NEAR or p[at + size[0]] != c'\r' or p[at + size[0] + 1] != c'\n':
                return 0
            at += size[0] + 2
            if p[at] != c'$':
                return 0
        at = _count(p, at + 1, end, size)
        if at < 0 or size[0] > BULK_MAX or at + size[0] + 2 > end:
            return 0
        if p[at + size[0]] != c'\r' or p[at + size[0] + 1] != c'\n':
            return 0
        start[0] = at
        return at + size[0] + 2

    cpdef Py_ssize_t near(self, bytes data, Py_ssize_t pos, Py_ssize_t limit, Index index, Sketch sketch, double now, bint flat, bint mixed):
        """Walk the whole canonical requests of two words and class NEAR from pos: those that have an entry which is alive now, up to the first that has none; or from
        one that has none on, up to the first that has one or was seen lately, or with `mixed` all of them; how many. What is missing is noted (Sketch.first_sight).
        Sets `end`, `told` (the replies that are there in one piece, of TOLD_MAX bytes or one alone; None: no entry, and nothing that was seen lately), `nils` (how many of
        them are nil: `flat`, as RESP2 has it), `missing` (how many are) and, where some are and `told` is something, `gaps`, `asked`, `doubts` and `sampled` as `many`
        does. Stops at what the cache must look at itself: one alone that was seen lately, one of the sample behind hits.
        Kept because as objects a hit costs 0.5 us and a miss 0.7 us, and here 0.1 (tests.bench.near, P=16)."""
        cdef const char *p = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data), begin = pos
        cdef Py_ssize_t behind, start = 0, size = 0, count = 0, total = 0, missing = 0, unsure = 0, length
        cdef Py_hash_t hashed, at
        cdef Py_hash_t mask = index.mask
        cdef unsigned int tag
        cdef Entry entry
        cdef list slots = index.slots
        cdef unsigned int *tags = &index.tags[0]
        cdef void *found[RUN_MAX]
        cdef Walked walked[RUN_MAX]
        cdef char *to
        self.end = pos
        self.told = None
        self.nils = self.missing = 0
        if limit > RUN_MAX:
            limit = RUN_MAX
        while count < limit:
            behind = self.near_get(p, pos, end, &start, &size)
            if not behind:
                break
            hashed = _hash_of(p + start, size) ^ index.salt
            if sketch.sampled and not hashed >> 20 & 63 and not (missing and mixed):
                break
            at = hashed & mask
            tag = <unsigned int>(hashed >> 30 & 0x7FFFFFFF | 1)
            entry = None
            while tags[at]:
                if tags[at] == tag:
                    entry = <Entry>slots[at]
                    if entry.mixed == hashed and PyBytes_GET_SIZE(entry.key) == size and memcmp(PyBytes_AS_STRING(entry.key), p + start, size) == 0:
                        break
                    entry = None
                at = (at + 1) & mask
            walked[count].over = entry is not None and entry.deadline <= now
            if entry is not None and not walked[count].over:
                if missing and not mixed:
                    break
                if entry.reply is None:
                    length = 5 if flat else 3
                else:
                    length = PyBytes_GET_SIZE(entry.reply)
                if count and total + length > TOLD_MAX:
                    break
                total += length
                found[count] = <void *>entry
            elif count and not missing:
                break  # behind hits
            else:
                walked[count].unsure = walked[count].over or not sketch.first_sight(hashed)
                if walked[count].unsure:
                    if not mixed:
                        break
                    unsure += 1
                missing += 1
                found[count] = NULL
            walked[count].hashed = hashed
            walked[count].key = start
            walked[count].size = size
            walked[count].end = behind
            count += 1
            pos = behind
        if unsure and count == 1:
            return 0
        self.end = pos
        self.missing = missing
        if not total and not unsure:
            return count
        if count == 1 and (<Entry>found[0]).reply is not None:
            entry = <Entry>found[0]
            self.told = entry.reply
            if entry.freq < FREQ_MAX:
                entry.freq += 1
            return 1
        self.told = PyBytes_FromStringAndSize(NULL, total)
        if missing:
            self.mixed_asked(p, begin, count, found, walked, sketch.sampled)
        to = PyBytes_AS_STRING(self.told)
        for at in range(count):
            if found[at] == NULL:
                self.gaps.append(to - PyBytes_AS_STRING(self.told))
                continue
            entry = <Entry>found[at]
            if entry.freq < FREQ_MAX:
                entry.freq += 1
            if entry.reply is None:
                self.nils += 1
                length = 5 if flat else 3
                memcpy(to, b"$-1\r\n" if flat else b"_\r\n", length)
            else:
                length = PyBytes_GET_SIZE(entry.reply)
                memcpy(to, PyBytes_AS_STRING(entry.reply), length)
            to += length
        return count

    cdef mixed_asked(self, const char *p, Py_ssize_t begin, Py_ssize_t count, void **found, Walked *walked, bint sampled):
        """Set `asked`, `doubts` and `sampled` of a run that begins there, and clear `gaps`."""
        cdef Py_ssize_t i, at = begin, size = 0, missing = 0
        cdef char *to
        self.gaps = []
        self.doubts = []
        self.sampled = []
        for i in range(count):
            if found[i] == NULL:
                size += walked[i].end - at
            at = walked[i].end
        self.asked = PyBytes_FromStringAndSize(NULL, size)
        to = PyBytes_AS_STRING(self.asked)
        at = begin
        for i in range(count):
            if sampled and not walked[i].hashed >> 20 & 63:
                self.sampled.append(walked[i].hashed)
            if found[i] == NULL:
                if walked[i].unsure:
                    self.doubts.append((missing, PyBytes_FromStringAndSize(p + walked[i].key, walked[i].size)))
                size = walked[i].end - at
                memcpy(to, p + at, size)
                to += size
                missing += 1
            at = walked[i].end

    cpdef Py_ssize_t many(self, bytes data, Py_ssize_t pos, Index index, Sketch sketch, double now, bint flat):
        """Look up the keys of the whole canonical request of class NEAR_MANY at pos; how many there are, 0: it is none such, has more than
        MANY_MAX, or its values are of more than MANY_TOLD_MAX bytes. Sets `end`, `told` (the reply in one piece, without what is missing), `nils`
        (how many of them are nil), and of what is missing `gaps` (offsets in `told`), `asked` (a request for it) and `doubts` (its number among them, and the key, where
        the cache must look itself: it was seen before, or its time is over); `told` is None where nothing is there, nor to be looked at. `sampled`: hashes that are of the sample.
        Kept because as objects a key costs 1,200 instructions, and here 200 (tests.bench.near, mget)."""
        cdef const char *p = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at, args, i, size = 0, count, missing = 0, nils = 0, total
        cdef Py_ssize_t nil = 5 if flat else 3
        cdef Py_ssize_t starts[MANY_MAX]
        cdef Py_ssize_t sizes[MANY_MAX]
        cdef Py_hash_t mixes[MANY_MAX]
        cdef void *found[MANY_MAX]
        cdef bint over[MANY_MAX]
        cdef Entry entry
        cdef bytes told
        cdef list gaps, doubts, sampled
        cdef char *to
        self.end = pos
        self.told = self.asked = None
        if pos >= end or p[pos] != c'*':
            return 0
        at = _count(p, pos + 1, end, &args)
        if at < 0 or not 2 <= args <= MANY_MAX + 1:
            return 0
        count = args - 1
        for i in range(-1, count):
            if at == end or p[at] != c'$':
                return 0
            at = _count(p, at + 1, end, &size)
            if at < 0 or size > BULK_MAX or at + size + 2 > end or p[at + size] != c'\r' or p[at + size + 1] != c'\n':
                return 0
            if i < 0:
                if self.find(p + at, size) != C_NEAR_MANY:
                    return 0
            else:
                starts[i] = at
                sizes[i] = size
                mixes[i] = _hash_of(p + at, size) ^ index.salt
            at += size + 2
        total = _line(count)
        for i in range(count):
            found[i] = _held(index, p + starts[i], sizes[i], mixes[i])
            over[i] = found[i] != NULL and (<Entry>found[i]).deadline <= now
            if over[i]:
                found[i] = NULL
            if found[i] == NULL:
                missing += 1
            elif (<Entry>found[i]).reply is None:
                nils += 1
                total += nil
            else:
                total += PyBytes_GET_SIZE((<Entry>found[i]).reply)
        if total > MANY_TOLD_MAX:
            return 0
        self.end = at
        self.nils = nils
        told = PyBytes_FromStringAndSize(NULL, total)
        gaps = []
        doubts = []
        sampled = []
        to = _put_line(PyBytes_AS_STRING(told), c'*', count)
        for i in range(count):
            if sketch.sampled and not mixes[i] >> 20 & 63:
                sampled.append(mixes[i])
            if found[i] == NULL:
                if over[i] or not sketch.first_sight(mixes[i]):
                    doubts.append((len(gaps), PyBytes_FromStringAndSize(p + starts[i], sizes[i])))
                gaps.append(to - PyBytes_AS_STRING(told))
                continue
            entry = <Entry>found[i]
            if entry.freq < FREQ_MAX:
                entry.freq += 1
            if entry.reply is None:
                memcpy(to, b"$-1\r\n" if flat else b"_\r\n", nil)
                to += nil
            else:
                to = _put(to, entry.reply)
        self.gaps = gaps
        self.doubts = doubts
        self.sampled = sampled
        if missing == count and not doubts:
            return count
        if missing:
            self.asked = self.rest_of(p, missing, count, found, starts, sizes)
        self.told = told
        return count

    cdef bytes rest_of(self, const char *p, Py_ssize_t missing, Py_ssize_t count, void **found, Py_ssize_t *starts, Py_ssize_t *sizes):
        """An MGET of the keys that were not found."""
        cdef Py_ssize_t i, size = _line(missing + 1) + 10
        cdef bytes asked
        cdef char *to
        for i in range(count):
            if found[i] == NULL:
                size += _line(sizes[i]) + sizes[i] + 2
        asked = PyBytes_FromStringAndSize(NULL, size)
        to = _put_line(PyBytes_AS_STRING(asked), c'*', missing + 1)
        memcpy(to, b"$4\r\nMGET\r\n", 10)
        to += 10
        for i in range(count):
            if found[i] == NULL:
                size = _line(sizes[i])
                memcpy(to, p + starts[i] - size, size + sizes[i] + 2)
                to += size + sizes[i] + 2
        return asked

    cpdef bytes part(self, bytes data, Py_ssize_t start, Py_ssize_t end):
        """data[start:end]: as a slice it costs 700 instructions, for its bounds are objects."""
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)


cdef inline bint _line_end(const char *p, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t skip) noexcept nogil:
    """Whether those bytes of a bulk's CRLF that lie in p[pos:end] are the right ones."""
    cdef Py_ssize_t cr = pos + skip - 2
    if pos <= cr < end and p[cr] != c'\r':
        return False
    return not (cr + 1 < end and p[cr + 1] != c'\n')


cdef inline Py_ssize_t _bulk_end(const char *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where the string ends whose length begins at p[at:]; 0: it is not all there, or anything else."""
    cdef Py_ssize_t size = 0, last = min(end, at + 9)
    if at == last or not c'0' <= p[at] <= c'9':
        return 0
    while at < last and c'0' <= p[at] <= c'9':
        size = size * 10 + (p[at] - c'0')
        at += 1
    if end - at < size + 4 or p[at] != c'\r' or p[at + 1] != c'\n':
        return 0
    return at + size + 4


cdef class Cutter:
    """Finds reply ends in a stream, in chunks of any size. Holds counters only, never bytes.

    requests: finds the end of canonical requests instead, and breaks at anything that a server could
    frame differently. skip: bytes still to come of the bulk that was cut last. places: where it is a list, the
    offset of each `_` is put there (a null of RESP3)."""

    def __cinit__(self, bint requests=False):
        self.requests = requests

    @property
    def inside(self):
        """Whether the last byte seen was in the middle of a reply."""
        return self.pending != 0 or self.state != AT_TYPE

    cpdef Py_ssize_t cut(self, bytes data, Py_ssize_t pos, Py_ssize_t want, bint pushes=False):
        """Consume up to `want` whole replies from pos; the offset reached.

        Sets `done` (replies completed in this call), `bulks` and `nulls` (strings completed in this call, and
        nulls `$-1` and `_`, at any depth), `errors` (replies that began with `-`) and `stop`: DRY (bytes ran out), DONE, PUSH (a push
        stands at the offset; pass pushes=True to consume it as one reply), BROKEN (not RESP)."""
        cdef const char *p = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t done = 0, bulks = 0, nulls = 0, errors = 0
        cdef Py_ssize_t at
        cdef char c
        self.stop = C_DRY
        while pos < end:
            if self.state == AT_TYPE:
                c = p[pos]
                if c == c'$' and self.pending == 0 and not self.requests:
                    # Nearly every reply that is not short: a string that is here, whole.
                    at = _bulk_end(p, pos + 1, end)
                    if at:
                        pos = at
                        bulks += 1
                        done += 1
                        if done == want:
                            self.stop = C_DONE
                            break
                        continue
                elif (c == c'+' or c == c':') and self.pending == 0 and not self.requests:
                    # Nearly every reply to a write. A +OK that is here, whole, costs 65 instructions, by the states below 82, a :1 58 and 77 (callgrind, -O1).
                    at = pos + 1
                    while at < end and p[at] != c'\n':
                        at += 1
                    if at < end:
                        pos = at + 1
                        done += 1
                        if done == want:
                            self.stop = C_DONE
                            break
                        continue
                if self.pending == 0:
                    if c == c'>' and not pushes:
                        self.stop = C_PUSH
                        break
                if self.requests and c != (c'$' if self.pending else c'*'):
                    self.stop = C_BROKEN
                    break
                self.kind = c
                if c in (c'$', c'*', c'%', c'~', c'>', c'=', c'!', c'|'):
                    self.state = AT_COUNT
                    self.value = 0
                    self.negative = False
                    self.digits = 0
                    self.ended = False
                elif c in (c'+', c'-', c':', c'_', c'#', c',', c'('):
                    self.state = AT_LINE
                else:
                    self.stop = C_BROKEN
                    break
                if self.pending == 0:
                    self.pending = 1
                    errors += c == c'-'
                if c == c'_' and self.places is not None:
                    self.places.append(pos)
                pos += 1
            elif self.state == AT_COUNT:
                c = p[pos]
                pos += 1
                if c'0' <= c <= c'9' and not self.ended:
                    self.digits += 1
                    self.value = self.value * 10 + (c - c'0')
                    if self.value > 1099511627776 or (
                        self.requests and self.digits > 1 and self.value < 10
                    ):
                        self.stop = C_BROKEN
                        break
                elif c == c'-' and not self.requests and not self.digits and not self.negative:
                    self.negative = True
                elif c == c'\r' and self.digits and not self.ended:
                    self.ended = True
                elif c == c'\n' and self.ended:
                    self.state = AT_TYPE
                    if self.kind in (c'$', c'=', c'!'):
                        if self.negative:
                            nulls += self.kind == c'$'
                            self.pending -= 1
                        else:
                            self.skip = self.value + 2
                            self.state = AT_BULK
                            continue
                    elif self.kind == c'|':  # before a reply, and none itself
                        if not self.negative:
                            self.pending += 2 * self.value
                    else:
                        self.pending -= 1
                        if not self.negative:
                            self.pending += 2 * self.value if self.kind == c'%' else self.value
                    if self.pending == 0:
                        done += 1
                        if done == want:
                            self.stop = C_DONE
                            break
                else:
                    self.stop = C_BROKEN
                    break
            elif self.state == AT_LINE:
                while pos < end and p[pos] != c'\n':
                    pos += 1
                if pos < end:
                    pos += 1
                    nulls += self.kind == c'_'
                    self.state = AT_TYPE
                    self.pending -= 1
                    if self.pending == 0:
                        done += 1
                        if done == want:
                            self.stop = C_DONE
                            break
            else:
                if self.requests and not _line_end(p, pos, end, self.skip):
                    self.stop = C_BROKEN
                    break
                if end - pos < self.skip:
                    self.skip -= end - pos
                    pos = end
                else:
                    pos += self.skip
                    self.skip = 0
                    bulks += self.kind == c'$'
                    self.state = AT_TYPE
                    self.pending -= 1
                    if self.pending == 0:
                        done += 1
                        if done == want:
                            self.stop = C_DONE
                            break
        self.done = done
        self.errors = errors
        self.bulks = bulks
        self.nulls = nulls
        return pos

    cpdef bytes part(self, bytes data, Py_ssize_t start, Py_ssize_t end):
        """As RouteMap.part."""
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)

    cpdef bytes flat(self, bytes data, Py_ssize_t pos, Py_ssize_t at):
        """data[pos:at], just cut, with RESP2's nulls in the `places` of RESP3's."""
        cdef Py_ssize_t count = len(self.places), size, place
        cdef bytes out = PyBytes_FromStringAndSize(NULL, at - pos + 2 * count)
        cdef char *to = PyBytes_AS_STRING(out)
        cdef const char *p = PyBytes_AS_STRING(data)
        cdef Py_ssize_t i
        for i in range(count):
            place = self.places[i]
            size = place - pos
            memcpy(to, p + pos, size)
            to += size
            memcpy(to, <const char *>b"$-1", 3)
            to += 3
            pos = place + 1
        memcpy(to, p + pos, at - pos)
        return out


# --- Runs of requests for several nodes ---------------------------------------------------------


cpdef list spread(RouteMap routes, bytes data, short[:] owners, Py_ssize_t count):
    """A run of so many requests, parted by the nodes that own their hash slots: the order, a byte for each request
    that says which piece has it (None: there is but one piece), and of each piece the node, how many requests it has,
    and these. None where a request is not of one key whose slot has an owner, or the run is longer than RUN_MAX.
    Kept because Python objects for each request cost 0.7 us, and this 0.05 (tests.bench.clusters, P=16)."""
    cdef const char *p = PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t behind[RUN_MAX]
    cdef unsigned char whose[RUN_MAX]
    cdef short nodes[RUN_MAX]
    cdef Py_ssize_t sizes[RUN_MAX]
    cdef Py_ssize_t counts[RUN_MAX]
    cdef char *to[RUN_MAX]
    cdef Py_ssize_t i, piece, size, found, pos = 0, pieces = 0
    cdef Head head
    cdef short owner
    cdef bytes text
    cdef list made
    head.size = 0
    if count > RUN_MAX:
        return None
    for i in range(count):
        found = routes.slot_at(p, pos, end, &head, &behind[i])
        owner = owners[found] if found >= 0 else -1
        if owner < 0:
            return None
        piece = 0
        while piece < pieces and nodes[piece] != owner:
            piece += 1
        if piece == pieces:
            nodes[piece] = owner
            sizes[piece] = counts[piece] = 0
            pieces += 1
        whose[i] = piece
        sizes[piece] += behind[i] - pos
        counts[piece] += 1
        pos = behind[i]
    if pos != end:
        return None
    if pieces == 1:
        return [None, nodes[0], count, data]
    made = [PyBytes_FromStringAndSize(<char *>whose, count)]
    for piece in range(pieces):
        text = PyBytes_FromStringAndSize(NULL, sizes[piece])
        to[piece] = PyBytes_AS_STRING(text)
        made.append(nodes[piece])
        made.append(counts[piece])
        made.append(text)
    pos = 0
    for i in range(count):
        if i + 1 < count and whose[i + 1] == whose[i]:
            continue  # with the next one
        piece = whose[i]
        size = behind[i] - pos
        memcpy(to[piece], p + pos, size)
        to[piece] += size
        pos = behind[i]
    return made


cdef inline const char *_reply_end(const char *p, const char *end) noexcept nogil:
    """Where the reply at p ends, which a Cutter has cut; NULL: not before ``end``."""
    cdef Py_ssize_t pending = 1, value
    cdef char kind
    cdef bint negative
    while pending:
        if p >= end:
            return NULL
        kind = p[0]
        p += 1
        if kind in (c'$', c'*', c'%', c'~', c'=', c'!', c'|', c'>'):
            negative = p < end and p[0] == c'-'
            p += negative
            value = 0
            while p < end and c'0' <= p[0] <= c'9':
                value = value * 10 + (p[0] - c'0')
                p += 1
            p += 2
            pending -= kind != c'|'
            if not negative:
                if kind in (c'$', c'=', c'!'):
                    p += value + 2
                else:
                    pending += 2 * value if kind in (c'%', c'|') else value
        else:
            while p < end and p[0] != c'\n':
                p += 1
            p += 1
            pending -= 1
        if p > end:
            return NULL
    return p


cpdef bytes weave(bytes order, list texts):
    """The replies that several nodes gave to what `spread` has parted, in the order of the requests. ValueError where
    they are not as many."""
    cdef const unsigned char *whose = <const unsigned char *>PyBytes_AS_STRING(order)
    cdef const char *at[RUN_MAX]
    cdef const char *ends[RUN_MAX]
    cdef const char *behind
    cdef Py_ssize_t i, piece, size = 0, pieces = len(texts)
    cdef bytes text, out
    cdef char *to
    for piece in range(pieces):
        text = texts[piece]
        at[piece] = PyBytes_AS_STRING(text)
        ends[piece] = at[piece] + PyBytes_GET_SIZE(text)
        size += PyBytes_GET_SIZE(text)
    out = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(out)
    for i in range(PyBytes_GET_SIZE(order)):
        piece = whose[i]
        behind = _reply_end(at[piece], ends[piece]) if piece < pieces else NULL
        if behind == NULL:
            raise ValueError("fewer replies than requests")
        memcpy(to, at[piece], behind - at[piece])
        to += behind - at[piece]
        size -= behind - at[piece]
        at[piece] = behind
    if size:
        raise ValueError("more replies than requests")
    return out


cpdef tuple fit(bytes there, list gaps, bytes replies, Py_ssize_t pos, bytes nil, list fills):
    """What is there of a run of GETs, with its other replies, which begin at pos, in the gaps; `nil` stands where RESP3's comes. Also how many
    of these are values, how many are nil, and those for which there is a fill, None for a nil. ValueError where they are not as many as the gaps.
    Kept because as objects a reply costs 1,200 instructions, and here 150 (tests.bench.near, zipf)."""
    cdef const char *p = PyBytes_AS_STRING(replies)
    cdef const char *end = p + PyBytes_GET_SIZE(replies)
    cdef const char *from_there = PyBytes_AS_STRING(there)
    cdef const char *behind
    cdef Py_ssize_t i, said = 0, gap, count = len(gaps), hits = 0, nils = 0
    cdef bytes out
    cdef list kept = []
    cdef char *to
    cdef bint is_nil
    p += pos
    # Room for all; a nil may be longer as RESP2 has it.
    out = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(there) + (end - p) + 2 * count)
    to = PyBytes_AS_STRING(out)
    for i in range(count):
        gap = gaps[i]
        memcpy(to, from_there + said, gap - said)
        to += gap - said
        said = gap
        behind = _reply_end(p, end)
        if behind == NULL:
            raise ValueError("fewer replies than gaps")
        is_nil = p[0] == c'_'
        if fills and fills[i] is not None:
            kept.append(None if is_nil else PyBytes_FromStringAndSize(p, behind - p))
        if is_nil:
            nils += 1
            to = _put(to, nil)
        else:
            hits += p[0] == c'$'
            memcpy(to, p, behind - p)
            to += behind - p
        p = behind
    if p != end:
        raise ValueError("more replies than gaps")
    gap = PyBytes_GET_SIZE(there)
    memcpy(to, from_there + said, gap - said)
    to += gap - said
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(out), to - PyBytes_AS_STRING(out)), hits, nils, kept


# --- Requests that the proxy itself reads, and those that it words ----------------------------


def split(bytes data, Py_ssize_t pos):
    """(words, offset behind them) of the whole canonical request at pos; (None, bytes that it has at least) while it
    is not whole; (None, 0) where it is none, or only its first line may be told from others.
    Kept because hiredis behind the Cutter costs 0.1 us a word, and this 0.04 (tests.bench.warm)."""
    cdef const char *p = PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t first, at, behind, args, left, size = 0
    cdef list words
    if pos >= end or p[pos] != c'*':
        return None, 0
    first = _count(p, pos + 1, end, &args)
    if first < 0 or args == 0 or args > ARGS_MAX:
        return None, 0
    at = first
    left = args
    while left:
        left -= 1
        if at == end:
            return None, end - pos + max(1, 6 * left)
        if p[at] != c'$':
            return None, 0
        behind = _count(p, at + 1, end, &size)
        if behind == -1:
            return None, end - pos + max(1, 6 * left)
        if behind < 0 or size > BULK_MAX:
            return None, 0
        at = behind + size + 2
        if at > end:
            return None, at - pos + 6 * left
        if p[at - 2] != c'\r' or p[at - 1] != c'\n':
            return None, 0
    words = []
    at = first
    for left in range(args):
        at = _count(p, at + 1, end, &size)
        words.append(PyBytes_FromStringAndSize(p + at, size))
        at += size + 2
    return words, at


cdef inline Py_ssize_t _line(Py_ssize_t number) noexcept nogil:
    """How long `$12\r\n` is."""
    cdef Py_ssize_t size = 4
    while number >= 10:
        number //= 10
        size += 1
    return size


cdef inline char *_put_line(char *to, char mark, Py_ssize_t number) noexcept nogil:
    cdef Py_ssize_t size = _line(number)
    cdef char *at = to + size - 2
    to[0] = mark
    at[0] = c'\r'
    at[1] = c'\n'
    while at > to + 1:
        at -= 1
        at[0] = c'0' + number % 10
        number //= 10
    return to + size


cdef inline char *_put(char *to, object part) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(part)
    memcpy(to, PyBytes_AS_STRING(part), size)
    return to + size


cdef inline char *_put_bulk(char *to, object word) noexcept:
    to = _put(_put_line(to, c'$', PyBytes_GET_SIZE(word)), word)
    to[0] = c'\r'
    to[1] = c'\n'
    return to + 2


cdef inline Py_ssize_t _bulk(object word) except -1:
    """How long a word is as a bulk."""
    if not PyBytes_CheckExact(word):
        raise TypeError(f"a word is bytes, not {type(word).__name__}")
    return _line(PyBytes_GET_SIZE(word)) + PyBytes_GET_SIZE(word) + 2


def pack_keys(bytes name, list keys, bytes before, bytes behind):
    """One request: the name, and each key with `before` and `behind` around it."""
    cdef Py_ssize_t around = len(before) + len(behind)
    cdef Py_ssize_t count = len(keys) + 1, size = _line(count) + _bulk(name), whole
    cdef bytes out
    cdef char *to
    for key in keys:
        whole = _bulk(key) - _line(PyBytes_GET_SIZE(key)) + around
        size += whole + _line(whole - 2)
    out = PyBytes_FromStringAndSize(NULL, size)
    to = _put_bulk(_put_line(PyBytes_AS_STRING(out), c'*', count), name)
    for key in keys:
        to = _put_line(to, c'$', PyBytes_GET_SIZE(key) + around)
        to = _put(_put(_put(to, before), key), behind)
        to[0] = c'\r'
        to[1] = c'\n'
        to += 2
    return out


def pack_sets(bytes head, list keys, list values, list tails):
    """A request for each key: the head, the key, its value, and its tail; head and tails as they are sent.
    Kept because a key costs 0.3 us as objects, and 0.03 here (tests.bench.warm)."""
    cdef Py_ssize_t count = len(keys), size = count * len(head)
    cdef Py_ssize_t i
    cdef bytes out
    cdef char *to
    if len(values) != count or len(tails) != count:
        raise ValueError("not as many values and tails as keys")
    for i in range(count):
        _bulk(tails[i])
        size += _bulk(keys[i]) + _bulk(values[i]) + PyBytes_GET_SIZE(tails[i])
    out = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(out)
    for i in range(count):
        to = _put_bulk(_put_bulk(_put(to, head), keys[i]), values[i])
        to = _put(to, tails[i])
    return out
