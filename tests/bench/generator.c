/* Load from one thread: N connections, each with one pipeline of P commands under way at a time.

   Started by generator.py, which says what each option means. What it prints is one line of JSON.
   It measures only what it sees itself: whose CPU it cost is the business of procfs.py.

   A command is rendered once; then only its keys and values are written over for each request, so
   that a request costs much less here than in the fastest proxy. Numbers become keys of 12 digits
   after a prefix (as redis-benchmark has them), and the value of a key is its name over and over:
   thus every value that comes back can be told right or wrong without a list of what was written. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DIGITS 12
#define HOLES 1024            /* keys and values in one command */
#define ROOM (1 << 16)        /* of a read, besides one value */
#define SLICE 100000000       /* ns that one number of "slices" is about */
#define SLICES 36000          /* an hour of them */
#define PATIENCE 10000        /* ms without any reply, after which the run has failed */
#define FINE 64               /* buckets for each doubling of a latency: within 1.6 % */

static void fail(const char *what, const char *detail) {
    fprintf(stderr, "generator: %s%s%s\n", what, *detail ? ": " : "", detail);
    exit(1);
}

static void *room(size_t count, size_t size) {
    void *got = calloc(count ? count : 1, size);
    if (!got) fail("out of memory", "");
    return got;
}

static uint64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

/* --- Which key is next -------------------------------------------------------------------- */

static uint64_t keys = 10000, first, space, step, scanned, seed = 1;
static double zipf, move_after; /* 0: even; 0: stays */
static bool scan;
static double first_area, whole_area, sure; /* of the Zipf distribution's hat */

static uint64_t random64(void) { /* splitmix64 */
    uint64_t z = (seed += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static double fraction(void) { return (double)(random64() >> 11) * 0x1p-53; }

static uint64_t below(uint64_t bound) { return (uint64_t)((unsigned __int128)random64() * bound >> 64); }

/* Hoermann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
   distributions", 1996: exact, and needs no table however many keys there are. */
static double area(double x) {
    double log_x = log(x);
    return fabs(1 - zipf) < 1e-9 ? log_x : expm1((1 - zipf) * log_x) / (1 - zipf);
}

static double area_inverse(double y) {
    return fabs(1 - zipf) < 1e-9 ? exp(y) : exp(log1p(y * (1 - zipf)) / (1 - zipf));
}

static double height(double x) { return exp(-zipf * log(x)); }

static void zipf_prepare(void) {
    first_area = area(1.5) - 1;
    whole_area = area((double)keys + 0.5);
    sure = 2 - area_inverse(area(2.5) - height(2));
}

static uint64_t zipf_rank(void) { /* from 0 */
    for (;;) {
        double u = whole_area + fraction() * (first_area - whole_area);
        double x = area_inverse(u), rank = floor(x + 0.5);
        if (rank < 1) rank = 1;
        if (rank > (double)keys) rank = (double)keys;
        if (rank - x <= sure || u >= area(rank + 0.5) - height(rank)) return (uint64_t)rank - 1;
    }
}

static uint64_t next_key(double elapsed) {
    uint64_t number = scan ? scanned++ % keys : zipf > 0 ? zipf_rank() : below(keys);
    if (move_after > 0) number += (uint64_t)(elapsed / move_after) * step;
    return (first + number) % space;
}

/* --- What is sent ------------------------------------------------------------------------- */

static const char *prefix = "key:";
static size_t key_size, value_size = 64;

struct command {
    char *bytes;
    size_t size;
    struct { size_t at; bool value; } holes[HOLES];
    int count, keys; /* of holes, of those that are keys */
};

static void write_key(char *at, uint64_t number) {
    memcpy(at, prefix, key_size - DIGITS);
    for (char *digit = at + key_size - 1; digit >= at + key_size - DIGITS; digit--, number /= 10)
        *digit = (char)('0' + number % 10);
}

static void write_value(char *at, uint64_t number) {
    char name[256];
    write_key(name, number);
    for (size_t done = 0; done < value_size; done += key_size)
        memcpy(at + done, name, value_size - done < key_size ? value_size - done : key_size);
}

static bool is_value(const char *at, size_t size, uint64_t number) {
    char name[256];
    if (size != value_size) return false;
    write_key(name, number);
    if (size <= key_size) return !memcmp(at, name, size);
    return !memcmp(at, name, key_size) && !memcmp(at + key_size, at, size - key_size);
}

/* Words are parted by blanks; each "{key}" is another key, "{value}" is that of the key before. */
static void render(struct command *into, const char *text) {
    char *words = strdup(text), *rest = words;
    size_t most = strlen(text) * (32 + key_size + value_size) + 64;
    int count = 0;
    for (const char *at = text; *at; at++) count += *at != ' ' && (at[1] == ' ' || !at[1]);
    if (!words || !count) fail("no command", text);
    into->bytes = room(most, 1);
    char *out = into->bytes + sprintf(into->bytes, "*%d\r\n", count);
    for (char *word; (word = strsep(&rest, " "));) {
        if (!*word) continue;
        bool key = !strcmp(word, "{key}"), value = !strcmp(word, "{value}");
        size_t size = key ? key_size : value ? value_size : strlen(word);
        out += sprintf(out, "$%zu\r\n", size);
        if (key || value) {
            if (into->count == HOLES || (value && !into->keys)) fail("command", text);
            into->holes[into->count].at = (size_t)(out - into->bytes);
            into->holes[into->count++].value = value;
            into->keys += key;
        } else {
            memcpy(out, word, size);
        }
        memcpy(out + size, "\r\n", 2);
        out += size + 2;
    }
    into->size = (size_t)(out - into->bytes);
    free(words);
}

/* --- The run ------------------------------------------------------------------------------ */

struct connection {
    int fd;
    char *out, *in;
    size_t out_size, sent, filled;
    uint64_t *keys, began; /* asked for by the commands under way, in order */
    bool *writes, polls_out;
    int under_way, answered, key, items, left; /* left: parts of this reply that are to come */
};

static struct command reads, writes;
static double share_of_writes, seconds;
static uint64_t requests, started, done, began;
static int pipeline = 1, poller;
static bool check;
static size_t in_size;
static uint64_t errors, wrong, hits, nils, longest, latencies[64 * FINE], slices[SLICES];
static char first_error[128];

static void noted(uint64_t *count, const char *text, size_t size) {
    if (!errors && !wrong) {
        if (size >= sizeof first_error) size = sizeof first_error - 1;
        for (size_t n = 0; n < size && text[n]; n++) /* what was read ends with a 0 */
            first_error[n] = text[n] < ' ' || text[n] > '~' || strchr("\"\\", text[n]) ? '?' : text[n];
    }
    ++*count;
}

static int bucket(uint64_t ns) {
    int doubled = 63 - __builtin_clzll(ns | FINE) - 6;
    return doubled * FINE + (int)(ns >> doubled);
}

static double percentile(double share) { /* in microseconds: the middle of its bucket */
    uint64_t wanted = (uint64_t)ceil(share * (double)done), seen = 0;
    for (int n = 0; n < 64 * FINE; n++) {
        if ((seen += latencies[n]) < wanted || !seen) continue;
        int doubled = n < 2 * FINE ? 0 : n / FINE - 1;
        return ((double)(n - doubled * FINE) + 0.5) * exp2(doubled) / 1000;
    }
    return 0;
}

static void flush(struct connection *to) {
    while (to->sent < to->out_size) {
        ssize_t wrote = write(to->fd, to->out + to->sent, to->out_size - to->sent);
        if (wrote < 0 && errno != EAGAIN && errno != EINTR) fail("write", strerror(errno));
        if (wrote < 0 && errno == EAGAIN) break;
        if (wrote > 0) to->sent += (size_t)wrote;
    }
    bool polls_out = to->sent < to->out_size;
    if (polls_out == to->polls_out) return;
    struct epoll_event event = {.events = EPOLLIN | (polls_out ? EPOLLOUT : 0), .data.ptr = to};
    epoll_ctl(poller, EPOLL_CTL_MOD, to->fd, &event);
    to->polls_out = polls_out;
}

static void send_pipeline(struct connection *to, uint64_t at) {
    uint64_t number = 0;
    double elapsed = (double)(at - began) / 1e9;
    uint64_t count = (uint64_t)pipeline;
    if (seconds > 0 && elapsed >= seconds) count = 0;
    if (requests && requests - started < count) count = requests - started;
    char *out = to->out;
    int key = 0;
    for (uint64_t n = 0; n < count; n++) {
        to->writes[n] = share_of_writes > 0 && fraction() < share_of_writes;
        const struct command *command = to->writes[n] ? &writes : &reads;
        memcpy(out, command->bytes, command->size);
        for (int hole = 0; hole < command->count; hole++) {
            char *place = out + command->holes[hole].at;
            if (command->holes[hole].value) {
                write_value(place, number);
            } else {
                number = to->keys[key++] = next_key(elapsed);
                write_key(place, number);
            }
        }
        out += command->size;
    }
    started += count;
    to->began = at;
    to->out_size = (size_t)(out - to->out);
    to->under_way = (int)count;
    to->sent = 0;
    to->answered = to->key = to->items = 0;
    to->left = 1;
    if (count) flush(to);
}

/* A string, or nil where size < 0, that came for the connection's next key. */
static void take_value(struct connection *of, const char *at, long size, const char *token) {
    const struct command *command = of->writes[of->answered] ? &writes : &reads;
    int item = of->items++;
    if (size < 0) nils++;
    else hits++;
    if (!check || of->writes[of->answered]) return;
    if (item >= command->keys) noted(&wrong, token, 32);
    else if (size >= 0 && !is_value(at, (size_t)size, of->keys[of->key + item]))
        noted(&wrong, token, (size_t)size + 8);
}

static void end_reply(struct connection *of, uint64_t at, const char *token, size_t size) {
    bool write = of->writes[of->answered];
    const struct command *command = write ? &writes : &reads;
    if (check && *token != '-' && of->items != (write ? 0 : command->keys)) noted(&wrong, token, size);
    uint64_t took = at - of->began, slice = (at - began) / SLICE;
    latencies[bucket(took)]++;
    if (took > longest) longest = took;
    if (slice < SLICES && *token != '-') slices[slice]++;
    done++;
    of->answered++;
    of->key += command->keys;
    of->items = 0;
    of->left = 1;
}

/* One token, a line or a string: the bytes that it took, 0 where it is not all there. */
static size_t take_token(struct connection *of, char *at, size_t size, uint64_t time) {
    char *end = memchr(at, '\n', size);
    if (!end) return 0;
    size_t line = (size_t)(end - at) + 1;
    if (line < 3 || end[-1] != '\r') fail("not a reply", at);
    if (of->answered == of->under_way) fail("a reply that nobody asked for", at);
    long number = strchr("$*:", *at) ? strtol(at + 1, NULL, 10) : 0;
    size_t whole = line;
    switch (*at) {
    case '$':
        if (number < -1) fail("not a reply", at);
        if (number >= 0) whole += (size_t)number + 2;
        if (whole > size) return 0;
        if (number >= 0 && memcmp(at + whole - 2, "\r\n", 2)) fail("a string without its end", at);
        take_value(of, end + 1, number, at);
        break;
    case '*':
        if (number < 0) take_value(of, NULL, -1, at);
        else of->left += (int)number;
        break;
    case '-':
        noted(&errors, at, line - 2);
        break;
    case '+':
    case ':':
        break;
    default:
        fail("not a reply", at);
    }
    if (!--of->left) end_reply(of, time, at, line - 2);
    return whole;
}

static void receive(struct connection *from) {
    ssize_t got = read(from->fd, from->in + from->filled, in_size - from->filled);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) fail("connection lost", got ? strerror(errno) : "closed");
    from->filled += (size_t)got;
    from->in[from->filled] = 0;
    uint64_t time = now();
    size_t used = 0, took;
    while (used < from->filled && (took = take_token(from, from->in + used, from->filled - used, time)))
        used += took;
    from->filled -= used;
    if (from->filled == in_size) fail("a reply is too long", "");
    memmove(from->in, from->in + used, from->filled);
    if (from->answered == from->under_way && from->under_way) send_pipeline(from, time);
}

static void dial(struct connection *made, const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port, &hints, &found)) fail("no such host", host);
    made->fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (made->fd < 0 || connect(made->fd, found->ai_addr, found->ai_addrlen)) fail("connect", strerror(errno));
    freeaddrinfo(found);
    setsockopt(made->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(made->fd, F_SETFL, O_NONBLOCK);
    size_t most = reads.size > writes.size ? reads.size : writes.size, count = (size_t)pipeline;
    int most_keys = reads.keys > writes.keys ? reads.keys : writes.keys;
    made->out = room(count, most);
    made->in = room(in_size + 1, 1);
    made->keys = room(count * (size_t)most_keys, sizeof(uint64_t));
    made->writes = room(count, sizeof(bool));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = made};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, made->fd, &event)) fail("epoll", strerror(errno));
}

static void run(struct connection *all, int count) {
    struct epoll_event events[256];
    began = now();
    for (int n = 0; n < count; n++) send_pipeline(&all[n], now());
    while (done < started) {
        int ready = epoll_wait(poller, events, 256, PATIENCE);
        if (!ready) fail("no reply for 10 seconds", "");
        for (int n = 0; n < ready; n++) {
            struct connection *one = events[n].data.ptr;
            if (events[n].events & EPOLLOUT) flush(one);
            if (events[n].events & ~(uint32_t)EPOLLOUT) receive(one);
        }
    }
}

static void print_result(void) {
    struct rusage used;
    double took = (double)(now() - began) / 1e9;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"requests\": %lu, \"seconds\": %.6f, \"cpu\": %.6f, \"errors\": %lu, \"wrong\": %lu, "
           "\"hits\": %lu, \"nils\": %lu, ", done, took, cpu, errors, wrong, hits, nils);
    printf("\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f, \"first_error\": \"%s\", \"slices\": [",
           percentile(.5), percentile(.99), percentile(.999), (double)longest / 1000, first_error);
    uint64_t count = (uint64_t)(took * 1e9) / SLICE; /* whole ones only */
    for (uint64_t n = 0; n < count && n < SLICES; n++) printf(n ? ", %lu" : "%lu", slices[n]);
    puts("]}");
}

int main(int argc, char **argv) {
    static const struct option names[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"pipeline", 1, 0, 'P'},
        {"requests", 1, 0, 'n'}, {"seconds", 1, 0, 't'}, {"keys", 1, 0, 'k'}, {"prefix", 1, 0, 'x'},
        {"zipf", 1, 0, 'z'}, {"scan", 0, 0, 's'}, {"move", 1, 0, 'm'}, {"step", 1, 0, 'b'},
        {"first", 1, 0, 'f'}, {"space", 1, 0, 'S'}, {"read", 1, 0, 'r'}, {"write", 1, 0, 'w'}, {"writes", 1, 0, 'W'},
        {"size", 1, 0, 'd'}, {"check", 0, 0, 'C'}, {"seed", 1, 0, 'e'}, {"draw", 1, 0, 'D'}, {0, 0, 0, 0}};
    const char *host = "127.0.0.1", *port = "6379", *read = "GET {key}", *write = "SET {key} {value}";
    uint64_t drawn = 0;
    int connections = 50;
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (name) {
        case 'h': host = optarg; break;
        case 'p': port = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 'P': pipeline = atoi(optarg); break;
        case 'n': requests = strtoull(optarg, NULL, 10); break;
        case 't': seconds = atof(optarg); break;
        case 'k': keys = strtoull(optarg, NULL, 10); break;
        case 'x': prefix = optarg; break;
        case 'z': zipf = atof(optarg); break;
        case 's': scan = true; break;
        case 'm': move_after = atof(optarg); break;
        case 'b': step = strtoull(optarg, NULL, 10); break;
        case 'f': first = strtoull(optarg, NULL, 10); break;
        case 'S': space = strtoull(optarg, NULL, 10); break;
        case 'r': read = optarg; break;
        case 'w': write = optarg; break;
        case 'W': share_of_writes = atof(optarg); break;
        case 'd': value_size = strtoull(optarg, NULL, 10); break;
        case 'C': check = true; break;
        case 'e': seed = strtoull(optarg, NULL, 10); break;
        case 'D': drawn = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (!space) space = keys;
    key_size = strlen(prefix) + DIGITS;
    in_size = ROOM + value_size;
    if (optind < argc) fail("what is", argv[optind]);
    if (!keys || connections < 1 || pipeline < 1 || key_size > 256) fail("out of range", "");
    if (zipf > 0) zipf_prepare();
    for (uint64_t n = 0; n < drawn; n++) printf("%lu\n", next_key((double)n / (double)drawn));
    if (drawn) return 0;
    if (!requests && seconds <= 0) fail("--requests or --seconds is needed", "");
    render(&reads, read);
    render(&writes, write);
    if ((poller = epoll_create1(0)) < 0) fail("epoll", strerror(errno));
    struct connection *all = room((size_t)connections, sizeof *all);
    for (int n = 0; n < connections; n++) dial(&all[n], host, port);
    run(all, connections);
    print_result();
    return 0;
}
